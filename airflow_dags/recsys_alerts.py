"""Alerts: what is sent, when, and where to. This file defines no DAG.

Airflow Variables (Admin → Variables, or environment variables such as `AIRFLOW_VAR_RECSYS_ALERT_URL`):

- `recsys_alert_url`: one address or several, separated by blanks. `http://` and `https://` get a POST with
  `{"text": "…"}`, as Slack and Mattermost webhooks expect. Any other address, such as `mailto://…` or `tgram://…`, is
  one of apprise, which has to be installed in Airflow's environment (`pip install apprise`);
- `recsys_alert_connection`: an Airflow connection whose password, or extra field `{"config": {"path": "…"}}` as the
  apprise provider has it, holds such addresses. Use it for addresses with a token: Airflow encrypts and masks them;
- `recsys_alert_on`: what is sent, any of `failure` (a task failed and is not tried again), `refusal` (exit code 3),
  `alert` (the monitor, exit code 4) and `late` (data or lists missed their deadline). Default: `failure alert late`.

Without an address nothing is sent. An alert that cannot be sent is logged and never fails a task.

The alert about a night that has not finished in time comes from a callback, which may not read Variables of Airflow's
own database: for this one, set the environment variables for the scheduler and the workers, or use a secrets backend.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any
from urllib.request import Request, urlopen

from airflow.sdk import Connection, Variable
from airflow.sdk.exceptions import AirflowFailException
from recsys_process import RecsysProcess

ALERT_URL = "recsys_alert_url"
ALERT_CONNECTION = "recsys_alert_connection"
ALERT_ON = "recsys_alert_on"
DEFAULT_ALERT_ON = "failure alert late"

logger = logging.getLogger(__name__)


class AlreadyReportedError(AirflowFailException):
    """Fails the task without a retry; the alert, if one is wanted, has been sent."""


def send_alert(kind: str, text: str) -> None:
    """Send a text to every address, if alerts of this kind are wanted: `failure`, `refusal`, `alert` or `late`."""
    if kind not in _read_variable(ALERT_ON, DEFAULT_ALERT_ON).replace(",", " ").split():
        return
    for number, address in enumerate(_find_addresses(), start=1):
        try:
            _deliver(address, text)
        except Exception as error:
            # An address may contain a token, and so may the message of an error about it.
            logger.warning("alert was not sent to address %d (%s)", number, type(error).__name__)


def report_failure(context: Mapping[str, Any]) -> None:
    """Send the alert for a task that failed for good: the callback of every task."""
    error = context.get("exception")
    if not isinstance(error, AlreadyReportedError):
        send_alert("failure", f"{describe_task(context)} failed: {error or 'its process ended'}; {find_log(context)}")


def report_missed_deadline(context: Mapping[str, Any]) -> None:
    """Send the alert for a night that has not finished in time; Airflow runs this on the executor."""
    run = context["dag_run"]
    if run["run_type"] == "backfill":
        return
    answer = RecsysProcess().run("freshness", ["--json"], logger)
    send_alert(
        "late",
        f"{run['dag_id']} (run {run['dag_run_id']}) has not finished in time; "
        f"{describe_lists(answer.facts.get('lists'))}; in the grid, find the first task that "
        "is not green: its documentation has the next step; a task that stays scheduled is waiting for the pool "
        "'recsys', which may be missing ('airflow pools list')",
    )


def describe_task(context: Mapping[str, Any]) -> str:
    """Return the task and its run, for messages."""
    task = context["task_instance"]
    return f"{task.dag_id}.{task.task_id} (run {task.run_id}, try {task.try_number})"


def find_log(context: Mapping[str, Any]) -> str:
    """Return the address of the task's log."""
    return str(context["task_instance"].log_url)


def describe_lists(run_date: str | None) -> str:
    """Return which lists readers have, and how old they are: hours since 00:00 UTC of their run date."""
    if not run_date:
        return "no lists are published yet"
    hours = (datetime.now(UTC) - datetime.fromisoformat(run_date).replace(tzinfo=UTC)).total_seconds() / 3600
    return f"lists are {hours:,.0f} h old, last good night {run_date}, which remain published"


def _find_addresses() -> Iterator[str]:
    yield from _read_variable(ALERT_URL).split()
    # Read last: a callback of Airflow 3.3 waits half a minute for what it may not read.
    name = _read_variable(ALERT_CONNECTION)
    if not name:
        return
    try:
        connection = Connection.get(name)
        path = (connection.extra_dejson.get("config") or {}).get("path") or ""
    except Exception as error:
        logger.warning("connection of %s cannot be read (%s)", ALERT_CONNECTION, type(error).__name__)
        return
    yield from (connection.password or "").split()
    yield from path.split() if isinstance(path, str) else path


def _read_variable(name: str, default: str = "") -> str:
    try:
        return Variable.get(name, default=None) or default
    except Exception as error:
        # A backend that does not answer must not change the state of a task.
        logger.warning("Variable %s cannot be read (%s)", name, type(error).__name__)
        return default


def _deliver(address: str, text: str) -> None:
    if address.startswith(("http://", "https://")):
        body = json.dumps({"text": text}).encode()
        with urlopen(Request(address, body, {"Content-Type": "application/json"}), timeout=10):
            return
    import apprise

    # Its own messages hold the address.
    logging.getLogger("apprise").disabled = True
    destination = apprise.Apprise()
    if not destination.add(address):
        raise ValueError("apprise does not support this kind of address")
    if not destination.notify(body=text, title="recsys"):
        raise ConnectionError("apprise could not deliver")
