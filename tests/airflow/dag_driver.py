"""Runs DAGs in a separate process: one JSON request per line of stdin, one JSON answer per line of stdout.

Airflow changes logging, warnings and sqlalchemy for the whole process, so the tests keep it out of theirs.
"""

import json
import os
import sys
from datetime import datetime

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Airflow's own output must not mix with the answers

from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.models.asset import AssetDagRunQueue, AssetEvent  # noqa: E402
from airflow.settings import Session  # noqa: E402
from sqlalchemy import select  # noqa: E402

sys.path.append(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
BAG = DagBag()
HEAVY = ("recsys", "torch", "lightgbm", "mlflow")


def describe() -> dict:
    """Return what the DAG files declare."""
    return {
        "import_errors": BAG.import_errors,
        "heavy_imports": [name for name in HEAVY if name in sys.modules],
        "dags": {
            dag.dag_id: {
                "max_active_runs": dag.max_active_runs,
                "catchup": dag.catchup,
                "doc": dag.doc_md,
                "tasks": {
                    task.task_id: {
                        "downstream": sorted(task.downstream_task_ids),
                        "retries": task.retries,
                        "timeout": task.execution_timeout.total_seconds() if task.execution_timeout else None,
                        "outlets": [outlet.name for outlet in task.outlets],
                        "owner": task.owner,
                        "doc": task.doc_md,
                    }
                    for task in dag.tasks
                },
            }
            for dag in BAG.dags.values()
        },
    }


def run(
    dag_id: str, logical_date: str | None, run_after: str | None, conf: dict, environment: dict, unchecked: bool
) -> dict:
    """Run a DAG without retries; return its states, the number of asset events, and the DAGs that they trigger."""
    os.environ.update(environment)
    dag = DagBag().dags[dag_id]  # a fresh one: a run leaves its parameters behind in the object
    for task in dag.tasks:
        task.retries = 0  # a retry would wait its five minutes
    if unchecked:
        for owner in (dag, *dag.tasks):
            owner.params.get_param("run_date").schema = {}
    before = count_events()
    result = dag.test(
        logical_date=logical_date and datetime.fromisoformat(logical_date),
        run_after=run_after and datetime.fromisoformat(run_after),
        run_conf=conf,
    )
    with Session() as session:
        waiting = sorted(session.scalars(select(AssetDagRunQueue.target_dag_id)))
        states = {task.task_id: str(task.state) for task in result.get_task_instances(session=session)}
    return {
        "state": str(result.state),
        "tasks": states,
        "asset_events": count_events() - before,
        "waiting_for_asset": waiting,
    }


def count_events() -> int:
    """Return how many asset events the store holds."""
    with Session() as session:
        return len(session.scalars(select(AssetEvent.id)).all())


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = run(**request) if request else describe()
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), file=ANSWERS, flush=True)
