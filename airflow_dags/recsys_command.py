"""What both DAGs share: a task is one `recsys` command. This file defines no DAG.

The worker's environment decides which installation runs, so Airflow itself needs no machine-learning package:

- `RECSYS_COMMAND`: the executable, one absolute path (default: `recsys` from the PATH);
- `RECSYS_CONFIG`: the configuration, an absolute path (default: `configs/demo.yaml` of this checkout);
- `RECSYS_HOME`, `RECSYS_DATA`, `MLFLOW_TRACKING_URI`: as for the command line; relative paths start from this checkout.

A failed task sends an alert if the Airflow Variable `recsys_alert_url` is set (Admin → Variables, or the environment
variable `AIRFLOW_VAR_RECSYS_ALERT_URL`): a POST with `{"text": "…"}`, as Slack and Mattermost webhooks expect.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, Param, Variable

# Emitted when a promotion changed the champion.
CHAMPION = Asset("recsys://champion")

# Shown and filterable in the grid; change it to the team that is on call.
OWNER = "recommendations"
ALERT_URL = "recsys_alert_url"

# Bash expands these when the task runs, so the values are those of the worker.
COMMAND = '"${RECSYS_COMMAND:-recsys}"'
CONFIG = '"${RECSYS_CONFIG:-configs/demo.yaml}"'
CHECKOUT = Path(__file__).resolve().parents[1]

# Runs that are triggered by hand or by an asset have no logical date, only the time from which they may run.
RUN_DATE = "{{ params.run_date or (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"

# What the task does, what its failure means, and what to do then; shown in the task's details.
TASK_DOCS = {
    "ingest": """
Reads the raw files into a checked snapshot.

**Failed**: a file is missing or unreadable, or too many rows were rejected; the previous snapshot is still the current
one. Fix what the log's last line names, then clear this task (Grid → task → Clear).
""",
    "train": """
Fits the models, measures them on the newest window, fits them again on all data and registers the result as
`challenger`.

**Failed**: the champion still serves. Fix what the log's last line names, then clear this task. Fine-tuning that was
interrupted continues from its last checkpoint.
""",
    "evaluate": """
Prints the metrics of the training against baselines, by segment, and where candidates were lost. Read-only.

**Failed**: the challenger is registered but not promoted. Clear this task.
""",
    "promote": """
Compares the challenger with the champion on the same users and promotes it if it passes the gate.

**Skipped**: the gate refused (exit code 3); the log has the numbers. The champion still serves; nothing to fix.
**Failed**: the champion still serves. Fix what the log's last line names, then clear this task.
""",
    "generate": """
Makes the champion's lists for every active user and publishes them in one step. While a canary is running, its share of
the users gets the challenger's lists.

**Failed with exit code 3**: a check refused the lists (too old a snapshot, too many fallback items, a shifted score
distribution …). If the message names the challenger, `recsys canary --stop` ends the canary. **Exit code 2**: an
error, such as a full disk or a database that does not answer. Either way readers still see the last published lists.
Fix what the log's last line names, then clear this task: finished shards are kept, and only outputs that do not hold
the night are filled.
""",
}


def run_date_param() -> Param:
    """Return the parameter that overrides the run date; empty means the date of the run itself (UTC)."""
    return Param(
        None,
        type=["null", "string"],
        format="date",
        pattern="^[0-9]{4}-[0-9]{2}-[0-9]{2}$",
        title="Run date",
        description="YYYY-MM-DD; only events before 00:00 UTC of this day are used. Empty: the date of this run.",
    )


def send_alert(context: Mapping[str, Any]) -> None:
    """Report a failed task to the URL of the Variable `recsys_alert_url`; without the Variable, do nothing."""
    task = context["task_instance"]
    url = Variable.get(ALERT_URL, default=None)
    if not url:
        return
    text = f"{task.dag_id}.{task.task_id} failed (run {task.run_id}, try {task.try_number}); {task.log_url}"
    try:
        if not url.startswith(("http://", "https://")):
            raise ValueError("not an http or https address")
        body = json.dumps({"text": text}).encode()
        with urlopen(Request(url, body, {"Content-Type": "application/json"}), timeout=10):
            pass
    except (OSError, ValueError) as error:
        # The address may contain a token, so it is not logged.
        logging.getLogger(__name__).warning("alert was not sent to %s: %s", ALERT_URL, error)


def command_task(stage: str, *, dated: bool = False, skip_on_refusal: bool = False, **settings: Any) -> BashOperator:
    """Return the task that runs `recsys STAGE`.

    The run date goes into an environment variable and never into the shell's text, so nothing that is typed into
    the parameter can become a command.

    Args:
        stage: command of the CLI, and the task's id.
        dated: the command takes a run date.
        skip_on_refusal: exit code 3 (refused) skips the task instead of failing it.
        **settings: further arguments of the operator.
    """
    return BashOperator(
        task_id=stage,
        bash_command=f"{COMMAND} {stage} --config {CONFIG}" + (' --run-date "$RUN_DATE"' if dated else ""),
        env={"RUN_DATE": RUN_DATE},
        append_env=True,
        cwd=str(CHECKOUT),
        skip_on_exit_code=3 if skip_on_refusal else None,
        do_xcom_push=False,
        retry_delay=timedelta(minutes=5),
        owner=OWNER,
        doc_md=TASK_DOCS[stage],
        on_failure_callback=send_alert,
        **settings,
    )
