"""Train on the newest data every week, and promote the result if it passes the gate.

`ingest` → `train` → `evaluate` → `promote`

- **promote succeeded**: the challenger is now the champion; the asset `recsys://champion` triggers `recsys_nightly`.
- **promote skipped**: the gate refused (exit code 3); its log has the numbers. The champion stays; nothing to fix.
- **Anything failed**: the champion stays. Fix what the log's last line names, then clear the task
  (Grid → task → Clear).

To undo a promotion: `recsys rollback --config FILE`, which publishes the earlier lists again; where it cannot, trigger
`recsys_nightly`. A version that was rolled back is refused from then on.
Trigger it with `run_date` for another date. Data that ended long ago, such as the demo catalogue, needs the day after
its last event.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG, CronTriggerTimetable
from recsys_command import CHAMPION, command_task, run_date_param

with DAG(
    dag_id="recsys_train",
    # Sunday, three hours after the nightly lists, so that the two do not normally run at the same time.
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
