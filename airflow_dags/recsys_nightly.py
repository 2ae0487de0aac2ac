"""Every night, and whenever the champion changes: publish everybody's list.

`ingest` → `generate`

- **Both succeeded**: the lists of the run date are published, complete. Running the same date again is safe: the
  same inputs give the same bytes, and readers see the old lists or the new ones, never half.
- **generate failed**: last night's lists are still being served. Exit code 3 means that a sanity check refused the
  new lists, 2 an error; the log says which and what to do. Mend it and clear the task.
- **no champion yet**: run `recsys_train` once; its promotion starts this DAG by itself.

Trigger with `run_date` to work for another date. Data that ended long ago, such as the demo catalogue's, need the day
after their last event.
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
