"""What a home holds that is no longer needed: found by rule, not deleted here.

Only what recsys wrote counts: a folder with a manifest of the expected kind and without foreign files, or a file with
the name of a run. Symbolic links are left alone.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from recsys.artifacts.recommendations import find_published, read_pointer
from recsys.errors import ArtifactError
from recsys.progress import format_count
from recsys.storage.files import read_name
from recsys.storage.folders import MANIFEST, read_manifest
from recsys.storage.home import (
    all_replaced_folders,
    all_shards_folders,
    fine_tuning_folder,
    list_folder,
    reports_folder,
    runs_folder,
    snapshots_folder,
    tuning_folder,
    unregistered_folder,
)
from recsys.storage.removal import find_foreign, find_last_change

_DAY = 86_400.0
_SNAPSHOT = re.compile(r"[0-9a-f]{12}")
_CURRENT = ".current"


@dataclass(frozen=True)
class Outdated:
    """A file or folder of a home that may be deleted.

    Attributes:
        kind: such as `snapshot`.
        path: of it.
        why: it may be deleted.
    """

    kind: str
    path: Path
    why: str


@dataclass
class Findings:
    """What may be deleted, and what was left alone although it is old.

    Attributes:
        outdated: in the order in which it is deleted.
        left: sentences: what was left alone, and why.
    """

    outdated: list[Outdated] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def add(self, kind: str, path: Path, why: str) -> None:
        """Add a folder that recsys wrote, unless it holds other files."""
        if foreign := find_foreign(path):
            more = f" and {len(foreign) - 1:,} more" if len(foreign) > 1 else ""
            self.left.append(f"{path}: kept because it holds {foreign[0]}{more}, not written by recsys")
            return
        self.outdated.append(Outdated(kind, path, why))


def list_configs(home: Path) -> list[str]:
    """Return the names of the configs that have ingested or trained in a home."""
    return sorted({path.stem for folder in (snapshots_folder(home), runs_folder(home)) for path in _pointers(folder)})


def find_outdated_runs(home: Path, name: str, needed: Collection[str], newest: int) -> Findings:
    """Return runs of a config that are neither the current one nor needed nor among the newest, and their reports.

    Args:
        home: the home.
        name: of the config; runs of other configs are left alone.
        needed: names of runs that something else needs.
        newest: how many of the newest stay.
    """
    findings, pattern = Findings(), name_pattern(name)
    runs = [path for path in _find_ours(runs_folder(home), "run", findings) if pattern.fullmatch(path.name)]
    kept = {path.name for path in _newest(runs, newest)} | _read_pointers(runs_folder(home)) | set(needed)
    for path in runs:
        if path.name not in kept:
            findings.add("run", path, f"not current, not needed, not among the newest {newest}")
    gone = {outdated.path.name for outdated in findings.outdated}
    staying = {path.name for path in runs} - gone | kept
    for path in _entries(reports_folder(home)):
        if path.suffix == ".html" and path.is_file() and pattern.fullmatch(path.stem) and path.stem not in staying:
            findings.outdated.append(Outdated("report", path, "its run is deleted"))
    return findings


def name_pattern(config: str) -> re.Pattern[str]:
    """Return the pattern of the names of a config's runs."""
    return re.compile(rf"{re.escape(config)}-(\d{{4}}-\d\d-\d\d|all)-[0-9a-f]{{8}}")


def find_outdated_snapshots(
    home: Path, needed: Collection[str], gone: Collection[str], newest: int, nights: int
) -> Findings:
    """Return snapshots that nothing needs and that are not among the newest.

    A snapshot is needed by the config whose current one it is, by a run, by a training that waits for its registration,
    and by the newest published nights.

    Args:
        home: the home.
        needed: ids that something else needs.
        gone: names of runs that need theirs no more, for they are about to be deleted.
        newest: how many of the newest stay.
        nights: how many published nights need theirs.

    Raises:
        ArtifactError: the pointer that readers follow cannot be read.
    """
    findings = Findings()
    snapshots = [path for path in _find_ours(snapshots_folder(home), "snapshot", findings) if _is_snapshot(path)]
    kept = {path.name for path in _newest(snapshots, newest)} | _read_pointers(snapshots_folder(home)) | set(needed)
    staying = [path for path in _entries(runs_folder(home)) if path.name not in gone]
    kept |= {fact for path in staying if (fact := _read_fact(path, "snapshot"))}
    for training in (path for path in _entries(unregistered_folder(home)) if path.name not in gone):
        kept |= {fact for part in _entries(training) if (fact := _read_fact(part, "snapshot"))}
    shown = {*find_published(home)[-nights:], read_pointer(home)} - {None}
    kept |= {fact for night in shown if night and (fact := _read_fact(list_folder(home, night), "snapshot"))}
    for path in snapshots:
        if path.name not in kept:
            findings.add("snapshot", path, f"not current, not needed, not among the newest {newest}")
    return findings


def find_outdated_trainings(home: Path, name: str, now: float, unregistered_days: float, days: float) -> Findings:
    """Return trainings of a config that nobody registered, and fine-tuning checkpoints that nobody continued.

    Args:
        home: the home.
        name: of the config.
        now: seconds since 1970.
        unregistered_days: age from which a training may go.
        days: age from which a checkpoint may go.
    """
    findings, pattern = Findings(), name_pattern(name)
    for path in _find_ours(unregistered_folder(home), "unregistered training", findings):
        age = _age(path, now)
        if pattern.fullmatch(path.name) and age > unregistered_days:
            findings.add("training", path, f"waits for 'recsys register' since {_days(age)}")
    checkpoints = fine_tuning_folder(home, name)
    if checkpoints.is_dir() and not checkpoints.is_symlink() and (age := _age(checkpoints, now)) > days:
        findings.outdated.append(Outdated("checkpoint", checkpoints, f"not continued since {_days(age)}"))
    return findings


def find_outdated_searches(home: Path, name: str, newest: int) -> Findings:
    """Return the trials of a config's searches that are not among the newest."""
    findings, pattern = Findings(), re.compile(rf"{re.escape(name)}-[0-9a-f]{{8}}")
    searches = [path for path in _entries(tuning_folder(home)) if pattern.fullmatch(path.name) and _is_folder(path)]
    for path in sorted(set(searches) - set(_newest(searches, newest))):
        findings.outdated.append(Outdated("search", path, f"not among the newest {newest}"))
    return findings


def find_outdated_lists(home: Path, now: float, replaced: int, days: float) -> Findings:
    """Return shards of nights that nobody finished, and replaced lists of nights that readers left long ago.

    Published nights are pruned by `recsys generate`.

    Args:
        home: the home.
        now: seconds since 1970.
        replaced: how many of the newest published nights keep the lists that were replaced.
        days: age from which shards may go.

    Raises:
        ArtifactError: the pointer that readers follow cannot be read.
    """
    findings = Findings()
    for run_date, path in all_shards_folders(home).items():
        if not path.is_symlink() and (age := _age(path, now)) > days:
            why = f"the night of {run_date} was not continued since {_days(age)}"
            findings.outdated.append(Outdated("shards", path, why))
    kept = {*find_published(home)[-replaced:], read_pointer(home)}
    for run_date, folder in all_replaced_folders(home).items():
        for path in _find_ours(folder, "recommendations", findings) if run_date not in kept else ():
            findings.add("replaced lists", path, f"not among the newest {format_count(replaced, 'night')}")
    return findings


def _find_ours(folder: Path, kind: str, findings: Findings) -> Iterator[Path]:
    """Yield the folders that recsys wrote into a folder, by name."""
    if folder.is_symlink():
        findings.left.append(f"{folder}: is a symbolic link, which is not followed")
        return
    for path in _entries(folder):
        if not path.name.startswith(".") and _is_folder(path) and _read_fact(path, "kind") == kind:
            yield path


def _entries(folder: Path) -> list[Path]:
    return sorted(folder.iterdir()) if _is_folder(folder) else []


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _is_snapshot(path: Path) -> bool:
    return _SNAPSHOT.fullmatch(path.name) is not None


def _newest(paths: Iterable[Path], count: int) -> list[Path]:
    """Return the folders that were written last, by the time of their manifests."""

    def written(path: Path) -> tuple[float, str]:
        manifest = path / MANIFEST
        return (manifest if manifest.is_file() else path).stat().st_mtime, path.name

    return sorted(paths, key=written, reverse=True)[:count]


def _pointers(folder: Path) -> list[Path]:
    return [path for path in _entries(folder) if path.suffix == _CURRENT and path.is_file()]


def _read_pointers(folder: Path) -> set[str]:
    """Return what the pointers of all configs name.

    Raises:
        ArtifactError: a pointer cannot be read, so it is unknown what it needs.
    """
    names = {read_name(path, "delete it, then ingest or train again") for path in _pointers(folder)}
    return {name for name in names if name}


def _read_fact(folder: Path, name: str) -> str | None:
    try:
        fact = read_manifest(folder, "").get(name)
    except ArtifactError:
        return None
    return str(fact) if fact else None


def _age(path: Path, now: float) -> float:
    return (now - find_last_change(path)) / _DAY


def _days(age: float) -> str:
    return format_count(int(age), "day")
