"""Runs DAGs in a separate process: one JSON request per line of stdin, one JSON answer per line of stdout.

Airflow changes logging, warnings and sqlalchemy for the whole process, so the tests keep it out of theirs.
"""

import json
import os
import sys
from datetime import datetime
from typing import Any

ANSWERS = os.fdopen(os.dup(1), "w")
os.dup2(2, 1)  # Airflow's own output must not mix with the answers

from airflow.dag_processing.dagbag import DagBag  # noqa: E402
from airflow.models.asset import AssetDagRunQueue, AssetEvent  # noqa: E402
from airflow.models.xcom import XComModel  # noqa: E402
from airflow.sdk.definitions.mappedoperator import MappedOperator  # noqa: E402
from airflow.sdk.definitions.param import ParamsDict  # noqa: E402
from airflow.utils.session import create_session  # noqa: E402
from sqlalchemy import select  # noqa: E402

sys.path.append(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
BAG = DagBag()
_SET_BY_TESTS = ("RECSYS_", "AIRFLOW_VAR_", "AIRFLOW_CONN_", "MLFLOW_")
HEAVY = ("recsys", "torch", "lightgbm", "mlflow")


def describe() -> dict[str, Any]:
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
                        "pool": task.pool,
                        "doc": task.doc_md,
                    }
                    for task in dag.tasks
                },
            }
            for dag in BAG.dags.values()
        },
    }


def run(
    dag_id: str,
    logical_date: str | None,
    run_after: str | None,
    conf: dict[str, Any],
    environment: dict[str, str],
    unchecked: bool,
) -> dict[str, Any]:
    """Run a DAG without retries; return its states, the number of asset events, and the DAGs that they trigger."""
    for name in [name for name in os.environ if name.startswith(_SET_BY_TESTS)]:
        del os.environ[name]
    os.environ.update(environment)
    dag = DagBag().dags[dag_id]  # a fresh one: a run leaves its parameters behind in the object
    # `dag.test()` of Airflow 3.3 cannot end a run that has a deadline; the test of the scheduler has one.
    dag.deadline = None
    for task in dag.tasks:
        # A retry would wait its five minutes.
        if isinstance(task, MappedOperator):
            task.partial_kwargs["retries"] = 0
        else:
            task.retries = 0
    if unchecked:
        for params in (dag.params, *(task.params for task in dag.tasks)):
            assert isinstance(params, ParamsDict)
            params.get_param("run_date").schema = {}
    before = count_events()
    result = dag.test(
        logical_date=datetime.fromisoformat(logical_date) if logical_date else None,
        run_after=datetime.fromisoformat(run_after) if run_after else None,
        run_conf=conf,
    )
    with create_session() as session:
        waiting = sorted(session.scalars(select(AssetDagRunQueue.target_dag_id)))
        tasks = {name_task(task): task for task in result.get_task_instances(session=session)}
        rows = session.scalars(select(XComModel).where(XComModel.run_id == result.run_id, XComModel.dag_id == dag_id))
        xcoms: dict[str, dict[str, Any]] = {}
        for row in rows:
            xcoms.setdefault(row.task_id, {})[row.key] = row.value
    return {
        "state": str(result.state),
        "tasks": {name: str(task.state) for name, task in tasks.items()},
        "xcoms": xcoms,
        "asset_events": count_events() - before,
        "waiting_for_asset": waiting,
    }


def name_task(task: Any) -> str:
    """Return the task's id, with the index of a mapped task."""
    return task.task_id if task.map_index < 0 else f"{task.task_id}[{task.map_index}]"


def count_events() -> int:
    """Return how many asset events the store holds."""
    with create_session() as session:
        return len(session.scalars(select(AssetEvent.id)).all())


for line in sys.stdin:
    request = json.loads(line)
    try:
        answer = run(**request) if request else describe()
    except Exception as error:
        answer = {"error": f"{type(error).__name__}: {error}"}
    print(json.dumps(answer, default=str), file=ANSWERS, flush=True)
