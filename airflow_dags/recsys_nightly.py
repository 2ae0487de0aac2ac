"""Publish a list for every active user, every night and whenever the champion changes.

`recsys_nightly.md` is its page in the grid.
"""

import os
from datetime import UTC, datetime, timedelta

from airflow.sdk import (
    DAG,
    AssetOrTimeSchedule,
    CronTriggerTimetable,
    DeadlineAlert,
    DeadlineReference,
    SyncCallback,
    TriggerRule,
    Variable,
    get_current_context,
    task,
)
from airflow.sdk.exceptions import AirflowSkipException
from recsys_alerts import report_missed_deadline
from recsys_command import (
    CHAMPION,
    DATED,
    OTHER_POOL,
    RETRAINING,
    TASK_SETTINGS,
    DataSensor,
    RecsysOperator,
    read_page,
    run_date_param,
)
from recsys_docs import TASK_DOCS

# From the time the run was queued, normally 03:00 UTC.
DEADLINE = timedelta(hours=float(os.environ.get("RECSYS_DEADLINE_HOURS") or 5))


@task(pool=OTHER_POOL, doc_md=TASK_DOCS["plan_parts"])
def plan_parts() -> list[str]:
    """Return the parts that `make_part` makes at the same time, such as `1/2` and `2/2`; none: `generate` makes all."""
    parts = int(Variable.get("recsys_shard_tasks", default="1"))
    return [f"{number}/{parts}" for number in range(1, parts + 1)] if parts > 1 else []


@task(outlets=[RETRAINING], pool=OTHER_POOL, doc_md=TASK_DOCS["request_training"])
def request_training() -> None:
    """Emit the asset that starts `recsys_train` if the monitor asks for a training."""
    context = get_current_context()
    # If a run that a promotion started could ask for the next training, the two DAGs might start each other forever.
    if (kind := context["dag_run"].run_type) in ("asset_triggered", "backfill"):
        raise AirflowSkipException(f"a run of type {kind} does not ask for a training")
    if not context["task_instance"].xcom_pull(task_ids="monitor", key="retrain"):
        raise AirflowSkipException("the monitor does not ask for a training")


with DAG(
    dag_id="recsys_nightly",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 3 * * *", timezone="UTC"), assets=[CHAMPION]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"run_date": run_date_param()},
    default_args=TASK_SETTINGS,
    deadline=DeadlineAlert(
        reference=DeadlineReference.DAGRUN_QUEUED_AT, interval=DEADLINE, callback=SyncCallback(report_missed_deadline)
    ),
    doc_md=read_page(__file__),
    tags=["recsys"],
):
    wait = DataSensor(
        task_id="wait_for_data",
        stage="freshness",
        arguments=DATED,
        # It only reads raw files, and a task that waits must not keep others from working.
        pool=OTHER_POOL,
        execution_timeout=timedelta(hours=1),
    )
    ingest = RecsysOperator(stage="ingest", execution_timeout=timedelta(hours=1))
    parts = RecsysOperator.partial(
        task_id="make_part",
        stage="generate",
        arguments=DATED,
        # Parts of a night run at the same time: they share the lock.
        pool=OTHER_POOL,
        doc_md=TASK_DOCS["make_part"],
        map_index_template="{{ task.part }}",
        execution_timeout=timedelta(hours=3),
    ).expand(part=(plan := plan_parts()))
    generate = RecsysOperator(
        stage="generate",
        arguments=DATED,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        execution_timeout=timedelta(hours=3),
    )
    monitor = RecsysOperator(
        stage="monitor",
        arguments=DATED,
        # Also after a failure: it names the cause.
        trigger_rule=TriggerRule.ALL_DONE,
        execution_timeout=timedelta(hours=1),
    )
    prune = RecsysOperator(
        stage="prune", optional=True, trigger_rule=TriggerRule.NONE_FAILED, execution_timeout=timedelta(hours=1)
    )
    wait >> ingest >> plan >> parts >> generate >> monitor >> request_training()
    ingest >> generate
    [generate, monitor] >> prune
