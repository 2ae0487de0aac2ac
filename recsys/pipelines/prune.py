"""`recsys prune`: delete what is no longer needed.

Each kind is deleted under the locks of the commands that write or read it; a kind whose lock is held is left for the
next time. A folder of the home is renamed in one step under the lock and deleted after it, and a version is tagged
before its first file is deleted, so the home is usable after a kill at any instant.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.artifacts.outdated import (
    Findings,
    Outdated,
    find_outdated_lists,
    find_outdated_runs,
    find_outdated_searches,
    find_outdated_snapshots,
    find_outdated_trainings,
    list_configs,
)
from recsys.config import Config
from recsys.errors import RecsysError
from recsys.pipelines.registration import find_kept
from recsys.progress import logger
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.pruned import PRUNED
from recsys.registry.retention import (
    Keeping,
    VersionFiles,
    decide_kept,
    delete_files,
    find_files,
    has_all,
    mark_pruned,
    unmark_pruned,
)
from recsys.registry.tracking import Store, connect
from recsys.storage.array_cache import find_unused
from recsys.storage.home import embeddings_folder, factors_folder, mlflow_artifacts_folder, mlflow_database
from recsys.storage.locks import LockedError, lock
from recsys.storage.removal import erase, find_last_change, find_leftovers, measure_freed, set_aside

_DAY = 86_400.0


@dataclass(frozen=True)
class PrunedItem:
    """Something that was deleted, or may be.

    Attributes:
        kind: such as `snapshot`.
        name: path below the home, or name and number of a version.
        bytes: that its deletion frees; a file that something else has too frees nothing.
        age_days: since it was written or, for a cache, used last.
        why: it may go.
        error: why it could not be deleted; empty: it was, or this is a dry run.
    """

    kind: str
    name: str
    bytes: int
    age_days: float
    why: str
    error: str = ""


@dataclass
class Pruned:
    """What `prune` did or, in a dry run, would do.

    Attributes:
        dry_run: nothing was changed.
        items: in the order in which they were deleted.
        left: sentences: what was left alone, and why.
        bytes: that were freed, or would be.
    """

    dry_run: bool
    items: list[PrunedItem] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    bytes: int = 0

    @property
    def totals(self) -> dict[str, tuple[int, int]]:
        """Kind -> number and bytes of what was deleted, or would be."""
        totals: dict[str, tuple[int, int]] = {}
        for item in self.items:
            if not item.error:
                count, size = totals.get(item.kind, (0, 0))
                totals[item.kind] = (count + 1, size + item.bytes)
        return totals

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        totals = {kind: {"count": count, "bytes": size} for kind, (count, size) in self.totals.items()}
        items = [vars(item) for item in self.items]
        return {"dry_run": self.dry_run, "bytes": self.bytes, "totals": totals, "items": items, "left": self.left}


@dataclass(frozen=True)
class _Work:
    """What all steps need."""

    config: Config
    home: Path
    now: datetime
    pruned: Pruned

    @property
    def seconds(self) -> float:
        return self.now.timestamp()


def prune(config: Config, home: Path, now: datetime, *, dry_run: bool = False) -> Pruned:
    """Delete what the config's section `retention` does not keep, and nothing that anything needs.

    Published lists are pruned by `generate`, and monitored nights by `monitor`. Other configs of the home, and other
    models of the store, are left alone.

    Args:
        config: whose versions, runs and snapshots are pruned.
        home: the folder that recsys writes to.
        now: ages are measured to this instant, and versions are tagged with its day.
        dry_run: change nothing.

    Raises:
        RegistryError: the store does not answer, or the promotion log is damaged; nothing was deleted.
    """
    work = _Work(config, home, now, Pruned(dry_run))
    keeping = _prune_versions(work)
    kept = keeping.kept if keeping else []
    runs = {version.tags["run"] for version in kept if "run" in version.tags}
    snapshots = {version.tags["snapshot"] for version in kept if "snapshot" in version.tags}
    settings, seconds = config.retention, work.seconds
    training, everything = ("training",), _list_locks(work)
    _step(work, "trainings", training, lambda: _find_trainings(work))
    _step(work, "runs", training, lambda: _find_runs(work, runs))
    _step(work, "searches", ("tuning",), lambda: find_outdated_searches(home, config.name, settings.searches))
    _step(
        work,
        "lists",
        ("generation",),
        lambda: find_outdated_lists(home, seconds, settings.replaced_lists, settings.unfinished_days),
    )
    _step(work, "caches", ("generation",), lambda: _find_caches(work))
    _step(work, "snapshots", everything, lambda: _find_snapshots(work, snapshots))
    _step(work, "temporary files", everything, lambda: _find_leftovers(work))
    return work.pruned


def _list_locks(work: _Work) -> tuple[str, ...]:
    """Return the names of all locks under which a home is written or its snapshots are read."""
    configs = sorted({work.config.name, *list_configs(work.home)})
    each = [f"{what}-{name}" for name in configs for what in ("ingestion", "monitoring")]
    return ("training", "tuning", "generation", "promotion", *each)


@contextmanager
def _holding(work: _Work, what: str, names: Sequence[str]) -> Iterator[bool]:
    """Hold locks while the block runs, and give whether that was possible; a dry run takes none."""
    with ExitStack() as stack:
        held = True
        try:
            for name in names if not work.pruned.dry_run else ():
                stack.enter_context(lock(work.home, name))
        except LockedError as error:
            held = False
            work.pruned.left.append(f"{what}: skipped until the next run: {error}")
        yield held


def _step(work: _Work, what: str, locks: Sequence[str], find: Callable[[], Findings]) -> None:
    """Delete what is found of some kinds, under their locks; an error leaves these kinds alone."""
    doomed: list[tuple[PrunedItem, Path]] = []
    with _holding(work, what, locks) as held:
        if not held:
            return
        try:
            findings = find()
        except (RecsysError, OSError) as error:
            work.pruned.left.append(f"{what}: {error}")
            return
        work.pruned.left += findings.left
        work.pruned.bytes += measure_freed(outdated.path for outdated in findings.outdated)
        for outdated in findings.outdated:
            item = _describe(work, outdated)
            if work.pruned.dry_run:
                work.pruned.items.append(item)
                continue
            try:
                doomed.append((item, set_aside(outdated.path)))
            except OSError as error:
                _fail(work, item, error)
    for item, path in doomed:
        try:
            erase(path)
            work.pruned.items.append(item)
        except OSError as error:
            _fail(work, item, error)


def _fail(work: _Work, item: PrunedItem, error: OSError) -> None:
    reason = f"cannot be deleted ({error.strerror or error})"
    work.pruned.items.append(PrunedItem(**{**vars(item), "bytes": 0, "error": reason}))
    work.pruned.bytes -= item.bytes


def _describe(work: _Work, outdated: Outdated) -> PrunedItem:
    path = outdated.path
    age = (work.seconds - find_last_change(path)) / _DAY
    name = path.relative_to(work.home).as_posix()
    return PrunedItem(outdated.kind, name, measure_freed([path]), max(0.0, round(age, 1)), outdated.why)


def _find_trainings(work: _Work) -> Findings:
    settings = work.config.retention
    return find_outdated_trainings(
        work.home, work.config.name, work.seconds, settings.unregistered_days, settings.unfinished_days
    )


def _find_runs(work: _Work, needed: set[str]) -> Findings:
    gone = _names(work, "training")
    waiting = {run for run in find_kept(work.home) if run not in gone}
    return find_outdated_runs(work.home, work.config.name, needed | waiting, work.config.retention.runs)


def _find_snapshots(work: _Work, needed: set[str]) -> Findings:
    settings, gone = work.config.retention, _names(work, "run") | _names(work, "training")
    return find_outdated_snapshots(work.home, needed, gone, settings.snapshots, settings.snapshots_of_nights)


def _names(work: _Work, kind: str) -> set[str]:
    """Return the names of what was deleted of a kind, or would be."""
    return {Path(item.name).name for item in work.pruned.items if item.kind == kind and not item.error}


def _find_caches(work: _Work) -> Findings:
    settings, findings = work.config.retention, Findings()
    since, size = work.seconds - settings.cache_days * _DAY, settings.cache_megabytes * 1_000_000
    for kind, folder in (("embeddings", embeddings_folder(work.home)), ("factors", factors_folder(work.home))):
        findings.outdated += [Outdated(kind, path, why) for path, why in find_unused(folder, since, size)]
    return findings


def _find_leftovers(work: _Work) -> Findings:
    hours = work.config.retention.leftover_hours
    before, artifacts = work.seconds - hours * 3600, mlflow_artifacts_folder(work.home)
    why = "left by a killed command"
    return Findings([Outdated("leftover", path, why) for path in find_leftovers(work.home, before, [artifacts])])


def _prune_versions(work: _Work) -> Keeping | None:
    """Delete the files of versions that are not needed, and return which are; None where there is no store yet."""
    if not os.environ.get("MLFLOW_TRACKING_URI") and not mlflow_database(work.home).exists():
        return None
    store = connect(work.home, work.config)
    # A version that a training is registering is kept without its lock: it is the newest, or its run waits.
    with _holding(work, "model versions", ("promotion",)) as held:
        log = PromotionLog.open(store, work.home, work.config.model_name, read_only=work.pruned.dry_run or not held)
        keeping = _decide(work, store, log)
        if held:
            _delete_outdated(work, store, log, keeping)
    return keeping


def _decide(work: _Work, store: Store, log: PromotionLog) -> Keeping:
    waiting = list(find_kept(work.home).values())
    return decide_kept(store, log, work.config.retention, waiting, work.seconds)


def _delete_outdated(work: _Work, store: Store, log: PromotionLog, keeping: Keeping) -> None:
    found = [find_files(store, keeping, version) for version in keeping.outdated]
    for files in found:
        if files.shared:
            version = files.version
            work.pruned.left.append(f"version {version.number}: kept because {files.shared} has the same files")
        elif not files.parts and PRUNED not in files.version.tags:
            work.pruned.left.append(
                f"version {files.version.number}: kept because its files were not written by recsys"
            )
    candidates = [files for files in found if not files.shared and (files.parts or PRUNED in files.version.tags)]
    work.pruned.bytes += measure_freed(path for files in candidates for path in files.paths)
    work.pruned.bytes += sum(files.size for files in candidates if not files.paths)
    date = work.now.date().isoformat()
    items = {files.version.number: _describe_version(work, keeping, files) for files in candidates}
    if work.pruned.dry_run or not candidates:
        work.pruned.items += items.values()
        return
    for files in candidates:
        mark_pruned(store, files.version, date, finished=False)
    # Another home may have promoted, rolled back or started a canary while these were tagged.
    log.refresh()
    needed = _decide(work, store, log).reasons
    for files in candidates:
        item, number = items[files.version.number], files.version.number
        if number in needed:
            unmark_pruned(store, files.version)
            work.pruned.left.append(f"version {number}: kept because it is needed now ({needed[number]})")
            work.pruned.bytes -= item.bytes
            continue
        problem = delete_files(store, files)
        if problem is None:
            mark_pruned(store, files.version, date, finished=True)
        else:
            if has_all(store, files):
                unmark_pruned(store, files.version)
            logger.warning("version %s: its files cannot be deleted (%s)", number, problem)
            item = PrunedItem(**{**vars(item), "bytes": 0, "error": f"cannot be deleted ({problem})"})
            work.pruned.bytes -= items[number].bytes
        work.pruned.items.append(item)


def _describe_version(work: _Work, keeping: Keeping, files: VersionFiles) -> PrunedItem:
    version, settings = files.version, work.config.retention
    age = (work.seconds - keeping.created[version.number] / 1000) / _DAY
    size = measure_freed(files.paths) if files.paths else files.size
    why = f"no alias, not needed by the promotion log, not among the newest {settings.versions}"
    name = f"{version.name} version {version.number}"
    return PrunedItem("version", name, size, max(0.0, round(age, 1)), why)
