"""A folder with a manifest: written completely or not at all, and checked against its hashes when it is read."""

from __future__ import annotations

import ctypes
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from recsys.errors import ArtifactError
from recsys.storage.access import copy_access
from recsys.storage.files import explain_disk_error, hash_file, read_json, sync, temporary_path, write_json

MANIFEST = "manifest.json"


def write_folder(
    target: Path,
    fill: Callable[[Path], Mapping[str, Any] | None],
    facts: Mapping[str, Any],
    finish: Callable[[Path], None] | None = None,
) -> dict[str, Any]:
    """Fill a temporary folder, add its manifest, and put it in place in one step.

    An existing folder is exchanged for the new one, so readers see the old files or the new ones, never a mixture.

    Args:
        target: the folder to write.
        fill: writes the files into the empty folder that it is given; may return further facts for the manifest.
        facts: for the manifest, in addition to the hashes of the files.
        finish: called with the complete folder before anybody sees it, such as to set its mode.

    Returns:
        The manifest.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written; an existing folder is unchanged.
    """
    staging = temporary_path(target)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        staging.mkdir()
        more_facts = fill(staging) or {}
        manifest = {**facts, **more_facts, "files": hash_files(staging)}
        write_json(staging / MANIFEST, manifest)
        if finish:
            finish(staging)
        _sync_tree(staging)
        swap_in(staging, target)
        sync(target.parent)
    except Exception as error:
        reason = explain_disk_error(error)
        if reason is None:
            raise
        raise ArtifactError(
            f"folder {target}: cannot be written ({reason}); free some space or choose another RECSYS_HOME, then run "
            "again; nothing was replaced"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def link_folder(source: Path, manifest: Mapping[str, Any], target: Path) -> None:
    """Put a copy of a complete folder in place in one step; the files are linked, so the copy needs no space.

    An existing target is exchanged for the copy.

    Args:
        source: stays as it is.
        manifest: of the source, from `verify_folder`.
        target: on the same file system.

    Raises:
        ArtifactError: the target cannot be written; an existing one is unchanged.
    """

    def link(folder: Path) -> None:
        for name in manifest["files"]:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            os.link(source / name, folder / name)

    write_folder(target, link, {name: value for name, value in manifest.items() if name != "files"})


def rewrite_files(folder: Path, changes: Mapping[str, Callable[[Path], object]]) -> None:
    """Replace some files of a complete folder in one step; the others are linked, and their hashes stay as they are.

    Who could read the folder and its files can still read them.

    Args:
        folder: with a manifest; its other files are not checked, so that no damage gets a new hash.
        changes: relative path -> writes the new file.

    Raises:
        ArtifactError: the folder has no manifest, or cannot be written; it is unchanged.
    """
    manifest, staging = read_manifest(folder, "write it again"), temporary_path(folder)
    try:
        staging.mkdir()
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            name = path.relative_to(folder).as_posix()
            (staging / name).parent.mkdir(parents=True, exist_ok=True)
            if name not in changes and name != MANIFEST:
                os.link(path, staging / name)
        for name, write in changes.items():
            write(staging / name)
            manifest["files"][name] = hash_file(staging / name)
        write_json(staging / MANIFEST, manifest)
        for path in (staging, *staging.rglob("*")):
            if (old := folder / path.relative_to(staging)).exists():
                copy_access(old, path)
        _sync_tree(staging)
        swap_in(staging, folder)
        sync(folder.parent)
    except OSError as error:
        raise ArtifactError(
            f"folder {folder}: cannot be written ({explain_disk_error(error)}); free some space, then run again; it is "
            "unchanged"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def remove_folder(folder: Path) -> None:
    """Delete a folder in one step: after a kill it is there as a whole, or left for `sweep`."""
    if folder.exists():
        doomed = temporary_path(folder)
        folder.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def read_manifest(folder: Path, next_step: str) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    try:
        content = read_json(folder / MANIFEST)
    except FileNotFoundError as error:
        raise ArtifactError(f"folder {folder}: no {MANIFEST}, so it is not complete; {next_step}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"folder {folder}: its {MANIFEST} cannot be read ({error}); {next_step}") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise ArtifactError(f"folder {folder}: its {MANIFEST} lists no files; not written by recsys; {next_step}")
    return content


def verify_folder(folder: Path, next_step: str) -> dict[str, Any]:
    """Read the manifest and check every file against its hash.

    Raises:
        ArtifactError: a file is missing, was changed or was added.
    """
    manifest = read_manifest(folder, next_step)
    expected: dict[str, str] = manifest["files"]
    actual = hash_files(folder)
    different = sorted(name for name in expected.keys() | actual.keys() if expected.get(name) != actual.get(name))
    if different:
        states = [
            f"{name} is {'missing' if name not in actual else 'new' if name not in expected else 'changed'}"
            for name in different
        ]
        raise ArtifactError(f"folder {folder}: differs from its {MANIFEST}: {'; '.join(states)}; {next_step}")
    return manifest


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder except the manifest, by relative path, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder) != Path(MANIFEST))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def sweep(parent: Path, prefix: str = "") -> None:
    """Delete temporary files and folders that killed writers left in a folder.

    Args:
        parent: need not exist.
        prefix: of the names that were being written; the caller holds the lock on all of these.
    """
    for path in parent.iterdir() if parent.is_dir() else ():
        if path.name.startswith(f".{prefix}") and path.name.endswith(".tmp"):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)


@contextmanager
def scratch_folder(home: Path, name: str) -> Iterator[Path]:
    """Give an empty folder in the home, deleted when the block ends; the caller holds the lock on its name."""
    sweep(home, f"{name}.")
    folder = temporary_path(home / name)
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap_in(staging: Path, target: Path) -> None:
    """Rename a folder; an existing target is exchanged in one step where the system can (Linux renameat2)."""
    if not target.exists():
        staging.rename(target)
        return
    exchange, at_cwd = 2, -100
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None and renameat2(at_cwd, bytes(staging), at_cwd, bytes(target), exchange) == 0:
        return
    # Not a name that `sweep` deletes: a kill between the two renames would lose both.
    old = temporary_path(target).with_suffix(".old")
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old)


def _sync_tree(folder: Path) -> None:
    """Flush a folder to the disk before it gets the name of a complete folder."""
    for path in (*folder.rglob("*"), folder):
        sync(path)
