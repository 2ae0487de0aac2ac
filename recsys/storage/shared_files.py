"""Equal files stored once: in one of two folders that belong together, or as hard links on one file system.

A folder's manifest lists all its files with their hashes. Those under `shared` are stored in its sibling alone, under
the same names.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from recsys.errors import ArtifactError
from recsys.storage.files import encode_json, hash_file, replace_text, temporary_path
from recsys.storage.folders import MANIFEST, read_manifest

_SHARED = "shared"
# A hard link for a smaller file would save nothing.
_LINKED_BYTES = 64_000


def share_files(folder: Path, sibling: Path) -> None:
    """Delete the files of a folder that its sibling has byte for byte under the same names, and record them.

    Args:
        folder: with a manifest; nobody reads it yet.
        sibling: with a manifest; always read together with the folder.

    Raises:
        ArtifactError: a manifest is missing.
    """
    manifest = read_manifest(folder, "write it again")
    theirs = read_manifest(sibling, "write it again")["files"]
    shared = sorted(name for name, digest in manifest["files"].items() if theirs.get(name) == digest)
    replace_text(folder / MANIFEST, encode_json({**manifest, _SHARED: shared}))
    for name in shared:
        (folder / name).unlink()
    for inner in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
        if not any(inner.iterdir()):
            inner.rmdir()


@contextmanager
def open_whole(folder: Path, sibling: Path) -> Iterator[Path]:
    """Give a folder with all its files; it is deleted when the block ends where it had to be put together.

    Args:
        folder: where its manifest names no shared files, it is given as it is.
        sibling: has the shared files. They are not checked here.

    Raises:
        ArtifactError: the manifest names a file outside the sibling.
    """
    try:
        shared = read_manifest(folder, "").get(_SHARED)
    except ArtifactError:
        shared = None
    if not shared:
        yield folder
        return
    for name in shared:
        if not isinstance(name, str) or PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
            raise ArtifactError(f"folder {folder}: its {MANIFEST} shares {name!r}, which is not a file in {sibling}")
    with tempfile.TemporaryDirectory(prefix="recsys-") as scratch:
        whole = Path(scratch, folder.name)
        own = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
        for source, names in ((folder, own), (sibling, [name for name in shared if name not in own])):
            for name in names:
                (whole / name).parent.mkdir(parents=True, exist_ok=True)
                (whole / name).symlink_to((source / name).resolve())
        yield whole


def link_equal_files(folder: Path, known: Mapping[str, Path], staging: Path) -> int:
    """Replace large files of a folder by hard links to equal files, and return the bytes that this saves.

    A file is replaced in one step, and only by one that has the hash of the manifest now. Nobody may write into the
    files of either folder afterwards. Files that cannot be linked, such as on another file system, stay.

    Args:
        folder: with a manifest.
        known: SHA-256 -> file with that content.
        staging: a folder of the same file system for the moment in between.

    Raises:
        ArtifactError: the folder has no manifest.
    """
    saved = 0
    for name, digest in read_manifest(folder, "")["files"].items():
        path, other = folder / name, known.get(digest)
        if other is None or not path.is_file() or path.stat().st_size < _LINKED_BYTES:
            continue
        if path.samefile(other) or hash_file(other) != digest:
            continue
        link = temporary_path(staging / path.name)
        try:
            os.link(other, link)
        except OSError:
            continue
        saved += path.stat().st_size
        link.replace(path)
    return saved
