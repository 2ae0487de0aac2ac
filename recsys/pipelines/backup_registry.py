"""What a backup takes from the registry: the store, and the versions that somebody may need."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from recsys.artifacts.backups import STORE
from recsys.errors import ArtifactError
from recsys.pipelines.backup_work import BackupWork
from recsys.pipelines.registration import find_kept
from recsys.progress import track
from recsys.registry.copying import fetch_version, verify_bundles
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.pruned import PRUNED
from recsys.registry.retention import Keeping, decide_kept
from recsys.registry.store_backup import copy_database, find_folders, mark_left_out
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import Version, is_complete
from recsys.storage.files import encode_json, read_name
from recsys.storage.folders import MANIFEST
from recsys.storage.home import current_run_file, mlflow_artifacts_folder, mlflow_database, run_folder
from recsys.storage.locks import LockedError, lock

_WAIT_SECONDS = 30.0


def copy_registry(work: BackupWork, staging: Path) -> None:
    """Copy the store of the home or, of a store elsewhere, the files of the versions in use."""
    if os.environ.get("MLFLOW_TRACKING_URI"):
        _fetch_versions(work, staging / STORE)
        return
    database = mlflow_database(work.home)
    if not database.exists():
        work.done.left_out.append("the MLflow store: does not exist yet")
        return
    store = connect(work.home, work.config)
    with _no_promotion(work):
        copy_database(database, work.target(database))
    _, keeping = _decide(work, store)
    versions = track(_find_whole(keeping), "Versions")
    damaged = [version.number for version in versions if not _copy_version(work, store, version, keeping)]
    without = [version.number for version in keeping.outdated]
    if without or damaged:
        mark_left_out(work.target(database), work.config.model_name, [*without, *damaged], f"{work.now.date()}")
    if without:
        work.done.left_out.append(
            f"files of version {', '.join(without)}: not needed under the retention settings; marked as pruned"
        )
    run = read_name(current_run_file(work.home, work.config.name), "run 'recsys train'")
    for name in dict.fromkeys([run, *(version.tags.get("run") for version in keeping.kept)]):
        if name and (run_folder(work.home, name) / MANIFEST).is_file():
            work.copy_if_whole(run_folder(work.home, name), f"run {name}")
    if run:
        work.copy_file(current_run_file(work.home, work.config.name))


def _decide(work: BackupWork, store: Store) -> tuple[PromotionLog, Keeping]:
    log = PromotionLog.open(store, work.home, work.config.model_name, read_only=True)
    waiting = list(find_kept(work.home).values())
    return log, decide_kept(store, log, work.config.retention, waiting, work.now.timestamp())


@contextmanager
def _no_promotion(work: BackupWork) -> Iterator[None]:
    """Keep promotions from beginning while the database is copied; one that takes long is not waited for."""
    try:
        with lock(work.home, "promotion", wait_seconds=_WAIT_SECONDS):
            yield
            return
    except LockedError:
        work.done.left_out.append(
            "the end of a promotion that was running; after a restore, 'recsys promote' completes it if the champion "
            "was already being changed"
        )
    yield


def _find_whole(keeping: Keeping) -> list[Version]:
    """Return the versions that are kept and have all their files."""
    return [version for version in keeping.kept if PRUNED not in version.tags and is_complete(version)]


def _copy_version(work: BackupWork, store: Store, version: Version, keeping: Keeping) -> bool:
    """Copy the files of a version and its run, and check both bundles; return whether they are whole.

    Raises:
        ArtifactError: those of the version that serves are damaged.
    """
    artifacts = mlflow_artifacts_folder(work.home)
    model, folders = find_folders(store, version, artifacts)
    copied = work.target(artifacts)
    for folder in folders:
        work.copier.copy_tree(folder, copied / folder.relative_to(artifacts.resolve()))
    bundles = copied / model.relative_to(artifacts.resolve())
    try:
        verify_bundles(bundles / "artifacts", version)
    except ArtifactError as error:
        shutil.rmtree(bundles, ignore_errors=True)
        _name_damaged(work, version, keeping, ArtifactError(str(error).replace(str(copied), str(artifacts))))
        return False
    work.done.versions.append(version.number)
    return True


def _name_damaged(work: BackupWork, version: Version, keeping: Keeping, error: ArtifactError) -> None:
    """Name a version that is damaged; no backup does without the one that serves."""
    if keeping.needs[version.number].serves:
        raise error
    work.done.damaged.append(f"version {version.number} ({keeping.reasons[version.number]}): {error}")


def _fetch_versions(work: BackupWork, folder: Path) -> None:
    """Fetch the log of a server, and the versions that it or an alias needs."""
    store = connect(work.home, work.config)
    log, keeping = _decide(work, store)
    folder.mkdir()
    entries = "".join(encode_json(entry.to_dict()) for entry in log.entries)
    (folder / "promotion_log.json").write_text(entries, encoding="utf-8")
    for version in track(_find_whole(keeping), "Versions"):
        if not keeping.needs[version.number].in_use:
            continue
        try:
            with fetch_version(store, version) as fetched:
                shutil.copytree(fetched.model, folder / f"version={version.number}")
        except ArtifactError as error:
            _name_damaged(work, version, keeping, error)
        else:
            work.done.versions.append(version.number)
    work.done.store = store.place
    work.done.left_out.append(f"the database and the files of {store.place}: back them up on that server")
