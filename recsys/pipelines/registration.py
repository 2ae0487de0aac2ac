"""`recsys register`, and the end of `recsys train`: log and register a fitted training, as often as it takes."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from recsys.artifacts.runs import open_run
from recsys.config import Config
from recsys.errors import ArtifactError, RegistryError
from recsys.progress import log_stage, logger, progress_bar
from recsys.registry.descriptions import describe_run, describe_version
from recsys.registry.tracking import Store, connect, get_or_create_experiment
from recsys.registry.training_run import Results, finish_run, has_run, log_results
from recsys.registry.versions import BUNDLE, EVALUATION_MODEL, Version, describe_on_page, register
from recsys.storage.code_version import WRITTEN_BY, find_code_version
from recsys.storage.files import read_json, write_json
from recsys.storage.folders import read_manifest, sweep, verify_folder, write_folder
from recsys.storage.home import kept_training_folder, run_folder, unregistered_folder
from recsys.storage.locks import lock
from recsys.storage.shared_files import share_files

if TYPE_CHECKING:
    # Imports torch, which commands that only look for waiting trainings do not need.
    from recsys.serving.bundle import Bundle

_RECORD = "registration.json"
# Of a registration, for its progress bar: the results take about two, the model two, descriptions one.
_PARTS = 5
_TRAIN_AGAIN = "delete this folder and run 'recsys train'"


@dataclass(frozen=True)
class Registered:
    """A training that is registered now.

    Attributes:
        run: name of the folder below `runs/`.
        version: the registered refit.
    """

    run: str
    version: Version


def keep_training(
    home: Path, run: str, run_id: str, store: Store, bundle: Bundle, evaluated: Bundle, results: Results
) -> None:
    """Write what registering a run needs; it is deleted once the run is registered.

    Args:
        home: has the run's folder; the caller holds its lock on training.
        run: name of the folder below `runs/`.
        run_id: its MLflow run.
        store: that has the MLflow run.
        bundle: what serves.
        evaluated: the evaluation model.
        results: for the MLflow run; its facts also become tags of the version.

    Raises:
        ArtifactError: the disk is full.
    """
    sweep(unregistered_folder(home))
    facts = {**results.facts, WRITTEN_BY: find_code_version()}

    def fill(staging: Path) -> None:
        manifest = write_folder(staging / BUNDLE, bundle.save, {**facts, "kind": "bundle"})
        write_folder(staging / EVALUATION_MODEL, evaluated.save, {**facts, "kind": EVALUATION_MODEL})
        # Where nothing is fine-tuned, both have the same encoder, which is most of a bundle.
        share_files(staging / EVALUATION_MODEL, staging / BUNDLE)
        digest = hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()[:12]
        record = {"run_id": run_id, "store": store.place, "bundle": digest, "results": asdict(results)}
        write_json(staging / _RECORD, record)

    write_folder(kept_training_folder(home, run), fill, {"kind": "unregistered training", "run": run})


def find_kept(home: Path) -> dict[str, str]:
    """Return the MLflow run id of each training that waits for its registration, by the name of its run."""
    folder = unregistered_folder(home)
    paths = sorted(folder.iterdir()) if folder.is_dir() else []
    kept = {}
    # A name with a dot in front belongs to a writer that was killed.
    for path in (path for path in paths if not path.name.startswith(".")):
        try:
            kept[path.name] = str(read_json(path / _RECORD)["run_id"])
        except (OSError, ValueError, KeyError, TypeError):
            logger.warning("unregistered training %s: cannot be read; %s", path, _TRAIN_AGAIN)
    return kept


def register_training(config: Config, home: Path, run: str | None = None) -> list[Registered]:
    """Log and register trainings that were fitted but not registered, oldest run first, without fitting again.

    Args:
        config: its experiment and model; only runs of this config are registered.
        home: has the runs.
        run: name of one run; None: all of the config.

    Returns:
        What was registered; empty where nothing waits.

    Raises:
        RegistryError: the store does not answer, or is not the one that has the run.
        ArtifactError: the run does not wait for its registration, its files were changed, or another process trains.
    """
    with lock(home, "training"):
        kept = find_kept(home)
        if run is not None and run not in kept:
            waiting = ", ".join(kept) or "none"
            raise ArtifactError(
                f"run '{run}': has no unfinished registration in {unregistered_folder(home)}; found {waiting}"
            )
        ours = [name for name in kept if open_run(run_folder(home, name)).config.name == config.name]
        wanted = ours if run is None else [run]
        store = connect(home, config) if wanted else None
        return [Registered(name, finish_training(config, home, store, name)) for name in wanted if store is not None]


def finish_training(config: Config, home: Path, store: Store, run: str) -> Version:
    """Log the results of a kept training, register it, end its MLflow run, and delete what was kept.

    Each step looks first for what an earlier attempt has left, so it can be repeated after any failure.

    Raises:
        RegistryError: the store does not answer, or is not the one that has the run; the training stays kept.
        ArtifactError: its files were changed.
    """
    folder = kept_training_folder(home, run)
    verify_folder(folder, _TRAIN_AGAIN)
    record: Mapping[str, Any] = read_json(folder / _RECORD)
    run_id, results = record["run_id"], Results(**record["results"])
    logged = open_run(run_folder(home, run))
    try:
        with log_stage("MLflow") as done, progress_bar("Logging and registering", _PARTS) as progress:
            if not has_run(store, run_id):
                raise RegistryError(
                    f"MLflow store {store.place}: has no run {run_id}, which was started in {record['store']}; set "
                    "MLFLOW_TRACKING_URI to that store"
                )
            log_results(store, run_id, logged.config, results, logged.folder)
            progress(2)
            writer = read_manifest(folder / BUNDLE, _TRAIN_AGAIN).get(WRITTEN_BY)
            facts = {**results.facts, "bundle": record["bundle"], **({WRITTEN_BY: writer} if writer else {})}
            version = register(store, config.model_name, run_id, folder / BUNDLE, folder / EVALUATION_MODEL, facts)
            progress(2)
            experiment = get_or_create_experiment(store)
            describe_on_page(store, version, describe_version(logged, version.number, run_id, experiment))
            finish_run(store, run_id, describe_run(logged, version.number, run_id, experiment))
            done(f"run {run_id}, {version.name} version {version.number} is registered")
    except RegistryError as error:
        raise RegistryError(
            f"{error}; run {run} is trained and kept in {folder}: 'recsys register' registers it without training again"
        ) from error
    shutil.rmtree(folder)
    return version
