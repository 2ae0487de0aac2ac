"""`recsys restore`: an empty home filled from a backup, every file of which is checked before one is written."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from recsys.artifacts.backups import HOME, STORE, finish_restoring, open_backup, restore_files, start_restoring
from recsys.errors import ArtifactError
from recsys.progress import format_count, log_stage
from recsys.registry.moved_home import correct_places
from recsys.storage.addresses import Address
from recsys.storage.folders import sweep
from recsys.storage.home import lock_file
from recsys.storage.locks import lock

_LOCK = "restore"


@dataclass(frozen=True)
class Restored:
    """What was restored.

    Attributes:
        home: the folder that was filled.
        config: the config file in the backup.
        name: of the config.
        run_date: that readers follow; None: no lists are published.
        files: number of files of the home.
        written: how many of them an interrupted restore had not written yet.
        store: `home`, or the address of the server that the registry is on.
        versions: folder with the files of versions of a server; None: the home holds the registry.
    """

    home: Path
    config: Path
    name: str
    run_date: str | None
    files: int
    written: int
    store: str
    versions: Path | None

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {name: str(value) if isinstance(value, Path) else value for name, value in vars(self).items()}


def restore(folder: Path, home: Path) -> Restored:
    """Fill an empty home from a backup, or continue a restore of the same backup that was interrupted.

    Args:
        folder: that `recsys backup` wrote.
        home: new or empty, at any path.

    Raises:
        ArtifactError: the backup is damaged or no backup, the home holds something else, or `MLFLOW_TRACKING_URI` does
            not suit the backup.
    """
    with log_stage("restore") as say:
        backup = open_backup(folder.absolute())
        store = str(backup.manifest["store"])
        _check_store(folder, store)
        with lock(home, _LOCK):
            start_restoring(backup, home, lock_file(home, _LOCK))
            _sweep_folders(home)
            written = restore_files(backup, home)
            if store == HOME:
                correct_places(home)
            finish_restoring(home)
        files = len(backup.home_files)
        say(format_count(files, "file"))
    run_date, versions = backup.manifest["run_date"], backup.folder / STORE
    return Restored(
        home,
        backup.config,
        str(backup.manifest["name"]),
        run_date,
        files,
        written,
        store,
        versions if versions.is_dir() else None,
    )


def _check_store(folder: Path, store: str) -> None:
    given = os.environ.get("MLFLOW_TRACKING_URI")
    if store == HOME and given:
        raise ArtifactError(
            f"backup {folder}: contains the registry of a home, but MLFLOW_TRACKING_URI is "
            f"{Address.parse(given).place}; "
            "recsys does not restore into another store; unset it, then run again; nothing was restored"
        )
    if store != HOME and not given:
        raise ArtifactError(
            f"backup {folder}: its registry is on the server {store}, which a backup does not hold; restore that "
            "server from its own backup, set MLFLOW_TRACKING_URI, then run again; nothing was restored"
        )


def _sweep_folders(folder: Path) -> None:
    """Delete what an interrupted restore left half-written in a folder and in all folders below it."""
    for path in (folder, *folder.rglob("*")):
        if path.is_dir():
            sweep(path)
