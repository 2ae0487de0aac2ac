"""What the DAGs share: a task is one `recsys` command. This file defines no DAG.

`recsys_process` runs the command, `recsys_alerts` sends alerts, `recsys_docs` has each task's documentation.

What becomes of an exit code is decided in one place, `RecsysOperator.execute`:

    0           success
    3 refused   failed without another try, or skipped: Variable `recsys_on_refusal` = `fail` or `skip`
    4 alert     an alert is sent, and the task succeeds
    2, others   tried again with growing delay, then failed, and an alert is sent; 137 is a killed process

The last line of the command is the XCom `reason` and the last line of the task's log.

Further Airflow Variables: `recsys_data_deadline_minutes` (180), `recsys_data_poll_minutes` (10),
`recsys_data_tolerance_hours` (the config's), `recsys_on_late_data` (`fail` or `continue`), `recsys_shard_tasks` (1),
`recsys_train_from` (none).
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import Asset, BaseOperator, Param, Variable
from airflow.sdk.exceptions import AirflowException, AirflowSkipException
from recsys_alerts import AlreadyReportedError, describe_lists, describe_task, find_log, report_failure, send_alert
from recsys_docs import TASK_DOCS
from recsys_process import Answer, RecsysProcess, find_mlflow

DONE, REFUSED, ALERT = 0, 3, 4

# Emitted when a promotion changed the champion, and when the monitor asks for a training.
CHAMPION = Asset("recsys://champion")
RETRAINING = Asset("recsys://retraining")

# Has one slot: of the tasks that write snapshots, lists or the champion, one runs at a time, whatever started it.
POOL = "recsys"
# For tasks that collide with nothing: Airflow's own pool.
OTHER_POOL = "default_pool"

TASK_SETTINGS: dict[str, Any] = {
    # Shown and filterable in the grid; change it to the team that is on call.
    "owner": "recommendations",
    "pool": POOL,
    "retries": 2,
    # The first delay; the next is twice as long.
    "retry_delay": timedelta(minutes=float(os.environ.get("RECSYS_RETRY_MINUTES") or 5)),
    "retry_exponential_backoff": 2,
    "on_failure_callback": report_failure,
}

# Runs that are triggered by hand or by an asset have no logical date, only the time from which they may run.
RUN_DATE = "{{ params.run_date or (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"
DATED = ("--run-date", RUN_DATE)
# An alias to continue from; empty: from scratch.
START = "--from={{ var.value.get('recsys_train_from', '') }}"

# Facts of a command's JSON that become XComs: what other tasks and people look for.
_FACTS = ("snapshot", "run", "model", "version", "file", "promoted", "champion", "entry", "run_date", "folder")
_FACTS += ("counts", "shards", "verdict", "retrain", "page", "newest", "lists")
# A backfill leaves readers on the lists that they follow.
_BACKFILL_ARGUMENTS = {"generate": ("--keep-pointer",)}


class RecsysOperator(BaseOperator):
    """Runs one `recsys` command, without a shell: nothing that is typed into a parameter can become a command.

    Args:
        stage: command of the CLI; it is also the task's id if no `task_id` is given.
        arguments: further arguments, rendered as templates.
        as_json: call the command with `--json`; `_FACTS` of its answer become XComs.
        part: value of `--shards`; mapped tasks have one each.
        on_refusal: what exit code 3 does to the task, `fail` or `skip`, unless the Variable decides.
        optional: no exit code fails the task; it is skipped instead, and an alert is sent.
        skip_unless: fact without which exit code 0 skips the task, so that it emits no asset.
        **settings: further arguments of the operator.
    """

    template_fields: Sequence[str] = ("arguments", "part")

    def __init__(
        self,
        *,
        stage: str,
        arguments: Sequence[str] = (),
        as_json: bool = True,
        part: str | None = None,
        on_refusal: str = "fail",
        optional: bool = False,
        skip_unless: str | None = None,
        **settings: Any,
    ) -> None:
        name = settings.setdefault("task_id", stage)
        settings.setdefault("doc_md", TASK_DOCS.get(name))
        super().__init__(**settings)
        self.stage = stage
        self.arguments = list(arguments)
        self.as_json = as_json
        self.part = part
        self.on_refusal = on_refusal
        self.optional = optional
        self.skip_unless = skip_unless
        self._process = RecsysProcess()

    def execute(self, context: Mapping[str, Any]) -> None:
        """Run the command and turn its exit code into the state of the task."""
        answer = self._run(context)
        if answer.code == REFUSED:
            self._refuse(context, answer.reason)
        if answer.code == ALERT:
            send_alert("alert", f"{describe_task(context)}: {answer.reason}; {find_log(context)}")
        elif answer.code != DONE:
            self._fail(context, answer)
        if self.skip_unless and not answer.facts.get(self.skip_unless):
            raise AirflowSkipException(answer.facts.get("reason") or answer.reason)

    def on_kill(self) -> None:
        """End the command and what it started."""
        self._process.end()

    def _run(self, context: Mapping[str, Any], *arguments: str) -> Answer:
        words = [*self.arguments, *arguments, *(["--shards", self.part] if self.part else [])]
        if context["dag_run"].run_type == "backfill":
            words += _BACKFILL_ARGUMENTS.get(self.stage, ())
        answer = self._process.run(self.stage, [*words, "--json"] if self.as_json else words, self.log)
        found = {name: answer.facts[name] for name in _FACTS if name in answer.facts}
        if answer.code != DONE:
            found["reason"] = answer.reason
        if "run" in found and (address := find_mlflow()):
            found["mlflow"] = address
        for name, value in found.items():
            context["task_instance"].xcom_push(key=name, value=value)
        return answer

    def _refuse(self, context: Mapping[str, Any], reason: str) -> None:
        send_alert("refusal", f"{describe_task(context)} {reason}; {find_log(context)}")
        if self.optional or Variable.get("recsys_on_refusal", default=self.on_refusal) == "skip":
            raise AirflowSkipException(reason)
        raise AlreadyReportedError(reason)

    def _fail(self, context: Mapping[str, Any], answer: Answer) -> None:
        reason = f"exit code {answer.code}: {answer.reason}"
        if not self.optional:
            raise AirflowException(reason)
        send_alert("failure", f"{describe_task(context)} failed: {reason}; {find_log(context)}")
        raise AirflowSkipException(reason)


class DataSensor(RecsysOperator):
    """Waits until the raw files hold the data of the run date, for `recsys_data_deadline_minutes` at most.

    Between two looks the task is deferred: it occupies no worker, and the triggerer only waits for the time to pass.
    The command itself runs on the worker, where RECSYS_COMMAND, the data and the DAG files are; the triggerer has none
    of them.
    """

    def execute(self, context: Mapping[str, Any]) -> None:
        """Look, and wait if the data has not arrived."""
        # Kept as an XCom: it outlives the deferral.
        context["task_instance"].xcom_push(key="waiting_since", value=datetime.now(UTC).isoformat())
        self.look_again(context)

    def look_again(self, context: Mapping[str, Any], event: Any = None) -> None:
        """Look whether the data has arrived by now."""
        tolerance = Variable.get("recsys_data_tolerance_hours", default=None)
        answer = self._run(context, *(("--tolerance-hours", tolerance) if tolerance else ()))
        if answer.code == DONE:
            return
        if answer.code != REFUSED:
            self._fail(context, answer)
        since = context["task_instance"].xcom_pull(task_ids=self.task_id, key="waiting_since")
        waited = datetime.now(UTC) - datetime.fromisoformat(since)
        wait = _read_minutes("recsys_data_deadline_minutes", 180) - waited
        if wait > timedelta(0):
            self.defer(
                trigger=TimeDeltaTrigger(min(wait, _read_minutes("recsys_data_poll_minutes", 10))),
                method_name="look_again",
            )
        age = describe_lists(answer.facts.get("lists"))
        late = (
            f"{answer.reason.removeprefix('refused: ')}; the deadline has passed; {age}; "
            "restart the feed, then clear the task"
        )
        send_alert("late", f"{describe_task(context)}: {late}; {find_log(context)}")
        if Variable.get("recsys_on_late_data", default="fail") != "continue":
            raise AlreadyReportedError(late)
        self.log.warning("%s; recsys_on_late_data=continue: the night continues with the data that has arrived", late)


def read_page(dag_file: str) -> str:
    """Return the documentation of a DAG, from the Markdown file that has the name of its Python file."""
    return Path(dag_file).with_suffix(".md").read_text(encoding="utf-8")


def run_date_param() -> Param:
    """Return the parameter that overrides the run date; empty means the date of the run itself (UTC)."""
    text = "only events before 00:00 UTC of this day are used. Empty: the date of this run."
    return Param(None, type=["null", "string"], **_describe_date("Run date", text))


def date_param(title: str, text: str) -> Param:
    """Return a parameter that has to be a date."""
    return Param(type="string", **_describe_date(title, text))


def _describe_date(title: str, text: str) -> dict[str, str]:
    pattern = "^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
    return {"format": "date", "pattern": pattern, "title": title, "description": f"YYYY-MM-DD; {text}"}


def _read_minutes(name: str, default: float) -> timedelta:
    return timedelta(minutes=float(Variable.get(name, default=default)))
