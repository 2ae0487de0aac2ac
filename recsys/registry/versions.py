"""Registered versions of the bundle, their aliases, and fetching one."""

from __future__ import annotations

import re
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from urllib.parse import urlparse

import mlflow
from mlflow.exceptions import MlflowException
from mlflow.models import ModelSignature
from mlflow.types.schema import ColSpec, DataType, Schema

from recsys.errors import RegistryError
from recsys.registry.tracking import Store

CHAMPION = "champion"
CHALLENGER = "challenger"
ANCHOR = "anchor"
# The two bundles of a version: what serves, and the evaluation model, which has not seen the test window.
BUNDLE = "bundle"
EVALUATION_MODEL = "evaluation_model"
# Tag that is set last: a version without it comes from a training that died before the end.
COMPLETE = "complete"
# Error codes of the registry for an unknown model, and for an unknown alias of a model.
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")

_SIGNATURE = ModelSignature(
    inputs=Schema(
        [
            ColSpec(DataType.string, "user_id"),
            ColSpec(DataType.string, "item_id"),
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


@dataclass(frozen=True)
class Version:
    """One registered version.

    Attributes:
        name: of the registered model.
        number: of the version, as text.
        run_id: the MLflow run that made it.
        tags: facts set at registration, such as `cutoff`, `test_start`, `snapshot`.
    """

    name: str
    number: str
    run_id: str
    tags: dict[str, str]


def register(
    store: Store, name: str, run_id: str, bundle: Path, evaluation_model: Path, facts: Mapping[str, str]
) -> Version:
    """Log two bundles as a model of the run, register it, and give it the alias `challenger`.

    The model is code, not a pickle: `mlflow.pyfunc.load_model("models:/NAME@challenger")` opens it.

    Args:
        store: from `connect`.
        name: of the registered model.
        run_id: of the MLflow run that made it.
        bundle: folder named `BUNDLE`: what serves.
        evaluation_model: folder named `EVALUATION_MODEL`: what was measured.
        facts: tags of the version.

    Raises:
        RegistryError: it cannot be registered.
    """
    code = Path(__file__).with_name("served_model.py")
    try:
        with mlflow.start_run(run_id=run_id), warnings.catch_warnings():
            # The signature is declared, so MLflow needs no example to infer it.
            warnings.filterwarnings("ignore", message=".*An input example was not provided.*")
            info = mlflow.pyfunc.log_model(
                name="bundle",
                python_model=str(code),
                artifacts={BUNDLE: str(bundle), EVALUATION_MODEL: str(evaluation_model)},
                signature=_SIGNATURE,
                pip_requirements=_pin_requirements(),
                # The package itself is logged too: no package index has it under this name.
                code_paths=[str(code.parents[1])],
            )
        if not store.client.search_registered_models(f"name = '{name}'"):
            store.client.create_registered_model(name)
        created = store.client.create_model_version(name, info.model_uri, run_id, model_id=info.model_id)
        number = str(created.version)
        for key, value in {**facts, COMPLETE: "true"}.items():
            store.client.set_model_version_tag(name, number, key, value)
        if differences := facts.get("refit_differences"):
            note = f"The refit differs from the evaluation model that was measured: {differences}."
            store.client.update_model_version(name, number, note)
        store.client.set_registered_model_alias(name, CHALLENGER, number)
    except (MlflowException, OSError) as error:
        raise RegistryError(f"model '{name}' in {store.place}: not registered ({error}); train again") from error
    return Version(name, number, run_id, {**facts, COMPLETE: "true"})


def _pin_requirements() -> list[str]:
    """Return the package's requirements, each pinned to the version that is installed here."""
    requirements = [line for line in metadata.requires("recsys") or [] if "extra ==" not in line]
    names = [re.split(r"[^A-Za-z0-9._-]", line, maxsplit=1)[0] for line in requirements]
    return [f"{name}=={metadata.version(name).partition('+')[0]}" for name in names]


def find_version(store: Store, name: str, alias: str) -> Version | None:
    """Return the version that an alias names; None where there is none.

    Raises:
        RegistryError: the registry does not answer. Returning None then would promote a challenger without comparing
            it with the champion.
    """
    try:
        version = store.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        if error.error_code in _UNKNOWN:
            return None
        raise RegistryError(f"model '{name}' in {store.place}: no answer ({error.message}); run again") from error
    return Version(name, str(version.version), version.run_id or "", dict(version.tags))


def need_version(store: Store, name: str, alias: str, next_step: str) -> Version:
    """Return the version that an alias names.

    Raises:
        RegistryError: there is none, or its training died before it was registered completely.
    """
    version = find_version(store, name, alias)
    if version is None:
        raise RegistryError(f"model '{name}' in {store.place}: no version has the alias '{alias}'; {next_step}")
    if not is_complete(version):
        raise RegistryError(
            f"model '{name}' in {store.place}: version {version.number} ({alias}) is not complete; {next_step}"
        )
    return version


def find_number(store: Store, name: str, number: str) -> Version | None:
    """Return a version by its number; None where there is none.

    Raises:
        RegistryError: the registry does not answer.
    """
    try:
        version = store.client.get_model_version(name, number)
    except MlflowException as error:
        if error.error_code in _UNKNOWN:
            return None
        raise RegistryError(f"model '{name}' in {store.place}: no answer ({error.message}); run again") from error
    return Version(name, str(version.version), version.run_id or "", dict(version.tags))


def need_number(store: Store, name: str, number: str, next_step: str) -> Version:
    """Return a version by its number.

    Raises:
        RegistryError: there is none, or its training died before it was registered completely.
    """
    version = find_number(store, name, number)
    if version is None or not is_complete(version):
        why = "does not exist" if version is None else "is not complete"
        raise RegistryError(f"model '{name}' in {store.place}: version {number} {why}; {next_step}")
    return version


def is_complete(version: Version) -> bool:
    """Return whether the training of a version registered it to the end."""
    return version.tags.get(COMPLETE) == "true"


def set_champion(store: Store, name: str, number: str) -> None:
    """Point the alias `champion` at a version.

    Raises:
        RegistryError: the version was deleted.
    """
    set_alias(store, name, CHAMPION, number)


def set_alias(store: Store, name: str, alias: str, number: str) -> None:
    """Point an alias at a version.

    Raises:
        RegistryError: the version was deleted, or the registry does not answer.
    """
    try:
        store.client.set_registered_model_alias(name, alias, number)
    except MlflowException as error:
        if error.error_code in _UNKNOWN:
            what = f"version {number} does not exist any more ({error.message})"
        else:
            what = f"alias '{alias}' cannot be set ({error.message}); run again"
        raise RegistryError(f"model '{name}' in {store.place}: {what}") from error


def remove_alias(store: Store, name: str, alias: str, number: str) -> None:
    """Remove an alias if it names this version.

    Raises:
        RegistryError: the registry does not answer.
    """
    named = find_version(store, name, alias)
    if named is None or named.number != number:
        return
    try:
        store.client.delete_registered_model_alias(name, alias)
    except MlflowException as error:
        raise RegistryError(
            f"model '{name}' in {store.place}: alias '{alias}' cannot be removed ({error.message}); run again"
        ) from error


def mark_version(store: Store, name: str, number: str, key: str, value: str) -> None:
    """Set a tag of a version; one that was deleted is left alone.

    Raises:
        RegistryError: the registry does not answer.
    """
    try:
        store.client.set_model_version_tag(name, number, key, value)
    except MlflowException as error:
        if error.error_code not in _UNKNOWN:
            raise RegistryError(
                f"model '{name}' in {store.place}: version {number} cannot be tagged ({error.message}); run again"
            ) from error


@contextmanager
def open_bundle(store: Store, version: Version, part: str) -> Iterator[Path]:
    """Give the local folder of a version's `BUNDLE` or `EVALUATION_MODEL`; a download is deleted when the block ends.

    Raises:
        RegistryError: it cannot be fetched, or the version was registered by an older recsys.
    """
    name, number = version.name, version.number
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        try:
            # Files of this machine are read in place.
            local = urlparse(store.client.get_model_version_download_uri(name, number)).scheme in ("", "file")
            root = mlflow.artifacts.download_artifacts(
                artifact_uri=f"models:/{name}/{number}",
                dst_path=None if local else scratch,
                tracking_uri=store.uri,
            )
        except (MlflowException, OSError) as error:
            raise RegistryError(f"model '{name}' version {number}: cannot be fetched ({error}); train again") from error
        folder = Path(root) / "artifacts" / part
        if not folder.is_dir():
            raise RegistryError(
                f"model '{name}': version {number} was registered by an older recsys and has no {part}; train again"
            )
        yield folder
