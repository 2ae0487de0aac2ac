"""One file: read by its exact path, written completely or not at all, identified by its hash.

polars takes a path for a pattern unless it is forbidden to: brackets, stars and question marks in the name of a folder
would match a neighbour's files or none. Every table that recsys wrote is therefore read through this module.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any
from uuid import uuid4

import dataframely as dy
import polars as pl
import pyarrow.parquet as pq

from recsys.errors import ArtifactError, RecsysError
from recsys.tables import check, empty

# Rows of a group of a table that is written in blocks.
_GROUP_ROWS = 500_000
# The longest name that a file may have.
_NAME_LENGTH = 255
_FREE_SPACE = "free some space or choose another RECSYS_HOME, then run again"


@contextmanager
def replace_file(path: Path, next_step: str = _FREE_SPACE) -> Iterator[Path]:
    """Give a temporary sibling of a path to write to, and rename it to the path when the block ends.

    The content is on the disk before it has its name, so a reader, and a machine that loses power, has the old file or
    the new one. Several processes may replace the same file; the last one wins.

    Args:
        path: the file to write; missing parent folders are created.
        next_step: what a person can do where it cannot be written.

    Raises:
        ArtifactError: the disk is full or the folder cannot be written; the existing file is unchanged.
        Exception: what the block raised; the existing file is unchanged.
    """
    staging = temporary_path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield staging
        sync(staging)
        staging.replace(path)
        sync(path.parent)
    except Exception as error:
        reason = explain_disk_error(error)
        if reason is None:
            raise
        raise ArtifactError(
            f"file {path}: cannot be written ({reason}); {next_step}; the existing file is unchanged"
        ) from error
    finally:
        with suppress(OSError):
            staging.unlink(missing_ok=True)


def replace_text(path: Path, text: str) -> None:
    """Replace a small text file in one step.

    Raises:
        ArtifactError: it cannot be written; the existing file is unchanged.
    """
    with replace_file(path) as staging:
        staging.write_text(text, encoding="utf-8")


def read_name(path: Path, next_step: str) -> str | None:
    """Read a small file that names one file or folder next to it, such as a pointer; None where there is no such file.

    Raises:
        ArtifactError: it cannot be read, or holds anything but one name.
    """
    try:
        name = path.read_text(encoding="utf-8").strip()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ArtifactError(f"file {path}: cannot be read ({error.strerror}); {next_step}") from error
    except UnicodeDecodeError as error:
        raise ArtifactError(f"file {path}: is not UTF-8 text; not written by recsys; {next_step}") from error
    if not name or len(name) > _NAME_LENGTH or "/" in name or not name.isprintable() or name in (".", ".."):
        found = f"contains '{name[:30]}'" if name.isprintable() and name else "contains no name" if name else "is empty"
        raise ArtifactError(f"file {path}: {found}, expected a single name; {next_step}")
    return name


def temporary_path(path: Path) -> Path:
    """Return a new path in the same folder, and so on the same file system; `folders.sweep` finds it after a kill."""
    # Not the process id: processes in two containers may share a number.
    return path.with_name(f".{path.name}.{uuid4().hex}.tmp")


def sync(path: Path) -> None:
    """Push a file's content, or a folder's names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def explain_disk_error(error: Exception) -> str | None:
    """Return why the disk could not be written; None where the error is of another kind."""
    if isinstance(error, RecsysError):
        return None
    if isinstance(error, OSError):
        return error.strerror or str(error)
    # What polars and safetensors raise on a full disk.
    return str(error) if "(os error" in str(error) or str(error).startswith("parquet: ") else None


def hash_file(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def hash_text(text: str) -> str:
    """Return the SHA-256 of a text in UTF-8, hexadecimal."""
    return hashlib.sha256(text.encode()).hexdigest()


def encode_json(content: object, *, sort_keys: bool = True) -> str:
    """Return indented JSON that ends in a line break; with sorted keys, equal content gives equal text."""
    return json.dumps(content, indent=2, ensure_ascii=False, sort_keys=sort_keys) + "\n"


def write_json(path: Path, content: object, *, sort_keys: bool = True) -> None:
    """Write JSON into a folder that is itself put in place in one step; elsewhere use `replace_text`."""
    path.write_text(encode_json(content, sort_keys=sort_keys), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: it cannot be read.
        ValueError: it is not JSON in UTF-8.
    """
    return json.loads(path.read_text(encoding="utf-8"))


def read_parquet(path: Path, columns: Sequence[str] | None = None) -> pl.DataFrame:
    """Read a parquet file, all columns unless some are named."""
    return pl.read_parquet(path, columns=None if columns is None else list(columns), glob=False)


def scan_parquet(paths: Path | Sequence[Path]) -> pl.LazyFrame:
    """Return the rows of parquet files, one file after the other, not read yet."""
    return pl.scan_parquet(paths if isinstance(paths, Path) else list(paths), glob=False)


def read_csv(path: Path) -> pl.DataFrame:
    """Read a CSV file with a header, every column as strings."""
    return pl.read_csv(path, infer_schema=False, glob=False)


def write_table(frame: pl.DataFrame, schema: type[dy.Schema], path: Path, what: str) -> None:
    """Check a table and write it as parquet; equal tables give equal bytes, whatever their chunks in memory.

    Raises:
        DataError: the table breaks its schema; `what` names it in the message.
    """
    checked = check(schema, frame, what, "internal error in the stage that wrote it; please report it")
    # Row groups follow a frame's chunks, and those may follow the number of threads.
    checked.rechunk().write_parquet(path)


def write_blocks(blocks: Iterable[pl.DataFrame], schema: type[dy.Schema], path: Path, what: str) -> int:
    """Check a long table block by block and write it as parquet; equal rows give equal bytes, whatever the blocks.

    Args:
        blocks: consecutive rows of the table.
        schema: the table's class.
        path: the file to write.
        what: names the table in messages.

    Returns:
        The number of rows.

    Raises:
        DataError: a block breaks the schema, or what making the blocks raised.
    """
    rows, waiting = 0, empty(schema)
    arrow = waiting.to_arrow(compat_level=pl.CompatLevel.oldest()).schema
    with pq.ParquetWriter(path, arrow, compression="zstd") as writer:
        for block in blocks:
            checked = check(schema, block, what, "internal error in the stage that wrote it; please report it")
            rows += checked.height
            waiting = pl.concat([waiting, checked.select(waiting.columns)])
            while waiting.height >= _GROUP_ROWS:
                _write_group(writer, waiting[:_GROUP_ROWS])
                waiting = waiting[_GROUP_ROWS:]
        if waiting.height or not rows:
            _write_group(writer, waiting)
    return rows


def _write_group(writer: pq.ParquetWriter, rows: pl.DataFrame) -> None:
    writer.write_table(rows.to_arrow(compat_level=pl.CompatLevel.oldest()), row_group_size=_GROUP_ROWS)


def read_table(path: Path, schema: type[dy.Schema], what: str, next_step: str) -> pl.DataFrame:
    """Read a parquet table and check it.

    Raises:
        ArtifactError: the file is missing or is not readable parquet.
        DataError: it breaks its schema.
    """
    try:
        frame = read_parquet(path)
    except FileNotFoundError as error:
        raise ArtifactError(f"{what}: no file {path}; {next_step}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        raise ArtifactError(f"{what}: {path} is not readable parquet ({error}); {next_step}") from error
    return check(schema, frame, what, next_step)


def sqlite_url(path: Path) -> str:
    """Return the SQLAlchemy URL of an SQLite file, whatever its path contains."""
    # A question mark would end the path, and optuna formats the URL.
    escaped = re.sub("[%?{}]", lambda match: f"%{ord(match[0]):02X}", str(path))
    # mlflow creates the folder that it reads behind "sqlite:///", escapes included; it leaves other schemes alone.
    return f"{'sqlite' if escaped == str(path) else 'sqlite+pysqlite'}:///{escaped}"
