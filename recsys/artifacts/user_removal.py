"""Everything that a home, its table and its store hold of some users is rewritten without them, or deleted.

Files below a manifest are replaced together with it in one step, so readers see the old folder or the new one. What
cannot be rewritten is named, so that somebody can delete it.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.artifacts.recommendations import write_outputs
from recsys.artifacts.store_output import Store
from recsys.artifacts.table_output import count_users, remove_users
from recsys.artifacts.user_rows import Rewrite, UserRows
from recsys.config import Config
from recsys.errors import RecsysError
from recsys.progress import format_count, track
from recsys.storage.access import copy_access
from recsys.storage.files import replace_file
from recsys.storage.folders import MANIFEST, read_manifest, rewrite_files
from recsys.storage.home import (
    all_fine_tuning_folder,
    all_shards_folders,
    factors_folder,
    forgotten_file,
    mlflow_database,
)
from recsys.storage.removal import erase, find_leftovers, set_aside

_COPIES = ("lists.jsonl", "lists.csv")
_BLOCKED_PAIRS = "blocked_pairs.parquet"


@dataclass(frozen=True)
class Removed:
    """A file, a folder, a table or a store that held something of the users.

    Attributes:
        name: path below the home, `table NAME`, or address of a folder in the store.
        what: was done, or would be: `rewritten` or `deleted`.
    """

    name: str
    what: str


class UserRemoval:
    """Goes through a home once.

    Args:
        home: the folder that recsys writes to; the caller holds all its locks.
        ids: as the files have them: ids and pseudonyms.
        dry_run: change nothing.

    Attributes:
        removed: what held something of the users.
        left: sentences: what still holds them, or may.
    """

    def __init__(self, home: Path, ids: Sequence[str], *, dry_run: bool) -> None:
        self._home, self._ids, self._dry_run = home, ids, dry_run
        self._rows = UserRows(ids)
        self.removed: list[Removed] = []
        self.left: list[str] = []

    def clean_home(self) -> None:
        """Rewrite or delete every file of the home that holds the users."""
        self._delete("leftovers", find_leftovers(self._home, float("inf")))
        # No shard of an unfinished night, and no cached factor, names its users in a way that allows to take some out;
        # the weights of an unfinished training learned from them.
        self._delete("", all_shards_folders(self._home).values())
        caches = (factors_folder(self._home), all_fine_tuning_folder(self._home))
        self._delete("", [folder for folder in caches if any(path.is_file() for path in folder.rglob("*"))])
        folders, files = _list_places(self._home)
        places = [*((folder, self._clean_folder) for folder in folders), *((path, self._clean_file) for path in files)]
        for path, clean in track(places, "Folders and files"):
            self._try(path, clean)

    def clean_outputs(self, config: Config) -> None:
        """Take the users out of the table and the store, after the home.

        Raises:
            ArtifactError: the table or the store cannot be read or written.
        """
        settings = config.generation
        if settings.postgres_table is not None:
            self._clean_table(settings.postgres_table)
        if settings.publish_to is not None:
            store = Store(self._home, settings.publish_to, settings.keep_run_dates)
            # The lists of the home are clean by now, so readers can get those.
            for folder in store.remove_users(config.name, self._ids, dry_run=self._dry_run):
                self.removed.append(Removed(f"{store.address}/{folder}", "deleted"))

    def _clean_table(self, table: str) -> None:
        rows = count_users(table, self._ids) if self._dry_run else remove_users(self._home, table, self._ids)
        if rows:
            self.removed.append(Removed(f"table {table}", f"deleted {format_count(rows, 'row')}"))

    def _try(self, path: Path, work: Callable[[Path], None]) -> None:
        """Do the work on a file or folder; what cannot be read is named, for it may hold the users."""
        try:
            work(path)
        except (OSError, pl.exceptions.PolarsError) as error:
            name = _name(self._home, path)
            self.left.append(f"{name}: cannot be read ({type(error).__name__}); delete or recreate it")

    def _delete(self, what: str, paths: Iterable[Path]) -> None:
        for path in paths:
            self._note(path, f"deleted {what}".strip())
            if not self._dry_run:
                erase(set_aside(path) if not what else path)

    def _note(self, path: Path, what: str) -> None:
        self.removed.append(Removed(_name(self._home, path), what))

    def _clean_folder(self, folder: Path) -> None:
        changes: dict[str, Rewrite] = {}
        for path in sorted(path for path in folder.rglob("*") if path.is_file() and path.name != MANIFEST):
            name = path.relative_to(folder).as_posix()
            if name in _COPIES:
                continue
            if path.suffix == ".html":
                if self._rows.mentioned_in(path):
                    self.left.append(f"{_name(self._home, folder / name)}: mentions a removed user; recreate it")
                continue
            if (write := self._rows.find_rewrite(path)) is not None:
                changes[name] = write
            else:
                self._name_holder(path)
        if not changes:
            return
        if _BLOCKED_PAIRS in changes:
            name = _name(self._home, folder)
            self.left.append(
                f"{name}: a bundle written by an older version of recsys, with a blocked pair of a removed user; it "
                "is deleted with its version ('recsys "
                "prune')"
            )
            return
        self._note(folder, f"rewritten ({format_count(len(changes), 'file')})")
        if not self._dry_run:
            rewrite_files(folder, {**changes, **self._copy_lists(folder)})

    def _name_holder(self, path: Path) -> None:
        """Name a file that mentions the users in a form that cannot be rewritten.

        MLflow's database has names, settings and figures of trainings and nights, and none about single users.
        """
        if path != mlflow_database(self._home) and self._rows.found_inside(path):
            name = _name(self._home, path)
            self.left.append(
                f"{name}: contains a matching id in a format that recsys does not rewrite; if it is this user's, "
                "delete the file"
            )

    def _copy_lists(self, folder: Path) -> Mapping[str, Rewrite]:
        """Return how to write the copies of lists in other formats again, after the lists."""
        kinds = {name: name.partition(".")[2] for name in _COPIES if (folder / name).is_file()}
        return {name: _copy_kind(kind) for name, kind in kinds.items()}

    def _clean_file(self, path: Path) -> None:
        if path.suffix == ".html":
            if self._rows.mentioned_in(path):
                self._delete("", [path])
            return
        write = self._rows.find_rewrite(path)
        if write is None:
            self._name_holder(path)
            return
        self._note(path, "rewritten")
        if not self._dry_run:
            with replace_file(path) as staging:
                write(staging)
                copy_access(path, staging)


def _name(home: Path, path: Path) -> str:
    return path.relative_to(home).as_posix()


def _copy_kind(kind: str) -> Rewrite:
    return lambda target: write_outputs(target.parent, [kind])


def _list_places(home: Path) -> tuple[list[Path], list[Path]]:
    """Return the folders with a manifest, the outer ones only, and the files that no manifest covers."""
    covered, loose = [], list[Path]()
    for name, folders, files in os.walk(home):
        if MANIFEST in files and _is_manifest(Path(name)):
            folders.clear()
            covered.append(Path(name))
        else:
            loose += [Path(name, file) for file in sorted(files)]
    return covered, [path for path in loose if path != forgotten_file(home)]


def _is_manifest(folder: Path) -> bool:
    try:
        read_manifest(folder, "")
    except RecsysError:
        return False
    return True
