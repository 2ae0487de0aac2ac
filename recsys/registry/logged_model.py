"""The model of a run: two bundles, logged as files and code of one MLflow model."""

from __future__ import annotations

import logging
import re
import tempfile
import warnings
from importlib import metadata
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import mlflow.pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema
from mlflow.utils.file_utils import local_file_uri_to_path

from recsys.errors import ArtifactError
from recsys.extras import list_requirements
from recsys.registry.tracking import Store
from recsys.storage.access import follow_umask
from recsys.storage.folders import MANIFEST, read_manifest
from recsys.storage.shared_files import link_equal_files

logger = logging.getLogger(__name__)

# The two bundles of a version: what serves, and the evaluation model, which has not seen the test window.
BUNDLE = "bundle"
EVALUATION_MODEL = "evaluation_model"
# Number of earlier models whose files a new one may share.
_LINKED_MODELS = 5

# A row without an item asks for a list without a history; a call without rows, for the list of an unknown user.
_SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "user_id", required=False),
            ColSpec(DataType.string, "item_id", required=False),
            ColSpec(DataType.datetime, "time", required=False),
            ColSpec(DataType.string, "event", required=False),
        ]
    ),
    outputs=Schema(
        [
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.integer, "rank"),
            ColSpec(DataType.string, "item_id"),
            ColSpec(DataType.float, "score"),
        ]
    ),
)


def log_model(store: Store, run_id: str, bundle: Path, evaluation_model: Path) -> LoggedModel:
    """Log two bundles as a model of the run, and return it; a model of the run that is complete is returned as it is.

    The model is code, not a pickle. An incomplete model, of a process or server that was killed, is completed.

    Args:
        store: from `connect`.
        run_id: of the MLflow run that made the bundles.
        bundle: folder named `BUNDLE`: what serves.
        evaluation_model: folder named `EVALUATION_MODEL`: what was measured.

    Raises:
        MlflowException: a request failed.
        OSError: a file could not be read or written.
    """
    run = store.client.get_run(run_id)
    model = _find_model(store, str(run.info.experiment_id), run_id) or store.client.create_logged_model(
        run.info.experiment_id, name=BUNDLE, source_run_id=run_id, params=dict(run.data.params)
    )
    if model.status == "READY":
        return model
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        folder = Path(scratch) / "model"
        _save(folder, model, run_id, bundle, evaluation_model)
        store.client.log_model_artifacts(model.model_id, str(folder))
    # MLflow refuses a second row for the same model.
    known = {output.model_id for output in run.outputs.model_outputs} if run.outputs else set()
    if model.model_id not in known:
        store.client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
    # Last: only a complete model is ready.
    model = store.client.finalize_logged_model(model.model_id, "READY")
    _link_to_earlier(store, model)
    return model


def _find_model(store: Store, experiment: str, run_id: str) -> LoggedModel | None:
    models = store.client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return next((model for model in models if model.name == BUNDLE), None)


def _link_to_earlier(store: Store, model: LoggedModel) -> None:
    """Let large files that an earlier model has too be hard links to its files, in a store on this machine.

    Only ready models are linked: nothing more is written into them. A failure costs space, never the model.
    """
    if (folder := _find_folder(model)) is None:
        return
    try:
        known: dict[str, Path] = {}
        experiment = [str(model.experiment_id)]
        order: list[dict[str, Any]] = [{"field_name": "creation_timestamp", "ascending": False}]
        for other in store.client.search_logged_models(experiment, max_results=_LINKED_MODELS, order_by=order):
            place = _find_folder(other)
            if place is None or other.model_id == model.model_id or other.status != "READY":
                continue
            for part in (place / BUNDLE, place / EVALUATION_MODEL):
                if (part / MANIFEST).is_file():
                    files = read_manifest(part, "")["files"].items()
                    known = {**{digest: part / name for name, digest in files if (part / name).is_file()}, **known}
        saved = sum(link_equal_files(folder / name, known, folder.parent) for name in (BUNDLE, EVALUATION_MODEL))
        if saved:
            logger.info("%.0f MB of the bundles are already stored with an earlier version", saved / 1e6)
    except (MlflowException, ArtifactError, OSError) as error:
        logger.debug("no files are shared with earlier versions: %s", error)


def _find_folder(model: LoggedModel) -> Path | None:
    """Return the folder of a model's bundles on this machine; None where they are elsewhere."""
    place = str(model.artifact_location)
    return Path(local_file_uri_to_path(place), "artifacts") if urlparse(place).scheme in ("", "file") else None


def _save(folder: Path, model: LoggedModel, run_id: str, bundle: Path, evaluation_model: Path) -> None:
    code = Path(__file__).with_name("served_model.py")
    described = Model(
        artifact_path=model.artifact_location, model_uuid=model.model_id, run_id=run_id, model_id=model.model_id
    )
    with warnings.catch_warnings():
        # The signature is declared, so MLflow needs no example to infer it.
        warnings.filterwarnings("ignore", message=".*An input example was not provided.*")
        mlflow.pyfunc.save_model(
            path=str(folder),
            mlflow_model=described,
            python_model=str(code),
            # As addresses: a path may contain characters that end one.
            artifacts={BUNDLE: bundle.resolve().as_uri(), EVALUATION_MODEL: evaluation_model.resolve().as_uri()},
            signature=_SIGNATURE,
            pip_requirements=_pin_requirements(),
            # The package itself is logged too: a version between two releases is on no package index.
            code_paths=[str(code.parents[1])],
        )
    # The copy of the package has the modes of the installation.
    follow_umask(folder)


def _pin_requirements() -> list[str]:
    """Return the package's requirements, each pinned to the version that is installed here."""
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in list_requirements()]
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
