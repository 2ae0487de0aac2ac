"""Which versions of a model need their files, and deleting the files of the others.

The aliases and the promotion log decide, so every home on a server comes to the same answer. A version is tagged before
its files are deleted; its entry, and its run with the metrics, stay.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from urllib.parse import urlparse

from mlflow.entities import FileInfo
from mlflow.entities.model_registry import ModelVersion
from mlflow.store.artifact.artifact_repo import ArtifactRepository
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
from mlflow.utils.file_utils import local_file_uri_to_path

from recsys.config import RetentionConfig
from recsys.registry.client import explain, time_limits
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.promotion_log.chain import changes_champion, find_previous_champion
from recsys.registry.pruned import PRUNED, UNFINISHED
from recsys.registry.tracking import RUN_FOLDER, Store, asking
from recsys.registry.versions import BUNDLE, CHAMPION, COMPLETE, EVALUATION_MODEL, Version, find_address
from recsys.storage.folders import MANIFEST

_DAY = 86_400_000
# Files of a version below its address: what weighs, and what recsys alone writes. The description of the model stays.
_PARTS = (f"artifacts/{EVALUATION_MODEL}", f"artifacts/{BUNDLE}", "code/recsys")


class Need(Enum):
    """What a version is needed for, the most important first."""

    CHAMPION = "serves, or should serve"
    CANARY = "serves some users"
    ANCHOR = "is the anchor of promotions"
    SERVED_BEFORE = "served before, so a promotion can be undone"
    FORMER_CHAMPION = "can be rolled back to"
    ALIAS = "has an alias"
    NEWEST = "is among the newest versions"
    REGISTERING = "is being registered"

    @property
    def serves(self) -> bool:
        """Whether a night reads the version."""
        return self in (Need.CHAMPION, Need.CANARY)

    @property
    def in_use(self) -> bool:
        """Whether nights, rollbacks or comparisons read the version, or somebody gave it a name."""
        return self not in (Need.NEWEST, Need.REGISTERING)


@dataclass(frozen=True)
class Keeping:
    """What is needed of a model.

    Attributes:
        versions: all versions, oldest first.
        created: number -> when it was registered, in milliseconds since 1970.
        reasons: number -> why its files are kept, as a phrase.
        needs: number -> the most important reason.
    """

    versions: tuple[Version, ...]
    created: Mapping[str, int]
    reasons: Mapping[str, str]
    needs: Mapping[str, Need]

    @property
    def kept(self) -> list[Version]:
        """The versions whose files are kept, oldest first."""
        return [version for version in self.versions if version.number in self.reasons]

    @property
    def outdated(self) -> list[Version]:
        """The versions whose files are not needed and not yet deleted, oldest first."""
        return [version for version in self.versions if version.number not in self.reasons and _has_files(version)]


@dataclass(frozen=True)
class VersionFiles:
    """The files of a version that may be deleted.

    Attributes:
        version: whose.
        parts: (address of a folder, path below it) of each.
        size: of all, in bytes.
        paths: of all, where they are on this machine; otherwise empty.
        shared: what else has the same files, so that nothing may be deleted; empty: nothing.
    """

    version: Version
    parts: tuple[tuple[str, str], ...] = ()
    size: int = 0
    paths: tuple[Path, ...] = ()
    shared: str = ""


def decide_kept(
    store: Store, log: PromotionLog, settings: RetentionConfig, waiting: Collection[str], now: float
) -> Keeping:
    """Return which versions of a model need their files.

    They are: every version with an alias; by the log, what serves or ought to, the anchor, the canary, what was rolled
    back last, and some former champions; the newest versions; and versions that are being registered.

    Args:
        store: from `connect`.
        log: of the model, just read.
        settings: how many former champions and new versions are kept.
        waiting: ids of MLflow runs that wait for their registration.
        now: seconds since 1970.

    Raises:
        RegistryError: the registry does not answer.
    """
    name = log.model
    with asking(store, f"cannot list versions of model '{name}'"):
        found = store.client.search_model_versions(f"name = '{name}'")
        aliases = dict(store.client.get_registered_model(name).aliases) if found else {}
    found = sorted(found, key=lambda version: int(version.version))
    newest = f"one of the newest {settings.versions}"
    reasons: dict[str, str] = {}
    needs: dict[str, Need] = {}
    for number, need, reason in (
        *(
            (str(number), Need.CHAMPION if alias == CHAMPION else Need.ALIAS, f"alias '{alias}'")
            for alias, number in aliases.items()
        ),
        *_list_logged(log, settings.former_champions),
        *((str(version.version), Need.NEWEST, newest) for version in found[-settings.versions :]),
        *_list_unfinished(found, waiting, settings.unregistered_days, now),
    ):
        reasons.setdefault(number, reason)
        needs[number] = min(needs.get(number, need), need, key=list(Need).index)
    versions = tuple(Version(name, str(each.version), each.run_id or "", dict(each.tags)) for each in found)
    created = {str(each.version): int(each.creation_timestamp) for each in found}
    return Keeping(versions, created, reasons, needs)


def _list_logged(log: PromotionLog, former: int) -> Iterator[tuple[str, Need, str]]:
    """Yield the numbers that the promotion log needs, each with the reason."""
    head, champion = log.head, log.champion
    for number, need, reason in (
        (champion, Need.CHAMPION, "champion"),
        (head.to_version if head else None, Need.CHAMPION, "champion"),
        (log.anchor, Need.ANCHOR, "anchor"),
        (log.canary.version if log.canary else None, Need.CANARY, "canary"),
        # A promotion that is not finished may still be taken back, and a rollback too.
        (head.from_version if head else None, Need.SERVED_BEFORE, "served before"),
    ):
        if number is not None:
            yield number, need, reason
    chain: list[str] = []
    current = champion
    while current is not None and len(chain) < former:
        current = find_previous_champion(log.entries, current)
        if current is None or current in chain or current == champion:
            break
        chain.append(current)
    served = dict.fromkeys(
        entry.to_version for entry in reversed(log.entries) if changes_champion(entry) and entry.to_version
    )
    served.pop(champion or "", None)
    for number in (*chain, *list(served)[:former]):
        yield number, Need.FORMER_CHAMPION, "former champion"


def _list_unfinished(
    versions: Sequence[ModelVersion], waiting: Collection[str], days: float, now: float
) -> Iterator[tuple[str, Need, str]]:
    for version in versions:
        young = now * 1000 - version.creation_timestamp < days * _DAY
        if version.run_id in waiting or (young and version.tags.get(COMPLETE) != "true"):
            yield str(version.version), Need.REGISTERING, "is being registered"


def _has_files(version: Version) -> bool:
    tag = version.tags.get(PRUNED)
    return tag is None or tag.endswith(UNFINISHED)


def find_files(store: Store, keeping: Keeping, version: Version) -> VersionFiles:
    """Return the files of an outdated version that may be deleted: those that recsys wrote, and that it alone has.

    Raises:
        RegistryError: the store does not answer.
    """
    with asking(store, f"cannot list the files of version {version.number} of '{version.name}'"):
        address = find_address(store, version)
        run = store.client.get_run(version.run_id).info if version.run_id else None
        others = _find_others(store, keeping, version)
        shared = next((label for label, other in others if find_address(store, other) == address), "")
        if shared:
            return VersionFiles(version, shared=shared)
        wanted = [(address, part) for part in _PARTS]
        if run is not None and not others:
            report = f"{version.tags['run']}.html" if "run" in version.tags else None
            wanted += [(str(run.artifact_uri), part) for part in (RUN_FOLDER, report) if part]
        # Where the deletion was interrupted, the manifest may be gone before the rest.
        begun = PRUNED in version.tags
        sizes = {(place, part): _measure(_open(store, place), part, begun=begun) for place, part in wanted}
    parts = tuple(key for key, size in sizes.items() if size is not None)
    local = all(urlparse(place).scheme in ("", "file") for place, _ in parts)
    paths = tuple(Path(local_file_uri_to_path(place), part) for place, part in parts) if local else ()
    return VersionFiles(version, parts, sum(size or 0 for size in sizes.values()), paths)


def _find_others(store: Store, keeping: Keeping, version: Version) -> list[tuple[str, Version]]:
    """Return other versions of the same run that have their files, of any model, each with a name for messages."""
    if not version.run_id:
        return []
    found = store.client.search_model_versions(f"run_id = '{version.run_id}'")
    others = [Version(each.name, str(each.version), each.run_id or "", dict(each.tags)) for each in found]
    gone = {outdated.number for outdated in keeping.outdated}
    return [
        (f"version {other.number} of '{other.name}'", other)
        for other in others
        if (other.name, other.number) != (version.name, version.number)
        and _has_files(other)
        and not (other.name == version.name and other.number in gone)
    ]


def mark_pruned(store: Store, version: Version, date: str, *, finished: bool) -> None:
    """Tag a version as pruned.

    Raises:
        RegistryError: the registry does not answer.
    """
    with asking(store, f"version {version.number} of '{version.name}' could not be tagged"):
        value = date if finished else date + UNFINISHED
        store.client.set_model_version_tag(version.name, version.number, PRUNED, value)


def unmark_pruned(store: Store, version: Version) -> None:
    """Remove the tag of a version that was not pruned after all.

    Raises:
        RegistryError: the registry does not answer.
    """
    with asking(store, f"version {version.number} of '{version.name}' could not be tagged"):
        store.client.delete_model_version_tag(version.name, version.number, PRUNED)


def delete_files(store: Store, files: VersionFiles) -> str | None:
    """Delete the files of a version; return why they could not be deleted, None where they were."""
    try:
        with time_limits():
            for place, part in files.parts:
                _open(store, place).delete_artifacts(part)
    # An artifact store raises what its driver raises.
    except Exception as error:
        return explain(store.address, error)
    return None


def has_all(store: Store, files: VersionFiles) -> bool:
    """Return whether none of the files was deleted; False where that cannot be found out."""
    try:
        with time_limits():
            sizes = [_measure(_open(store, place), part, begun=True) for place, part in files.parts]
    except Exception:
        return False
    return None not in sizes and sum(size or 0 for size in sizes) == files.size


def _open(store: Store, place: str) -> ArtifactRepository:
    return get_artifact_repository(place, tracking_uri=store.uri)


def _measure(repository: ArtifactRepository, part: str, *, begun: bool) -> int | None:
    """Return the size of a file or folder that recsys wrote; None where there is none.

    Args:
        repository: that has it.
        part: its path.
        begun: its deletion has begun.
    """
    folder, _, name = part.rpartition("/")
    entry = next((each for each in repository.list_artifacts(folder or None) if each.path == part), None)
    if entry is None or not entry.is_dir:
        return None if entry is None else int(entry.file_size or 0)
    inside = repository.list_artifacts(part)
    ours = begun or name == "recsys" or any(each.path == f"{part}/{MANIFEST}" for each in inside)
    return _sum(repository, inside) if ours else None


def _sum(repository: ArtifactRepository, entries: Sequence[FileInfo]) -> int:
    return sum(
        _sum(repository, repository.list_artifacts(entry.path)) if entry.is_dir else int(entry.file_size or 0)
        for entry in entries
    )
