"""Publish a list for every active user, every night and whenever the champion changes.

`ingest` → `generate`

- **Succeeded**: every configured output holds the lists of the run date. Running the same date again is safe: the same
  inputs give the same bytes, and readers see either the old lists or the new ones.
- **Failed**: readers still see the last published lists. Fix what the log's last line names, then clear the task
  (Grid → task → Clear). Each task's documentation explains its exit codes.
- **No champion yet**: run `recsys_train` once; its promotion triggers this DAG.

Trigger it with `run_date` for another date. Data that ended long ago, such as the demo catalogue, needs the day after
its last event.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, AssetOrTimeSchedule, CronTriggerTimetable
from recsys_command import CHAMPION, command_task, run_date_param

with DAG(
    dag_id="recsys_nightly",
    schedule=AssetOrTimeSchedule(timetable=CronTriggerTimetable("0 3 * * *", timezone="UTC"), assets=[CHAMPION]),
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={"run_date": run_date_param()},
    doc_md=__doc__,
    tags=["recsys"],
):
    (
        command_task("ingest", retries=2, execution_timeout=timedelta(hours=1))
        >> command_task("generate", dated=True, retries=2, execution_timeout=timedelta(hours=3))
    )
