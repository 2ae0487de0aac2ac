"""Every week: learn from the newest data and, if the gate agrees, put the result into service.

`ingest` → `train` → `evaluate` → `promote`

- **promote succeeded**: the challenger serves now, and the asset `recsys://champion` starts `recsys_nightly`.
- **promote skipped**: the gate refused (exit code 3); its log says why, the champion stays. Nothing to repair.
- **anything failed**: the champion stays. Read the task's log, mend what it names and clear the task.

To take a promotion back: `recsys rollback --config FILE`, then trigger `recsys_nightly`.
Trigger with `run_date` to work for another date. Data that ended long ago, such as the demo catalogue's, need the day
after their last event.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from recsys_command import CHAMPION, command_task, run_date_param

with DAG(
    dag_id="recsys_train",
    # Sunday, three hours after the nightly lists: the two never read and write at the same time on a usual day.
    schedule=CronTriggerTimetable("0 6 * * 0", timezone="UTC"),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"run_date": run_date_param()},
    doc_md=__doc__,
    tags=["recsys"],
):
    (
        command_task("ingest", retries=2, execution_timeout=timedelta(hours=1))
        >> command_task("train", dated=True, execution_timeout=timedelta(hours=12))
        >> command_task("evaluate", execution_timeout=timedelta(hours=2))
        >> command_task("promote", skip_on_refusal=True, outlets=[CHAMPION], execution_timeout=timedelta(hours=1))
    )
