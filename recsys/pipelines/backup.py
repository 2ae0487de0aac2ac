"""`recsys backup`: what a night needs, copied while nights and trainings run.

No lock of a night or a training is taken. What recsys writes once and puts in place in one step is copied with its
manifest and checked; the database is copied as of one instant; and the pointer is read first and written last, so it
names lists that the backup holds. Only while the database is copied, no promotion may begin.
"""

from __future__ import annotations

import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.artifacts.backups import CONFIG, FORMAT, HOME, KIND, Copier, measure
from recsys.artifacts.recommendations import read_pointer
from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines.backup_registry import copy_registry
from recsys.pipelines.backup_work import BackedUp, BackupWork
from recsys.pipelines.registration import find_kept
from recsys.progress import format_count, log_stage, track
from recsys.storage.code_version import find_code_version
from recsys.storage.files import read_name
from recsys.storage.folders import MANIFEST, read_manifest, sweep, write_folder
from recsys.storage.home import (
    all_list_folders,
    all_replaced_folders,
    current_snapshot_file,
    forgotten_file,
    identity_file,
    list_folder,
    monitoring_folder,
    pointer_file,
    pointer_moves_file,
    promotion_log_file,
    snapshot_folder,
)
from recsys.storage.locks import lock


def backup(
    config: Config, config_file: Path, home: Path, target: Path, now: datetime, *, replace: bool = False
) -> BackedUp:
    """Write a backup: the folder has its name when all of it is on the disk, and not before.

    Without the version, the lists and the snapshot of a night there is no backup. Anything else that is damaged is left
    out and named in `damaged`.

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
        raise ArtifactError(f"home {home}: does not exist; check RECSYS_HOME")
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
        raise ArtifactError(f"backup {target}: the folder exists and is not a backup; choose another folder")
    if not replace:
        raise ArtifactError(f"backup {target}: already exists; choose another folder, or replace it with --replace")


def _fill(
    config: Config, config_file: Path, home: Path, staging: Path, now: datetime, done: BackedUp
) -> dict[str, Any]:
    work = BackupWork(config, home, staging / HOME, now, Copier(), done)
    work.copy.mkdir()
    # What it names stays until the next night is published, and is copied below.
    done.run_date = read_pointer(home)
    copy_registry(work, staging)
    _copy_lists(work)
    _copy_snapshots(work)
    work.copier.copy_tree(monitoring_folder(home, config.name), work.target(monitoring_folder(home, config.name)))
    for path in (pointer_moves_file(home), promotion_log_file(home), identity_file(home), forgotten_file(home)):
        work.copy_file(path)
    (staging / CONFIG).mkdir()
    shutil.copyfile(config_file, staging / CONFIG / config_file.name)
    if kept := find_kept(home):
        done.left_out.append(f"trainings that are not registered yet: {', '.join(kept)}; run 'recsys register'")
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


def _copy_lists(work: BackupWork) -> None:
    """Copy all published nights, and the lists that `rollback` would publish again."""
    home, done = work.home, work.done
    for run_date, folder in track(all_list_folders(home).items(), "Lists"):
        if not (folder / MANIFEST).is_file():
            continue
        try:
            work.copy_whole(folder)
        except ArtifactError as error:
            # Readers need tonight's; an older night may be pruned meanwhile, or damaged.
            if run_date == done.run_date:
                raise
            if folder.exists():
                done.damaged.append(f"lists for {run_date}: {error}")
        else:
            done.nights.append(run_date)
    if done.run_date and done.run_date not in done.nights:
        missing = list_folder(home, done.run_date)
        raise ArtifactError(
            f"lists {missing}: readers follow them, but they are missing; run 'recsys generate --run-date "
            f"{done.run_date}', then back up again"
        )
    for parent in all_replaced_folders(home).values():
        for folder in sorted(parent.iterdir()):
            if (folder / MANIFEST).is_file():
                work.copy_if_whole(folder, "lists that a rollback would publish again")


def _copy_snapshots(work: BackupWork) -> None:
    """Copy the config's current snapshot, which `generate` reads, and those of the copied nights."""
    home, done = work.home, work.done
    pointer = current_snapshot_file(home, work.config.name)
    current = read_name(pointer, "run 'recsys ingest'")
    of_nights = [read_manifest(work.target(list_folder(home, night)), "").get("snapshot") for night in done.nights]
    for identity in track(dict.fromkeys([current, *of_nights]), "Snapshots"):
        folder = snapshot_folder(home, str(identity))
        if not isinstance(identity, str):
            continue
        if identity != current and not folder.is_dir():
            done.left_out.append(f"snapshot {identity} of an older night: was pruned")
            continue
        if identity == current:
            work.copy_whole(folder)
        elif not work.copy_if_whole(folder, f"snapshot {identity} of an older night"):
            continue
        done.snapshots.append(identity)
    if current:
        work.target(pointer).write_text(f"{current}\n", encoding="utf-8")
