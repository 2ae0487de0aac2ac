"""Files on this machine that a path of the config means."""

from __future__ import annotations

import glob
import os
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import BinaryIO, cast

from recsys.config import data_path
from recsys.dataset.raw.containers import StoredFile
from recsys.dataset.raw.patterns import DELTA_LOG, is_hidden, literal_part, match_paths
from recsys.dataset.raw.signatures import split_suffixes
from recsys.errors import DataError


def display_name(file: Path) -> str:
    """Return a file's name for messages: relative to the raw-data folder if it is inside."""
    root = data_path("")
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def find_local(path: Path) -> tuple[list[Path], bool]:
    """Return the files and Delta tables that a path means, sorted, and whether it names a single file or table.

    A path is a pattern only where no file or folder has exactly that name, and only below the raw-data folder: the
    characters of that folder's own name are not special. Linked files and folders are followed; a file that several
    links lead to is listed once. Below a folder, names that start with `.` or `_` are left out.

    Raises:
        DataError: an unreadable folder.
    """
    if path.is_file() or is_delta_table(path):
        return [path], True
    if path.is_dir():
        return _drop_repeats(_walk(path)), False
    files: list[Path] = []
    for match in _match(path):
        if match.is_dir():
            files += _walk(match)
        elif match.is_file():
            files.append(match)
    return _drop_repeats(files), False


def split_archive(path: Path) -> tuple[Path, str] | None:
    """Return the archive and the member of a path such as `orders.zip/events.csv`; None: it does not go into one."""
    for parent in path.parents:
        if parent.is_file() and parent.suffix.lower() == ".zip":
            return parent, path.relative_to(parent).as_posix()
    return None


def is_delta_table(path: Path) -> bool:
    """Return whether a folder is a Delta table."""
    return (path / DELTA_LOG).is_dir()


def store_local(file: Path) -> StoredFile:
    """Return a file or Delta table of this machine as a stored file."""
    root = data_path("")
    inside = file.relative_to(root) if file.is_relative_to(root) else file
    if file.is_dir():
        return delta_table(display_name(file), str(file))
    open_file = partial(_open, file)
    try:
        size = file.stat().st_size
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check the file and its permissions") from error
    return StoredFile(display_name(file), inside.as_posix(), open_file, open_file, size, str(file))


def delta_table(name: str, place: str) -> StoredFile:
    """Return a Delta table, which only its own reader can open."""

    def refuse() -> BinaryIO:
        raise DataError(f"{name}: is a Delta table and cannot be read as a file; read it as a table")

    return StoredFile(name, name, refuse, refuse, None, place, format="delta")


def _open(file: Path) -> BinaryIO:
    return cast(BinaryIO, file.open("rb", buffering=0))


def _match(pattern: Path) -> list[Path]:
    """Return what a glob pattern matches; in the part of the raw-data folder no character is special."""
    root = data_path("")
    if not pattern.is_relative_to(root):
        root = Path(pattern.anchor)
    relative = pattern.relative_to(root).as_posix()
    if "**" in relative:
        # Unlike glob, this enters a folder that contains itself once.
        files = {file.relative_to(root).as_posix(): file for file in _walk(root / literal_part(relative))}
        return [files[name] for name in match_paths(list(files), relative)[0]]
    names = glob.glob(relative, root_dir=root)  # noqa: PTH207 - follows links
    return [root / name for name in names if not _is_hidden_match(name, relative)]


def _is_hidden_match(name: str, pattern: str) -> bool:
    """Return whether a pattern matches a hidden name that it does not ask for."""
    return any(
        is_hidden(part) and not is_hidden(asked)
        for part, asked in zip(name.split("/"), pattern.split("/"), strict=False)
    )


def _walk(folder: Path) -> list[Path]:
    """Return the files below a folder, also behind links; a folder that contains itself is entered once."""

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    files: list[Path] = []
    entered: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(parent)
        entered.add(here.resolve())
        if DELTA_LOG in folders:
            files.append(here)
            folders.clear()
            continue
        folders[:] = sorted(name for name in folders if not is_hidden(name) and (here / name).resolve() not in entered)
        files += [here / name for name in names if not is_hidden(name) and _is_file(here / name)]
    return files


def _is_file(file: Path) -> bool:
    """Return whether a path is a file; a link to data that is not there is an error rather than no data."""
    if file.is_symlink() and not file.exists() and split_suffixes(file.name)[1]:
        raise DataError(
            f"{file}: is a link to {file.readlink()}, which does not exist; restore the file or remove the link"
        )
    return file.is_file()


def _drop_repeats(files: Iterable[Path]) -> list[Path]:
    """Return the files sorted, each real file under the first of its shortest names."""
    first = {file.resolve(): file for file in sorted(files, key=lambda file: (len(file.parts), file), reverse=True)}
    return sorted(first.values())
