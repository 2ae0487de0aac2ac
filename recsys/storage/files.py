"""Any folder or small file on disk: written whole or not at all, checked by hash, one writer at a time."""

from __future__ import annotations

import ctypes
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import dataframely as dy
import polars as pl

from recsys.errors import ArtifactError
from recsys.tables import check

MANIFEST = "manifest.json"


def write_folder(
    target: Path, fill: Callable[[Path], Mapping[str, Any] | None], facts: Mapping[str, Any]
) -> dict[str, Any]:
    """Fill a folder beside the target, add its manifest, then put it in place at once.

    A folder that is already there is exchanged for the new one; whoever reads sees the old or the new, never half.

    Args:
        target: the folder to appear.
        fill: writes the files into the empty folder it is given; may return further facts for the manifest.
        facts: what the manifest says besides the files' hashes.

    Returns:
        The manifest.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written; the target is as it was.
    """
    staging = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(staging, ignore_errors=True)
        staging.mkdir()
        found = fill(staging) or {}
        manifest = {**facts, **found, "files": hash_files(staging)}
        write_json(staging / MANIFEST, manifest)
        _flush(staging)
        swap_in(staging, target)
    except Exception as error:
        # A full disk as polars and safetensors put it; nothing that fills a folder reads parquet from it.
        if not isinstance(error, OSError) and "(os error" not in str(error) and not str(error).startswith("parquet: "):
            raise
        raise ArtifactError(
            f"folder {target}: cannot be written ({getattr(error, 'strerror', None) or error}); "
            "free some space or choose another RECSYS_HOME, then run again; nothing was replaced"
        ) from error
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    return manifest


def read_manifest(folder: Path, next_step: str) -> dict[str, Any]:
    """Read a folder's manifest.

    Raises:
        ArtifactError: there is none, or it cannot be read.
    """
    try:
        content: dict[str, Any] = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ArtifactError(f"folder {folder}: no {MANIFEST}, so it is not complete; {next_step}") from error
    except (OSError, ValueError) as error:
        raise ArtifactError(f"folder {folder}: its {MANIFEST} cannot be read ({error}); {next_step}") from error
    if not isinstance(content, dict) or not isinstance(content.get("files"), dict):
        raise ArtifactError(f"folder {folder}: its {MANIFEST} names no files, so it is not ours; {next_step}")
    return content


def verify_folder(folder: Path, next_step: str) -> dict[str, Any]:
    """Read the manifest and check every file against its hash.

    Raises:
        ArtifactError: a file is missing, changed or was added.
    """
    manifest = read_manifest(folder, next_step)
    found = hash_files(folder)
    expected: dict[str, str] = manifest["files"]
    wrong = sorted(name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name))
    if wrong:
        states = [
            f"{name} is {'missing' if name not in found else 'new' if name not in expected else 'changed'}"
            for name in wrong
        ]
        raise ArtifactError(f"folder {folder}: differs from its {MANIFEST}: {'; '.join(states)}; {next_step}")
    return manifest


def hash_files(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each file below a folder but the manifest, by relative path, sorted."""
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.relative_to(folder) != Path(MANIFEST))
    return {path.relative_to(folder).as_posix(): hash_file(path) for path in files}


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def write_json(path: Path, content: object) -> None:
    """Write JSON with sorted keys, so equal content gives equal bytes."""
    path.write_text(json.dumps(content, indent=2, ensure_ascii=False, sort_keys=True) + "\n", encoding="utf-8")


def replace_text(path: Path, text: str) -> None:
    """Write a small file under another name and put it in place at once.

    Raises:
        ArtifactError: it cannot be written; the old one is as it was.
    """
    staging = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with staging.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        staging.replace(path)
    except OSError as error:
        with suppress(OSError):
            staging.unlink()
        raise ArtifactError(
            f"file {path}: cannot be written ({error.strerror}); free some space or choose another RECSYS_HOME, "
            "then run again; it still says what it said"
        ) from error


def write_table(frame: pl.DataFrame, schema: type[dy.Schema], path: Path, what: str) -> None:
    """Check a table and write it as parquet; equal tables give equal bytes, however they lie in memory."""
    checked = check(schema, frame, what, "this is a fault of the stage that made it; please report it")
    # Row groups follow the pieces of a frame, and those may follow the number of threads.
    checked.rechunk().write_parquet(path)


def read_table(path: Path, schema: type[dy.Schema], what: str, next_step: str) -> pl.DataFrame:
    """Read a parquet table and check it.

    Raises:
        ArtifactError: the file is missing or is not readable parquet.
        DataError: it breaks its schema.
    """
    try:
        frame = pl.read_parquet(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{what}: no file {path}; {next_step}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{what}: {path} is not readable parquet ({error}); {next_step}") from error
    return check(schema, frame, what, next_step)


def _flush(folder: Path) -> None:
    """Push a folder to the disk before its name says that it is whole: a power cut may come right after."""
    for path in (*folder.rglob("*"), folder):
        descriptor = os.open(path, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def sweep(parent: Path, name: str) -> None:
    """Delete what killed writers left behind; the caller holds the lock, so nobody is at work there."""
    for left in parent.glob(f".{name}.*.tmp"):
        shutil.rmtree(left, ignore_errors=True)


@contextmanager
def scratch_folder(home: Path, name: str) -> Iterator[Path]:
    """Give an empty folder of the home that is gone when the block ends; the caller holds a lock for the name."""
    sweep(home, name)
    folder = home / f".{name}.{os.getpid()}.tmp"
    folder.mkdir()
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def swap_in(staging: Path, target: Path) -> None:
    """Put a folder in place; an old one is exchanged in one step where the system can (Linux renameat2)."""
    if not target.exists():
        staging.rename(target)
        return
    exchange, at_cwd = 2, -100
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None and renameat2(at_cwd, bytes(staging), at_cwd, bytes(target), exchange) == 0:
        return
    old = target.with_name(f".{target.name}.{os.getpid()}.old")
    target.rename(old)
    staging.rename(target)
    shutil.rmtree(old)


@contextmanager
def lock(home: Path, name: str) -> Iterator[None]:
    """Hold a lock of this home while the block runs; the system frees it when the process ends, however it ends.

    Raises:
        ArtifactError: another process holds it, or the home cannot be written.
    """
    path = home / f".{name}.lock"
    try:
        home.mkdir(parents=True, exist_ok=True)
        opened = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise ArtifactError(
            f"home {home}: cannot be written ({error.strerror}); mend it or choose another RECSYS_HOME"
        ) from error
    with opened as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ArtifactError(
                f"{name} in {home}: another process is at it (lock {path}); wait for it to end, then run again"
            ) from error
        yield
