"""MLflow runs: one per training, with settings, metrics, tables and plots."""

from __future__ import annotations

import logging
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from sqlalchemy.exc import SQLAlchemyError

from recsys.config import Config
from recsys.errors import RegistryError

_PARAM_CHARACTERS = 500


@dataclass(frozen=True)
class Store:
    """A tracking store and registry that answers.

    Attributes:
        uri: where it is, password and all; never shown.
        client: connected to it.
        experiment: name of the config's experiment; the first training makes it.
        artifacts: URI of the folder that a new experiment's files go to; None: the server knows.
    """

    uri: str
    client: MlflowClient
    experiment: str
    artifacts: str | None

    @property
    def place(self) -> str:
        """Where it is, without the password."""
        return _hide_passwords(self.uri)


def connect(home: Path, config: Config) -> Store:
    """Open the store: `MLFLOW_TRACKING_URI`, or a sqlite file in the home that is made on first use.

    Raises:
        RegistryError: it does not answer.
    """
    given = {name: os.environ.get(name) for name in ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI")}
    # mlflow and its migration tool report every step of making a store; a user asked for none of it.
    for name in ("alembic", "mlflow"):
        logging.getLogger(name).setLevel(logging.WARNING)
    uri = given["MLFLOW_TRACKING_URI"] or f"sqlite:///{home / 'mlflow.db'}"
    # A server knows where its artifacts go; a local store is told, or it would use the working directory.
    artifacts = None if uri.startswith(("http://", "https://")) else (home / "mlartifacts").as_uri()
    try:
        if not given["MLFLOW_TRACKING_URI"]:
            home.mkdir(parents=True, exist_ok=True)
        mlflow.set_tracking_uri(uri)
        mlflow.set_registry_uri(uri)
        store = Store(uri, MlflowClient(uri, uri), config.experiment, artifacts)
        store.client.get_experiment_by_name(store.experiment)
    # A database that is not one, a driver that is not installed, a home that is a file.
    except (MlflowException, SQLAlchemyError, ImportError, OSError) as error:
        message = f"MLflow store {uri}: does not answer ({' '.join(str(error).split())})"
        raise RegistryError(
            f"{_hide_passwords(message)}; check MLFLOW_TRACKING_URI, RECSYS_HOME and the server"
        ) from error
    finally:
        # mlflow leaves its URIs in the environment for child processes; there they would pass for the user's own
        # choice, and a second home in this process would write to the first one's store.
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
    metrics: pl.DataFrame,
    numbers: Mapping[str, float],
    curves: Mapping[str, list[float]],
    artifacts: Path,
) -> str:
    """Log one finished training and return its MLflow run id.

    Args:
        store: from `connect`.
        name: of the run.
        config: logged flat as parameters.
        facts: tags, such as the snapshot and the windows.
        metrics: `MetricTable`; logged as `MODEL/METRIC_at_N` with `_low` and `_high`.
        numbers: further single values.
        curves: value by step.
        artifacts: folder of files (resolved config, tables, plots) that go with the run.
    """
    try:
        with mlflow.start_run(experiment_id=_need_experiment(store), run_name=name, tags=dict(facts)) as run:
            mlflow.log_params({key: str(value)[:_PARAM_CHARACTERS] for key, value in _flatten(config.resolved())})
            mlflow.log_metrics({**_name_metrics(metrics), **numbers})
            for curve, values in curves.items():
                for step, value in enumerate(values):
                    mlflow.log_metric(curve, value, step=step, synchronous=False)
            mlflow.log_artifacts(str(artifacts))
            mlflow.flush_async_logging()
            run_id: str = run.info.run_id
            return run_id
    except (MlflowException, OSError) as error:
        raise RegistryError(f"MLflow store {store.place}: the run was not logged ({error}); run again") from error


def read_run_table(store: Store, run_id: str, name: str) -> pl.DataFrame:
    """Return a parquet table logged with a run.

    Raises:
        RegistryError: the run has no such table.
    """
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        try:
            return pl.read_parquet(
                mlflow.artifacts.download_artifacts(
                    run_id=run_id, artifact_path=name, dst_path=scratch, tracking_uri=store.uri
                )
            )
        except (MlflowException, OSError, pl.exceptions.PolarsError) as error:
            raise RegistryError(f"MLflow run {run_id}: no table '{name}' ({error}); train again") from error


def _hide_passwords(text: str) -> str:
    return re.sub(r"(://[^:/@\s]*):[^@/\s]*@", r"\1:***@", text)


def _need_experiment(store: Store) -> str:
    found = store.client.get_experiment_by_name(store.experiment)
    made = found.experiment_id if found else store.client.create_experiment(store.experiment, store.artifacts)
    return str(made)


def _flatten(content: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for key, value in content.items():
        rows += _flatten(value, f"{prefix}{key}.") if isinstance(value, dict) else [(prefix + key, value)]
    return rows


def _name_metrics(metrics: pl.DataFrame) -> dict[str, float]:
    named: dict[str, float] = {}
    for row in metrics.iter_rows(named=True):
        name = f"{row['model']}/{row['metric']}_at_{row['n']}"
        named |= {name: row["mean"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return named
