"""Train every week, or when the monitor asks for it, and promote the result if it passes the gate.

`recsys_train.md` is its page in the grid.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from recsys_command import (
    CHAMPION,
    DATED,
    OTHER_POOL,
    RETRAINING,
    START,
    TASK_SETTINGS,
    RecsysOperator,
    read_page,
    run_date_param,
)

with DAG(
    dag_id="recsys_train",
    # Sunday, three hours after the nightly lists, so that the two do not normally run at the same time.
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 6 * * 0", timezone="UTC"), assets=[RETRAINING]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"run_date": run_date_param()},
    default_args=TASK_SETTINGS,
    doc_md=read_page(__file__),
    tags=["recsys"],
):
    (
        RecsysOperator(stage="ingest", execution_timeout=timedelta(hours=1))
        # Training may take hours and has a lock of its own: the nights need not wait for it.
        >> RecsysOperator(
            stage="train",
            arguments=(*DATED, START),
            pool=OTHER_POOL,
            execution_timeout=timedelta(hours=12),
        )
        >> RecsysOperator(stage="evaluate", as_json=False, pool=OTHER_POOL, execution_timeout=timedelta(hours=2))
        >> RecsysOperator(stage="report", pool=OTHER_POOL, execution_timeout=timedelta(hours=1))
        >> RecsysOperator(
            stage="promote",
            on_refusal="skip",
            skip_unless="promoted",
            outlets=[CHAMPION],
            execution_timeout=timedelta(hours=1),
        )
    )
