"""MLflow runs: one per training, with settings, metrics, tables and plots."""

from __future__ import annotations

import logging
import os
import re
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow import MlflowClient
from mlflow.entities import Metric, Param
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys.config import Config
from recsys.errors import RegistryError
from recsys.storage.files import sqlite_url
from recsys.storage.home import mlflow_artifacts_folder, mlflow_database

_PARAM_CHARACTERS = 500
# Artifact folder of a run with a copy of the run's folder in the home.
_RUN_FOLDER = "run"


@dataclass(frozen=True)
class Store:
    """A tracking store and registry that was reached.

    Attributes:
        uri: with the password; never shown.
        client: connected to it.
        experiment: name of the config's experiment; the first training creates it.
        artifacts: URI of the folder for a new experiment's files; None: the server chooses it.
    """

    uri: str
    client: MlflowClient
    experiment: str
    artifacts: str | None

    @property
    def place(self) -> str:
        """The URI without the password."""
        return _hide_passwords(self.uri)


def connect(home: Path, config: Config) -> Store:
    """Open the store: `MLFLOW_TRACKING_URI`, or a sqlite file in the home that is created on first use.

    Raises:
        RegistryError: it does not answer.
    """
    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    # mlflow and its migration tool log every step of creating a store.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = given["MLFLOW_TRACKING_URI"] or sqlite_url(mlflow_database(home))
    # A server knows where its artifacts go; a local store needs the path, or it would use the working directory.
    artifacts = None if uri.startswith(("http://", "https://")) else mlflow_artifacts_folder(home).as_uri()
    try:
        if not given["MLFLOW_TRACKING_URI"]:
            home.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        store = Store(uri, MlflowClient(uri, uri), config.experiment, artifacts)
        store.client.get_experiment_by_name(store.experiment)
    # Not a database, a driver that is not installed, a home that is a file.
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        message = f"MLflow store {uri}: does not answer ({' '.join(str(error).split())})"
        raise RegistryError(
            f"{_hide_passwords(message)}; check MLFLOW_TRACKING_URI, RECSYS_HOME and the server"
        ) from error
    finally:
        # mlflow sets its URIs in the environment for child processes. They would look like the user's choice, and a
        # second home in this process would write to the store of the first.
        for name, value in given.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
    return store


def log_training(
    store: Store,
    name: str,
    config: Config,
    facts: Mapping[str, str],
    numbers: Mapping[str, float],
    baselines: Mapping[str, Mapping[str, float]],
    curves: Mapping[str, list[float]],
    artifacts: Path,
) -> str:
    """Log one finished training and return its MLflow run id.

    Args:
        store: from `connect`.
        name: of the run.
        config: logged flat as parameters.
        facts: tags, such as the snapshot and the windows.
        numbers: single values, such as `ndcg_at_10`.
        baselines: model -> its values under the same names; each is logged as a nested run, so that MLflow can
            compare them.
        curves: value by step.
        artifacts: folder whose files (resolved config, tables, plots) are logged with the run.
    """
    with (
        _logging(store, "the run"),
        mlflow.start_run(experiment_id=_get_or_create_experiment(store), run_name=name, tags=dict(facts)) as run,
    ):
        mlflow.log_params({key: str(value)[:_PARAM_CHARACTERS] for key, value in config.flatten()})
        mlflow.log_metrics(dict(numbers))
        for curve, values in curves.items():
            for step, value in enumerate(values):
                mlflow.log_metric(curve, value, step=step, synchronous=False)
        for model, values_by_name in baselines.items():
            tags = {"kind": "baseline", **facts}
            # Without the experiment's id a nested run is created in the default experiment.
            with mlflow.start_run(experiment_id=run.info.experiment_id, run_name=model, nested=True, tags=tags):
                mlflow.log_param("model", model)
                mlflow.log_metrics(dict(values_by_name))
        mlflow.log_artifacts(str(artifacts), _RUN_FOLDER)
        mlflow.flush_async_logging()
        run_id: str = run.info.run_id
        return run_id


def open_search(store: Store, name: str, facts: Mapping[str, str]) -> str:
    """Return the id of the run that a search's trials are nested in; a search that is continued has the same run.

    Args:
        store: from `connect`.
        name: of the search; a new name creates a new run.
        facts: tags of a new run.

    Raises:
        RegistryError: the store does not answer.
    """
    with _logging(store, "the search"):
        experiment = _get_or_create_experiment(store)
        runs = store.client.search_runs([experiment], f"tags.search = '{name}'", max_results=1)
        if runs:
            run_id = str(runs[0].info.run_id)
            store.client.update_run(run_id, status="RUNNING")
            return run_id
        tags = {**facts, "kind": "search", "search": name}
        return str(store.client.create_run(experiment, tags=tags, run_name=f"tune {name}").info.run_id)


def log_trial(
    store: Store,
    search: str,
    name: str,
    params: Mapping[str, object],
    numbers: Mapping[str, float],
    tags: Mapping[str, str],
) -> None:
    """Log one trial of a search as a run nested in its run.

    Args:
        store: from `connect`.
        search: id from `open_search`.
        name: of the run.
        params: the changed settings.
        numbers: single values; empty if the trial failed.
        tags: such as its state.

    Raises:
        RegistryError: the store does not answer.
    """
    with _logging(store, name):
        every_tag = {**tags, "kind": "trial", "mlflow.parentRunId": search}
        run_id = store.client.create_run(_get_or_create_experiment(store), tags=every_tag, run_name=name).info.run_id
        shown = [Param(key, str(value)[:_PARAM_CHARACTERS]) for key, value in params.items()]
        store.client.log_batch(run_id, metrics=_stamp(numbers), params=shown)
        store.client.set_terminated(run_id, "FINISHED" if numbers else "FAILED")


def close_search(
    store: Store, search: str, numbers: Mapping[str, float], tags: Mapping[str, str], artifacts: Sequence[Path]
) -> None:
    """Log the result of a search, such as the winner's numbers and config file, and end its run.

    Raises:
        RegistryError: the store does not answer.
    """
    with _logging(store, "the search"):
        store.client.log_batch(search, metrics=_stamp(numbers))
        for key, value in tags.items():
            store.client.set_tag(search, key, value)
        for path in artifacts:
            store.client.log_artifact(search, str(path))
        store.client.set_terminated(search)


def _stamp(numbers: Mapping[str, float]) -> list[Metric]:
    now = time.time_ns() // 1_000_000
    return [Metric(key, value, now, 0) for key, value in numbers.items()]


@contextmanager
def open_run_folder(store: Store, run_id: str) -> Iterator[Path]:
    """Fetch the folder that was logged with a run; it is deleted when the block ends.

    Raises:
        RegistryError: the run has no such folder, or the store does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        try:
            folder = mlflow.artifacts.download_artifacts(
                run_id=run_id, artifact_path=_RUN_FOLDER, dst_path=scratch, tracking_uri=store.uri
            )
        except (MlflowException, OSError) as error:
            raise RegistryError(f"MLflow run {run_id}: no folder '{_RUN_FOLDER}' ({error}); train again") from error
        yield Path(folder)


@contextmanager
def _logging(store: Store, what: str) -> Iterator[None]:
    try:
        yield
    except (MlflowException, OSError) as error:
        raise RegistryError(f"MLflow store {store.place}: {what} was not logged ({error}); run again") from error


def _hide_passwords(text: str) -> str:
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text)


def _get_or_create_experiment(store: Store) -> str:
    experiment = store.client.get_experiment_by_name(store.experiment)
    if experiment:
        return str(experiment.experiment_id)
    return str(store.client.create_experiment(store.experiment, store.artifacts))


def find_run_id(store: Store, run_name: str) -> str | None:
    """Return the id of the newest MLflow run with a name in the config's experiment; None where there is none.

    Raises:
        RegistryError: the store does not answer.
    """
    try:
        experiment = store.client.get_experiment_by_name(store.experiment)
        if experiment is None:
            return None
        runs = store.client.search_runs(
            [experiment.experiment_id],
            filter_string=f"attributes.run_name = '{run_name}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    except MlflowException as error:
        raise RegistryError(f"MLflow store {store.place}: no answer ({error.message}); run again") from error
    return str(runs[0].info.run_id) if runs else None


def log_file(store: Store, run_id: str, path: Path) -> None:
    """Log a copy of a file with an MLflow run; a file of the same name is replaced.

    Raises:
        RegistryError: it cannot be written there.
    """
    try:
        store.client.log_artifact(run_id, str(path))
    except (MlflowException, OSError) as error:
        raise RegistryError(f"MLflow run {run_id}: {path.name} was not logged ({error}); run again") from error
