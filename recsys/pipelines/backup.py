"""`recsys backup`: what a night needs, copied while nights and trainings run.

No lock of a night or a training is taken. What recsys writes once and puts in place in one step is copied with its
manifest and checked; the database is copied as of one instant; and the pointer is read first and written last, so it
names lists that the backup holds. Only while the database is copied, no promotion may begin.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.artifacts.backups import CONFIG, FORMAT, HOME, KIND, STORE, Copier, measure
from recsys.artifacts.recommendations import read_pointer
from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines.registration import find_kept
from recsys.progress import format_count, log_stage
from recsys.registry.copying import fetch_version, verify_bundles
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.pruned import PRUNED
from recsys.registry.retention import Keeping, decide_kept
from recsys.registry.store_backup import copy_database, find_folders, mark_left_out
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import Version, is_complete
from recsys.storage.code_version import find_code_version
from recsys.storage.files import encode_json, read_name
from recsys.storage.folders import MANIFEST, read_manifest, sweep, write_folder
from recsys.storage.home import (
    all_list_folders,
    all_replaced_folders,
    current_run_file,
    current_snapshot_file,
    identity_file,
    list_folder,
    mlflow_artifacts_folder,
    mlflow_database,
    monitoring_folder,
    pointer_file,
    pointer_moves_file,
    promotion_log_file,
    run_folder,
    snapshot_folder,
)
from recsys.storage.locks import LockedError, lock

_WAIT_SECONDS = 30.0
_NEXT_STEP = "run again"


@dataclass
class BackedUp:
    """What a backup holds.

    Attributes:
        folder: of the backup.
        run_date: that readers follow in it; None: no lists are published.
        nights: run dates whose lists it holds, oldest first.
        snapshots: ids of the snapshots that it holds.
        versions: numbers of the model versions whose files it holds.
        store: `home`: it holds the MLflow store. Otherwise the address of the server, which it does not hold.
        left_out: sentences: what it does not hold, and why.
        files: number of files.
        bytes: size of all.
    """

    folder: Path
    run_date: str | None = None
    nights: list[str] = field(default_factory=list)
    snapshots: list[str] = field(default_factory=list)
    versions: list[str] = field(default_factory=list)
    store: str = HOME
    left_out: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**vars(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class _Work:
    """What all steps need: files go from `home` to `copy` below the same path."""

    config: Config
    home: Path
    copy: Path
    now: datetime
    copier: Copier
    done: BackedUp

    def target(self, path: Path) -> Path:
        return self.copy / path.relative_to(self.home)

    def copy_file(self, path: Path) -> None:
        with suppress(FileNotFoundError):
            self.copier.copy(path, self.target(path))

    def copy_whole(self, path: Path) -> None:
        self.copier.copy_whole(path, self.target(path), "repair or remove it, then run again")


def backup(
    config: Config, config_file: Path, home: Path, target: Path, now: datetime, *, replace: bool = False
) -> BackedUp:
    """Write a backup: the folder has its name when all of it is on the disk, and not before.

    Args:
        config: whose model, snapshots and lists are backed up.
        config_file: that it was read from, backed up too.
        home: the folder that recsys writes to.
        target: the folder to write.
        now: recorded in the backup.
        replace: an existing backup may be replaced.

    Raises:
        ArtifactError: the folder exists, something that a night needs is damaged, or the disk is full.
        RegistryError: the store does not answer, or is damaged.
    """
    target = target.absolute()
    if not home.is_dir():
        raise ArtifactError(f"home {home}: does not exist, so there is nothing to back up; check RECSYS_HOME")
    if target.resolve().is_relative_to(home.resolve()):
        raise ArtifactError(f"backup {target}: is inside the home {home}; choose a folder outside it")
    done = BackedUp(target)
    with lock(home, KIND), log_stage("backup") as say:
        _check_target(target, replace=replace)
        sweep(target.parent, f"{target.name}.")

        def fill(staging: Path) -> dict[str, Any]:
            # It holds what users did.
            staging.chmod(0o700)
            return _fill(config, config_file, home, staging, now, done)

        write_folder(target, fill, {"kind": KIND, "format": FORMAT})
        say(f"{format_count(done.files, 'file')}, {done.bytes / 1e6:,.1f} MB")
    return done


def _check_target(target: Path, *, replace: bool) -> None:
    if not target.exists() and not target.is_symlink():
        return
    if target.is_dir() and not target.is_symlink() and not any(target.iterdir()):
        return
    if not target.is_dir() or target.is_symlink():
        raise ArtifactError(f"backup {target}: is a file or a link; choose a folder that does not exist")
    try:
        kind = read_manifest(target, "").get("kind")
    except ArtifactError:
        kind = None
    if kind != KIND:
        raise ArtifactError(f"backup {target}: the folder exists and is no backup; choose another")
    if not replace:
        raise ArtifactError(f"backup {target}: exists; choose another name, or replace it with --replace")


def _fill(
    config: Config, config_file: Path, home: Path, staging: Path, now: datetime, done: BackedUp
) -> dict[str, Any]:
    work = _Work(config, home, staging / HOME, now, Copier(), done)
    work.copy.mkdir()
    # What it names stays until the next night is published, and is copied below.
    done.run_date = read_pointer(home)
    _copy_registry(work, staging)
    _copy_lists(work)
    _copy_snapshots(work)
    work.copier.copy_tree(monitoring_folder(home, config.name), work.target(monitoring_folder(home, config.name)))
    for path in (pointer_moves_file(home), promotion_log_file(home), identity_file(home)):
        work.copy_file(path)
    (staging / CONFIG).mkdir()
    shutil.copyfile(config_file, staging / CONFIG / config_file.name)
    if kept := find_kept(home):
        done.left_out.append(f"trainings that wait for their registration: {', '.join(kept)}; run 'recsys register'")
    if done.run_date:
        pointer = work.target(pointer_file(home))
        pointer.parent.mkdir(parents=True, exist_ok=True)
        pointer.write_text(f"run_date={done.run_date}\n", encoding="utf-8")
    sizes = measure(staging)
    done.files, done.bytes = len(sizes), sum(sizes.values())
    facts = {name: value for name, value in done.to_dict().items() if name not in ("folder", "files", "bytes")}
    return {
        **facts,
        "name": config.name,
        "recsys": find_code_version(),
        "written": now.isoformat(),
        "config_file": config_file.name,
        "sizes": sizes,
    }


def _copy_lists(work: _Work) -> None:
    """Copy all published nights, and the lists that `rollback` would publish again."""
    home, done = work.home, work.done
    for run_date, folder in all_list_folders(home).items():
        if not (folder / MANIFEST).is_file():
            continue
        try:
            work.copy_whole(folder)
        except ArtifactError as error:
            # Readers need tonight's; an older night may be pruned meanwhile, or damaged.
            if run_date == done.run_date:
                raise
            if folder.exists():
                done.left_out.append(f"lists for {run_date}: {error}")
        else:
            done.nights.append(run_date)
    if done.run_date and done.run_date not in done.nights:
        missing = list_folder(home, done.run_date)
        raise ArtifactError(
            f"lists {missing}: readers follow them, and they are missing; run 'recsys generate --run-date "
            f"{done.run_date}', then back up again"
        )
    for parent in all_replaced_folders(home).values():
        for folder in sorted(parent.iterdir()):
            if (folder / MANIFEST).is_file():
                with suppress(ArtifactError):
                    work.copy_whole(folder)


def _copy_snapshots(work: _Work) -> None:
    """Copy the config's current snapshot, which `generate` reads, and those of the copied nights."""
    home, done = work.home, work.done
    pointer = current_snapshot_file(home, work.config.name)
    current = read_name(pointer, "run 'recsys ingest'")
    of_nights = [read_manifest(work.target(list_folder(home, night)), "").get("snapshot") for night in done.nights]
    for identity in dict.fromkeys([current, *of_nights]):
        folder = snapshot_folder(home, str(identity))
        if not isinstance(identity, str):
            continue
        if identity != current and not folder.is_dir():
            done.left_out.append(f"snapshot {identity} of an older night: was pruned")
            continue
        work.copy_whole(folder)
        done.snapshots.append(identity)
    if current:
        work.target(pointer).write_text(f"{current}\n", encoding="utf-8")


def _copy_registry(work: _Work, staging: Path) -> None:
    """Copy the store of the home or, of a store elsewhere, the files of the versions in use."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        _fetch_versions(work, staging / STORE)
        return
    database = mlflow_database(work.home)
    if not database.exists():
        work.done.left_out.append("the MLflow store: there is none yet")
        return
    store = connect(work.home, work.config)
    with _no_promotion(work):
        copy_database(database, work.target(database))
    _, keeping = _decide(work, store)
    for version in keeping.kept:
        if PRUNED not in version.tags and is_complete(version):
            _copy_version(work, store, version)
    without = [version.number for version in keeping.outdated]
    if without:
        mark_left_out(work.target(database), work.config.model_name, without, work.now.date().isoformat())
        work.done.left_out.append(
            f"files of version {', '.join(without)}: not needed, as 'recsys prune' decides; marked as pruned"
        )
    run = read_name(current_run_file(work.home, work.config.name), "run 'recsys train'")
    for name in dict.fromkeys([run, *(version.tags.get("run") for version in keeping.kept)]):
        if name and (run_folder(work.home, name) / MANIFEST).is_file():
            work.copy_whole(run_folder(work.home, name))
    if run:
        work.copy_file(current_run_file(work.home, work.config.name))


def _decide(work: _Work, store: Store) -> tuple[PromotionLog, Keeping]:
    log = PromotionLog.open(store, work.home, work.config.model_name, read_only=True)
    waiting = list(find_kept(work.home).values())
    return log, decide_kept(store, log, work.config.retention, waiting, work.now.timestamp())


@contextmanager
def _no_promotion(work: _Work) -> Iterator[None]:
    """Keep promotions from beginning while the database is copied; one that takes long is not waited for."""
    try:
        with lock(work.home, "promotion", wait_seconds=_WAIT_SECONDS):
            yield
            return
    except LockedError:
        work.done.left_out.append(
            "the end of a promotion that was running; after a restore, 'recsys promote' finishes it if it had begun to "
            "change what serves"
        )
    yield


def _copy_version(work: _Work, store: Store, version: Version) -> None:
    """Copy the files of a version and its run, and check both bundles."""
    artifacts = mlflow_artifacts_folder(work.home)
    model, folders = find_folders(store, version, artifacts)
    copied = work.target(artifacts)
    for folder in folders:
        work.copier.copy_tree(folder, copied / folder.relative_to(artifacts.resolve()))
    verify_bundles(copied / model.relative_to(artifacts.resolve()) / "artifacts", version)
    work.done.versions.append(version.number)


def _fetch_versions(work: _Work, folder: Path) -> None:
    """Fetch the log of a server, and the versions that it or an alias needs."""
    store = connect(work.home, work.config)
    log, keeping = _decide(work, store)
    folder.mkdir()
    entries = "".join(encode_json(entry.to_dict()) for entry in log.entries)
    (folder / "promotion_log.json").write_text(entries, encoding="utf-8")
    for version in keeping.kept:
        newest = keeping.reasons[version.number].startswith("one of the newest")
        if newest or PRUNED in version.tags or not is_complete(version):
            continue
        with fetch_version(store, version) as fetched:
            shutil.copytree(fetched.model, folder / f"version={version.number}")
        work.done.versions.append(version.number)
    work.done.store = store.place
    work.done.left_out.append(f"the database and the files of {store.place}: back them up where they are")
