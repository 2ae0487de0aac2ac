"""Deleting what is no longer needed: never through a symbolic link, and never half."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path

from recsys.storage.files import temporary_path
from recsys.storage.folders import MANIFEST, read_manifest

# As `temporary_path` and `swap_in` name them.
_TEMPORARY = re.compile(r"\.(?P<name>.+)\.[0-9a-f]{32}\.(?P<suffix>tmp|old)")


def measure_freed(paths: Iterable[Path]) -> int:
    """Return the bytes that deleting files and folders frees.

    A file with several hard links counts only if all of them are below the paths.
    """
    links: dict[tuple[int, int], tuple[int, os.stat_result]] = {}
    for path in paths:
        for state in _walk(path):
            key = (state.st_dev, state.st_ino)
            links[key] = (links.get(key, (0, state))[0] + 1, state)
    return sum(state.st_size for count, state in links.values() if count >= state.st_nlink)


def find_last_change(path: Path) -> float:
    """Return when anything in a file or folder was written last, in seconds since 1970."""
    return max((state.st_mtime for state in _walk(path)), default=path.lstat().st_mtime)


def set_aside(path: Path) -> Path:
    """Rename a file or folder in one step to a name that readers ignore and `find_leftovers` finds."""
    return path.rename(temporary_path(path))


def erase(path: Path) -> None:
    """Delete a file or a folder; of a symbolic link, the link.

    Raises:
        OSError: it cannot be deleted.
    """
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def find_foreign(folder: Path) -> list[str]:
    """Return what a folder holds in addition to the files of its manifest, by relative path, sorted.

    Raises:
        ArtifactError: it has no manifest.
    """
    known = {MANIFEST, *read_manifest(folder, "not written by recsys")["files"]}
    paths = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return sorted(path for path in paths if path not in known)


def find_leftovers(root: Path, changed_before: float, without: Iterable[Path] = ()) -> list[Path]:
    """Return temporary files and folders of killed writers below a folder, sorted.

    A folder that was being exchanged is one only if its successor is in place: otherwise it is the only copy.

    Args:
        root: need not exist.
        changed_before: seconds since 1970; what was written later may still be written.
        without: folders that are not looked into.
    """
    found = []
    skipped = set(without)
    for folder, folders, files in os.walk(root) if not root.is_symlink() else ():
        for name in (*folders, *files):
            match, path = _TEMPORARY.fullmatch(name), Path(folder, name)
            if match is None or path.is_symlink():
                continue
            if match["suffix"] == "old" and not Path(folder, match["name"]).exists():
                continue
            if find_last_change(path) < changed_before:
                found.append(path)
        folders[:] = [name for name in folders if Path(folder, name) not in skipped and not _TEMPORARY.fullmatch(name)]
    return sorted(found)


def _walk(path: Path) -> Iterator[os.stat_result]:
    """Yield the state of each file below a path, links not followed; files that vanish meanwhile are left out."""
    if path.is_dir() and not path.is_symlink():
        for inner in path.iterdir():
            yield from _walk(inner)
        return
    try:
        yield path.lstat()
    except FileNotFoundError:
        return
