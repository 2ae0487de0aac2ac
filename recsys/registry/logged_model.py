"""The model of a run: two bundles, logged as files and code of one MLflow model."""

from __future__ import annotations

import re
import tempfile
import warnings
from importlib import metadata
from pathlib import Path

import mlflow.pyfunc
from mlflow.entities import LoggedModel, LoggedModelOutput
from mlflow.models import Model, ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from recsys.registry.tracking import Store

# The two bundles of a version: what serves, and the evaluation model, which has not seen the test window.
BUNDLE = "bundle"
EVALUATION_MODEL = "evaluation_model"

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
    return store.client.finalize_logged_model(model.model_id, "READY")


def _find_model(store: Store, experiment: str, run_id: str) -> LoggedModel | None:
    models = store.client.search_logged_models([experiment], f"source_run_id = '{run_id}'")
    return next((model for model in models if model.name == BUNDLE), None)


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
            # The package itself is logged too: no package index has it under this name.
            code_paths=[str(code.parents[1])],
        )


def _pin_requirements() -> list[str]:
    """Return the package's requirements, each pinned to the version that is installed here."""
    requirements = [line for line in metadata.requires("recsys") or [] if "extra ==" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements]
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]
