"""Registered versions of the bundle, their aliases, and fetching one."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlparse

import mlflow
from mlflow.entities import LoggedModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from recsys.errors import RegistryError
from recsys.registry.client import explain, is_forbidden, time_limits
from recsys.registry.descriptions import describe_model
from recsys.registry.logged_model import BUNDLE, EVALUATION_MODEL, log_model
from recsys.registry.pruned import refuse_pruned
from recsys.registry.tracking import Store, asking
from recsys.storage.shared_files import open_whole

__all__ = [
    "ANCHOR",
    "BUNDLE",
    "CHALLENGER",
    "CHAMPION",
    "COMPLETE",
    "EVALUATION_MODEL",
    "Version",
    "describe_on_page",
    "find_address",
    "find_number",
    "find_version",
    "is_complete",
    "list_versions",
    "mark_version",
    "need_number",
    "need_version",
    "open_bundle",
    "register",
    "remove_alias",
    "set_alias",
    "set_champion",
]

CHAMPION = "champion"
CHALLENGER = "challenger"
ANCHOR = "anchor"
# Tag that is set last: a version without it comes from a training that died before the end.
COMPLETE = "complete"
# Error codes of the registry for an unknown model, and for an unknown alias of a model.
_UNKNOWN = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


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

    `mlflow.pyfunc.load_model("models:/NAME@challenger")` opens it. A repetition, after the reply to a request was lost
    or the server was killed, completes what the first began: a run has one version. The alias stays with a version
    whose training started later.

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
    with asking(store, f"model '{name}' was not registered"):
        model = log_model(store, run_id, bundle, evaluation_model)
        known = store.client.search_registered_models(f"name = '{name}'")
        if not known:
            _create_model(store, name)
        # What a person wrote stays.
        elif not known[0].description:
            store.client.update_registered_model(name, describe_model(name))
        versions = store.client.search_model_versions(f"name = '{name}' and run_id = '{run_id}'")
        created = versions[0] if versions else _create_version(store, name, run_id, model)
        number = str(created.version)
        for key, value in {**facts, COMPLETE: "true"}.items():
            store.client.set_model_version_tag(name, number, key, value)
        if _is_newest(store, name, run_id):
            store.client.set_registered_model_alias(name, CHALLENGER, number)
    return Version(name, number, run_id, {**facts, COMPLETE: "true"})


def describe_on_page(store: Store, version: Version, text: str) -> None:
    """Set the description that MLflow's page of a version shows, in Markdown.

    Raises:
        RegistryError: the registry does not answer.
    """
    with asking(store, f"cannot write the description of version {version.number} of model '{version.name}'"):
        store.client.update_model_version(version.name, version.number, text)


def _create_model(store: Store, name: str) -> None:
    try:
        store.client.create_registered_model(name, description=describe_model(name))
    except MlflowException as error:
        # Another home did it meanwhile.
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _create_version(store: Store, name: str, run_id: str, model: LoggedModel) -> ModelVersion:
    # By its address: MLflow would look a model's id up in the store of its global address.
    return store.client.create_model_version(name, model.artifact_location, run_id, model_id=model.model_id)


def _is_newest(store: Store, name: str, run_id: str) -> bool:
    """Return whether no challenger comes from a training that started later."""
    challenger = find_version(store, name, CHALLENGER)
    if challenger is None or challenger.run_id in ("", run_id):
        return True
    try:
        theirs = store.client.get_run(challenger.run_id).info.start_time
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        return True
    return bool(theirs <= store.client.get_run(run_id).info.start_time)


def find_version(store: Store, name: str, alias: str) -> Version | None:
    """Return the version that an alias names; None where there is none.

    Raises:
        RegistryError: the registry does not answer. Returning None then would promote a challenger without comparing
            it with the champion.
    """
    try:
        version = store.client.get_model_version_by_alias(name, alias)
    except MlflowException as error:
        # A server with authentication forbids what does not exist.
        if error.error_code in _UNKNOWN or (is_forbidden(error) and not _can_see(store, name)):
            return None
        reason = explain(store.address, error)
        raise RegistryError(f"model '{name}' in {store.place}: no answer ({reason}); run again") from error
    return Version(name, str(version.version), version.run_id or "", dict(version.tags))


def _can_see(store: Store, name: str) -> bool:
    with asking(store, f"cannot look up model '{name}'"):
        return bool(store.client.search_registered_models(f"name = '{name}'"))


def need_version(store: Store, name: str, alias: str, next_step: str) -> Version:
    """Return the version that an alias names.

    Raises:
        RegistryError: there is none, its training died before it was registered completely, or its files were pruned.
    """
    version = find_version(store, name, alias)
    if version is None:
        raise RegistryError(f"model '{name}' in {store.place}: no version has the alias '{alias}'; {next_step}")
    if not is_complete(version):
        raise RegistryError(
            f"model '{name}' in {store.place}: version {version.number} ({alias}) is not complete; {next_step}"
        )
    refuse_pruned(store, name, version.number, version.tags)
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
        raise RegistryError(
            f"model '{name}' in {store.place}: no answer ({explain(store.address, error)}); run again"
        ) from error
    return Version(name, str(version.version), version.run_id or "", dict(version.tags))


def need_number(store: Store, name: str, number: str, next_step: str) -> Version:
    """Return a version by its number.

    Raises:
        RegistryError: there is none, its training died before it was registered completely, or its files were pruned.
    """
    version = find_number(store, name, number)
    if version is None or not is_complete(version):
        why = "does not exist" if version is None else "is not complete"
        raise RegistryError(f"model '{name}' in {store.place}: version {number} {why}; {next_step}")
    refuse_pruned(store, name, number, version.tags)
    return version


def list_versions(store: Store, name: str) -> tuple[list[tuple[Version, datetime]], dict[str, list[str]]]:
    """Return every version of a model with the time of its registration, and the aliases of each number.

    Raises:
        RegistryError: the registry does not answer.
    """
    with asking(store, f"cannot list versions of model '{name}'"):
        found = store.client.search_model_versions(f"name = '{name}'")
        aliases = dict(store.client.get_registered_model(name).aliases) if found else {}
    numbered: dict[str, list[str]] = {}
    for alias, number in sorted(aliases.items()):
        numbered.setdefault(str(number), []).append(alias)
    versions = [
        (
            Version(name, str(each.version), each.run_id or "", dict(each.tags)),
            datetime.fromtimestamp(each.creation_timestamp / 1000, UTC),
        )
        for each in found
    ]
    return versions, numbered


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
            what = f"version {number} no longer exists ({explain(store.address, error)})"
        else:
            what = f"alias '{alias}' cannot be set ({explain(store.address, error)}); run again"
        raise RegistryError(f"model '{name}' in {store.place}: {what}") from error


def remove_alias(store: Store, name: str, alias: str, number: str) -> None:
    """Remove an alias if it names this version.

    Raises:
        RegistryError: the registry does not answer.
    """
    named = find_version(store, name, alias)
    if named is None or named.number != number:
        return
    with asking(store, f"alias '{alias}' of model '{name}' was not removed"):
        store.client.delete_registered_model_alias(name, alias)


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
                f"model '{name}' in {store.place}: version {number} cannot be tagged "
                f"({explain(store.address, error)}); run again"
            ) from error


def find_address(store: Store, version: Version) -> str:
    """Return the address of a version's files; MLflow would look `models:/…` up in the store of its global address.

    Raises:
        MlflowException: the registry does not answer.
    """
    address: str = store.client.get_model_version_download_uri(version.name, version.number)
    if address.startswith("models:/"):
        # Registered by an older version of recsys.
        address = store.client.get_logged_model(address.rpartition("/")[2]).artifact_location
    return address


@contextmanager
def open_bundle(store: Store, version: Version, part: str) -> Iterator[Path]:
    """Give the local folder of a version's `BUNDLE` or `EVALUATION_MODEL`; a download is deleted when the block ends.

    Raises:
        RegistryError: it cannot be fetched, it was pruned, or the version was registered by an older version of recsys.
    """
    name, number = version.name, version.number
    refuse_pruned(store, name, number, version.tags)
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        try:
            place = find_address(store, version)
            # Files of this machine are read in place.
            local = urlparse(place).scheme in ("", "file")
            with time_limits():
                root = mlflow.artifacts.download_artifacts(
                    artifact_uri=place,
                    dst_path=None if local else scratch,
                    tracking_uri=store.uri,
                    registry_uri=store.uri,
                )
        except (MlflowException, OSError) as error:
            reason = explain(store.address, error)
            raise RegistryError(
                f"model '{name}' version {number}: cannot be fetched ({reason}); train again"
            ) from error
        folder = Path(root) / "artifacts" / part
        if not folder.is_dir():
            raise RegistryError(
                f"model '{name}': version {number} was registered by an older version of recsys and has no {part}; "
                "train again"
            )
        with open_whole(folder, folder.with_name(BUNDLE)) as whole:
            yield whole
