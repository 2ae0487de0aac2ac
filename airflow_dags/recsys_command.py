"""What both DAGs share: a task is one `recsys` command. No DAG lives here.

The worker's environment says which installation runs, so Airflow itself needs nothing of the machine-learning stack:

- `RECSYS_COMMAND`: the executable, one absolute path (default: `recsys` from the PATH);
- `RECSYS_CONFIG`: the configuration, an absolute path (default: `configs/demo.yaml` of this checkout);
- `RECSYS_HOME`, `RECSYS_DATA`, `MLFLOW_TRACKING_URI`: as for the command line; relative ones start from this checkout.
"""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.sdk import Asset, Param

# Emitted when a promotion changed what serves.
CHAMPION = Asset("recsys://champion")

# Bash reads these when the task runs, so they are the worker's own.
COMMAND = '"${RECSYS_COMMAND:-recsys}"'
CONFIG = '"${RECSYS_CONFIG:-configs/demo.yaml}"'
CHECKOUT = Path(__file__).resolve().parents[1]

# Runs triggered by hand or by an asset have no logical date: what they have is the instant from which they may run.
RUN_DATE = "{{ params.run_date or (dag_run.logical_date or dag_run.run_after).strftime('%Y-%m-%d') }}"


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


def command_task(stage: str, *, dated: bool = False, skip_on_refusal: bool = False, **settings: Any) -> BashOperator:
    """Return the task that runs `recsys STAGE`.

    The run date goes into an environment variable and never into the shell's text, so nothing that is typed into
    the parameter can become a command.

    Args:
        stage: command of the CLI, and the task's id.
        dated: the command works for a run date and is told which.
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
        **settings,
    )
