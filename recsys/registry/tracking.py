"""The MLflow store, tracking and registry: reached, checked, and asked for runs and their files."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mlflow
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys.config import Config
from recsys.errors import RegistryError
from recsys.progress import waiting
from recsys.registry.client import StoreClient, explain, time_limits
from recsys.registry.moved_home import correct_places
from recsys.storage.access import make_home
from recsys.storage.addresses import Address
from recsys.storage.files import sqlite_url
from recsys.storage.home import mlflow_artifacts_folder, mlflow_database

# Artifact folder of a run with a copy of the run's folder in the home.
RUN_FOLDER = "run"
# Tag of an experiment or a run with the description that MLflow shows, in Markdown.
NOTE = "mlflow.note.content"


@dataclass(frozen=True)
class Store:
    """A tracking store and registry that was reached.

    Attributes:
        uri: with credentials; never shown.
        client: connected to it; its requests are limited in time.
        experiment: name of the config's experiment; the first training creates it.
        artifacts: URI of the folder for a new experiment's files; None: the server chooses it.
    """

    uri: str
    client: StoreClient
    experiment: str
    artifacts: str | None

    @property
    def address(self) -> Address:
        """The URI in its parts; cleans messages of credentials."""
        return Address.parse(self.uri)

    @property
    def place(self) -> str:
        """The URI without credentials."""
        return self.address.place


def connect(home: Path, config: Config) -> Store:
    """Open the store: `MLFLOW_TRACKING_URI`, or a sqlite file in the home that is created on first use.

    Nothing outside the store is changed: MLflow's global address, its active run and the environment stay as they are.
    If the home was moved or copied, its own store is corrected to name the home's folders.

    Raises:
        RegistryError: it does not answer in time, or refuses the credentials.
    """
    # mlflow and its migration tool log every step of creating a store.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    # It repeats what a driver reports, which may name the user.
    logging.getLogger("mlflow.store.db.utils").setLevel(logging.ERROR)
    given = os.environ.get("MLFLOW_TRACKING_URI")
    uri = given or sqlite_url(mlflow_database(home))
    address = Address.parse(uri)
    # A server knows where its artifacts go; a local store needs the path, or it would use the working directory.
    artifacts = None if address.is_web else mlflow_artifacts_folder(home.resolve()).as_uri()
    try:
        if not given:
            make_home(home)
            correct_places(home)
        # Imports what the kind of store needs, and creates a database, which takes seconds.
        with waiting("connecting to MLflow"):
            store = Store(uri, StoreClient(address), config.experiment, artifacts)
            store.client.get_experiment_by_name(store.experiment)
    # Not a database, a driver that is not installed, a home that is a file.
    except (MlflowException, SQLAlchemyError, ImportError, OSError, ValueError) as error:
        reason = explain(address, error)
        if reason.startswith("the server "):
            raise RegistryError(f"MLflow store {address.place}: {reason}") from error
        raise RegistryError(
            f"MLflow store {address.place}: does not answer ({reason}); check MLFLOW_TRACKING_URI, RECSYS_HOME and the "
            "server"
        ) from error
    return store


@contextmanager
def asking(store: Store, problem: str, next_step: str = "run again") -> Iterator[None]:
    """Turn a failed request of the block into an error that names the store.

    Args:
        store: from `connect`.
        problem: what was not done, such as `the run was not logged`.
        next_step: what a person can do.

    Raises:
        RegistryError: a request failed, or a file could not be read or written.
    """
    try:
        with time_limits():
            yield
    except (MlflowException, OSError) as error:
        reason = explain(store.address, error)
        raise RegistryError(f"MLflow store {store.place}: {problem} ({reason}); {next_step}") from error


def find_experiment(store: Store) -> str | None:
    """Return the id of the config's experiment; None where it does not exist yet.

    Raises:
        RegistryError: it was deleted, or the store does not answer.
    """
    with asking(store, "no answer"):
        experiment = store.client.get_experiment_by_name(store.experiment)
    if experiment is None:
        return None
    if experiment.lifecycle_stage == "deleted":
        raise RegistryError(
            f"MLflow store {store.place}: experiment {store.experiment} is deleted; restore it with "
            f"'mlflow experiments restore -x {experiment.experiment_id}' and MLFLOW_TRACKING_URI set to this store, "
            "or choose another registry.experiment"
        )
    return str(experiment.experiment_id)


def get_or_create_experiment(store: Store, description: str = "") -> str:
    """Return the id of the config's experiment, which is created if it does not exist.

    Args:
        store: from `connect`.
        description: for the page of an experiment that has none; what a person wrote stays.

    Raises:
        RegistryError: it was deleted, the store cannot be written, or it does not answer.
    """
    experiment = find_experiment(store) or _create_experiment(store)
    with asking(store, f"cannot write the description of experiment {store.experiment}"):
        if description and NOTE not in store.client.get_experiment(experiment).tags:
            store.client.set_experiment_tag(experiment, NOTE, description)
    return experiment


def _create_experiment(store: Store) -> str:
    with asking(store, f"experiment {store.experiment} was not created"):
        try:
            return str(store.client.create_experiment(store.experiment, store.artifacts))
        except MlflowException as error:
            # Another home did it meanwhile.
            experiment = store.client.get_experiment_by_name(store.experiment)
            if experiment is None:
                raise error from None
            return str(experiment.experiment_id)


@contextmanager
def open_run_folder(store: Store, run_id: str) -> Iterator[Path]:
    """Fetch the folder that was logged with a run; it is deleted when the block ends.

    Raises:
        RegistryError: the run has no such folder, or the store does not answer.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        try:
            # By the run's address: MLflow would look a run's id up in the store of its global address.
            root = store.client.get_run(run_id).info.artifact_uri
            with time_limits():
                folder = mlflow.artifacts.download_artifacts(
                    artifact_uri=f"{root}/{RUN_FOLDER}",
                    dst_path=scratch,
                    tracking_uri=store.uri,
                    registry_uri=store.uri,
                )
        except (MlflowException, OSError) as error:
            reason = explain(store.address, error)
            raise RegistryError(f"MLflow run {run_id}: no folder '{RUN_FOLDER}' ({reason}); train again") from error
        yield Path(folder)


def find_run_id(store: Store, run_name: str) -> str | None:
    """Return the id of the newest MLflow run with a name in the config's experiment; None where there is none.

    Raises:
        RegistryError: the store does not answer.
    """
    with asking(store, "no answer"):
        experiment = store.client.get_experiment_by_name(store.experiment)
        if experiment is None:
            return None
        runs = store.client.search_runs(
            [experiment.experiment_id],
            filter_string=f"attributes.run_name = '{run_name}'",
            max_results=1,
            order_by=["attributes.start_time DESC"],
        )
    return str(runs[0].info.run_id) if runs else None


def log_file(store: Store, run_id: str, path: Path) -> None:
    """Log a copy of a file with an MLflow run; a file of the same name is replaced.

    Raises:
        RegistryError: it cannot be written there.
    """
    with asking(store, f"{path.name} was not logged with run {run_id}"):
        store.client.log_artifact(run_id, str(path))
