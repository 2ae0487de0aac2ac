"""What the steps of a backup share: the folders, the copier, and what the backup holds so far."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from recsys.artifacts.backups import HOME, Copier
from recsys.config import Config
from recsys.errors import ArtifactError


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
        damaged: sentences: what it ought to hold but does not, for the files in the home are damaged.
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
    damaged: list[str] = field(default_factory=list)
    files: int = 0
    bytes: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON has it."""
        return {**vars(self), "folder": str(self.folder)}


@dataclass(frozen=True)
class BackupWork:
    """What all steps need: files go from `home` to `copy` below the same path."""

    config: Config
    home: Path
    copy: Path
    now: datetime
    copier: Copier
    done: BackedUp

    def target(self, path: Path) -> Path:
        """Return where a path of the home is in the backup."""
        return self.copy / path.relative_to(self.home)

    def copy_file(self, path: Path) -> None:
        """Copy a file; one that does not exist is left out."""
        with suppress(FileNotFoundError):
            self.copier.copy(path, self.target(path))

    def copy_whole(self, path: Path) -> None:
        """Copy a folder with a manifest.

        Raises:
            ArtifactError: the folder is gone, or differs from its manifest.
        """
        self.copier.copy_whole(path, self.target(path), "repair or remove it, then run again")

    def copy_if_whole(self, path: Path, what: str) -> bool:
        """Copy a folder that a night can do without; a damaged one is named, one that is deleted meanwhile is not."""
        try:
            self.copy_whole(path)
        except ArtifactError as error:
            if path.exists():
                self.done.damaged.append(f"{what}: {error}")
            return False
        return True
