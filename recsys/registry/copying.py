"""A registered version with its run, fetched from one store and registered in another."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import mlflow
from mlflow.entities import Metric, Param, RunTag
from mlflow.exceptions import MlflowException

from recsys.artifacts.runs import open_run
from recsys.errors import ArtifactError, RegistryError
from recsys.registry.client import explain, time_limits
from recsys.registry.descriptions import describe_experiment, describe_model, describe_run, describe_version
from recsys.registry.pruned import PRUNED, refuse_pruned
from recsys.registry.tracking import NOTE, RUN_FOLDER, Store, asking, get_or_create_experiment
from recsys.registry.versions import (
    BUNDLE,
    CHALLENGER,
    COMPLETE,
    EVALUATION_MODEL,
    Version,
    describe_on_page,
    find_address,
    is_complete,
    open_bundle,
    set_alias,
)
from recsys.storage.folders import verify_folder
from recsys.storage.shared_files import open_whole

logger = logging.getLogger(__name__)

# Tags of a copy.
ORIGIN = "origin"
ORIGIN_VERSION = "origin_version"
_MODEL_FOLDER = "bundle"
_TAMPERED = (
    "the version was tampered with and is not copied; train and promote another version, or restore its artifacts"
)
_BATCH = 100
T = TypeVar("T")


@dataclass(frozen=True)
class FetchedVersion:
    """A version with everything that is copied, on this machine.

    Attributes:
        version: as in its store.
        place: address of that store, without password.
        model: folder of the MLflow model with both bundles.
        files: folder of the run's files.
        run_name: of the run.
        params, metrics, tags: of the run, without those that MLflow sets.
        bundle: SHA-256 of the hashes of the bundle's files.
    """

    version: Version
    place: str
    model: Path
    files: Path
    run_name: str
    params: Mapping[str, str]
    metrics: tuple[Metric, ...]
    tags: Mapping[str, str]
    bundle: str


@contextmanager
def fetch_version(store: Store, version: Version) -> Iterator[FetchedVersion]:
    """Fetch a version and its run, and check the hashes of both bundles; everything is deleted when the block ends.

    Raises:
        RegistryError: the version or its run cannot be fetched, or its files were pruned.
        ArtifactError: a bundle differs from its hashes.
    """
    refuse_pruned(store, version.name, version.number, version.tags)
    with TemporaryDirectory(prefix="recsys-copy-") as scratch:
        try:
            Path(scratch, "model").mkdir()
            with time_limits():
                model = Path(
                    mlflow.artifacts.download_artifacts(
                        artifact_uri=find_address(store, version),
                        dst_path=str(Path(scratch, "model")),
                        tracking_uri=store.uri,
                        registry_uri=store.uri,
                    )
                )
            run = store.client.get_run(version.run_id)
            Path(scratch, "files").mkdir()
            files = store.client.download_artifacts(version.run_id, "", str(Path(scratch, "files")))
            metrics = [
                point for name in run.data.metrics for point in store.client.get_metric_history(version.run_id, name)
            ]
        except (MlflowException, OSError) as error:
            raise RegistryError(
                f"model '{version.name}' version {version.number} in {store.place}: cannot be fetched "
                f"({explain(store.address, error)}); it is not copied"
            ) from error
        bundle = verify_bundles(model / "artifacts", version)
        yield FetchedVersion(
            version,
            store.place,
            model,
            Path(files),
            run.info.run_name or version.name,
            dict(run.data.params),
            tuple(metrics),
            {key: value for key, value in run.data.tags.items() if not key.startswith("mlflow.")},
            bundle,
        )


def verify_bundles(folder: Path, version: Version) -> str:
    """Check both bundles of a version against their hashes, and return the hash of those of the one that serves.

    Args:
        folder: that holds both bundles.
        version: its tag `bundle` has the first digits of the hash.

    Raises:
        ArtifactError: a file is missing, was changed or was added, or the hash is not that of the tag.
    """
    for part in (BUNDLE, EVALUATION_MODEL):
        if not (folder / part).is_dir():
            raise ArtifactError(
                f"model '{version.name}' version {version.number}: no {part}: it was registered by an older version "
                f"of recsys; mlflow.pyfunc.load_model('models:/{version.name}/{version.number}') reads it, with the "
                "code that was "
                "logged with it; it is not copied: train again"
            )
    manifest = verify_folder(folder / BUNDLE, _TAMPERED)
    with open_whole(folder / EVALUATION_MODEL, folder / BUNDLE) as whole:
        verify_folder(whole, _TAMPERED)
    digest = hashlib.sha256(json.dumps(manifest["files"], sort_keys=True).encode()).hexdigest()
    tag = version.tags.get("bundle", "")
    if not digest.startswith(tag):
        raise ArtifactError(
            f"model '{version.name}' version {version.number}: its bundle has hash {digest[:12]}, but {tag} was "
            f"registered; {_TAMPERED}"
        )
    return digest


def find_copy(store: Store, name: str, fetched: FetchedVersion) -> Version | None:
    """Return the complete copy of a version that the store has already; None where it has none.

    Raises:
        RegistryError: the registry does not answer.
    """
    with asking(store, f"cannot list copies of model '{name}'"):
        if not store.client.search_registered_models(f"name = '{name}'"):
            return None
        versions = store.client.search_model_versions(f"name = '{name}'")
    for found in versions:
        version = Version(name, str(found.version), found.run_id or "", dict(found.tags))
        whole = is_complete(version) and PRUNED not in version.tags
        if whole and version.tags.get(ORIGIN) == describe_origin(fetched):
            return version
    return None


def describe_origin(fetched: FetchedVersion) -> str:
    """Return the text that identifies what was copied: store, model, version and the hash of its bundle."""
    version = fetched.version
    return f"{fetched.place} {version.name} version {version.number} bundle {fetched.bundle}"


def register_copy(store: Store, name: str, fetched: FetchedVersion) -> Version:
    """Register a fetched version in another store, and give it the alias `challenger`.

    The files are read back and checked before the version is marked complete. A copy that dies in between leaves an
    incomplete version that nothing uses; the next one makes another.

    Args:
        store: the other store, which was connected to last.
        name: of the registered model there.
        fetched: what is copied.

    Raises:
        RegistryError: it cannot be registered.
        ArtifactError: what arrived differs.
    """
    client, source = store.client, fetched.version
    with asking(store, f"the copy of model '{name}' was not registered"):
        run_id = _copy_run(store, fetched)
        client.log_artifacts(run_id, str(fetched.model), _MODEL_FOLDER)
        if not client.search_registered_models(f"name = '{name}'"):
            client.create_registered_model(name, description=describe_model(name))
        location = f"{client.get_run(run_id).info.artifact_uri}/{_MODEL_FOLDER}"
        number = str(client.create_model_version(name, location, run_id).version)
        origin = {ORIGIN: describe_origin(fetched), ORIGIN_VERSION: source.number}
        tags = {key: value for key, value in source.tags.items() if key != COMPLETE} | origin
        for key, value in tags.items():
            client.set_model_version_tag(name, number, key, value)
    version = Version(name, number, run_id, {**tags, COMPLETE: "true"})
    with open_bundle(store, version, BUNDLE) as folder:
        arrived = verify_bundles(folder.parent, version)
    if arrived != fetched.bundle:
        raise ArtifactError(f"model '{name}' version {number} in {store.place}: {_TAMPERED}")
    with asking(store, f"the copy of model '{name}' was not registered"):
        client.set_model_version_tag(name, number, COMPLETE, "true")
        _describe(store, version, fetched)
    set_alias(store, name, CHALLENGER, number)
    return version


def _describe(store: Store, version: Version, fetched: FetchedVersion) -> None:
    """Describe the copy and its run; their links lead to pages of this store."""
    try:
        run = open_run(fetched.files / RUN_FOLDER)
    except ArtifactError as error:
        logger.debug("cannot write the description of the copy of version %s: %s", fetched.version.number, error)
        return
    experiment = str(store.client.get_run(version.run_id).info.experiment_id)
    store.client.set_tag(version.run_id, NOTE, describe_run(run, version.number, version.run_id, experiment))
    describe_on_page(store, version, describe_version(run, version.number, version.run_id, experiment))


def _copy_run(store: Store, fetched: FetchedVersion) -> str:
    """Copy parameters, metrics with their steps, tags and files of the run; return the id of the new run."""
    client = store.client
    experiment_id = get_or_create_experiment(store, describe_experiment(store.experiment))
    tags = {**fetched.tags, ORIGIN: describe_origin(fetched)}
    run_id = str(client.create_run(experiment_id, run_name=fetched.run_name, start_time=_now()).info.run_id)
    for part in _split(tags.items()):
        client.log_batch(run_id, tags=[RunTag(key, value) for key, value in part])
    for part in _split(fetched.params.items()):
        client.log_batch(run_id, params=[Param(key, value) for key, value in part])
    for points in _split(fetched.metrics):
        client.log_batch(run_id, metrics=[Metric(p.key, p.value, p.timestamp, p.step) for p in points])
    client.log_artifacts(run_id, str(fetched.files))
    client.set_terminated(run_id)
    return run_id


def _split(values: Iterable[T]) -> list[list[T]]:
    """Return the values in lists that are short enough for one request."""
    rest = list(values)
    return [rest[start : start + _BATCH] for start in range(0, len(rest), _BATCH)]


def _now() -> int:
    return time.time_ns() // 1_000_000
