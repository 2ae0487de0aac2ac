"""Make the lists of a range of run dates, one date after the other.

`recsys_backfill.md` is its page in the grid.
"""

from datetime import UTC, datetime, timedelta

from airflow.sdk import DAG
from recsys_command import TASK_SETTINGS, RecsysOperator, date_param, read_page

with DAG(
    dag_id="recsys_backfill",
    schedule=None,
    start_date=datetime(2025, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    params={
        "first": date_param("First run date", "its lists use the events before 00:00 UTC of this day."),
        "last": date_param("Last run date", "included."),
    },
    default_args=TASK_SETTINGS,
    doc_md=read_page(__file__),
    tags=["recsys"],
):
    (
        RecsysOperator(stage="ingest", execution_timeout=timedelta(hours=1))
        >> RecsysOperator(
            stage="generate",
            arguments=("--run-date", "{{ params.first }}", "--until", "{{ params.last }}", "--keep-pointer"),
            execution_timeout=timedelta(hours=24),
        )
    )
