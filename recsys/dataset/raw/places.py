"""Local files only: a stand-in."""

from __future__ import annotations

import io
from functools import partial
from pathlib import Path
from typing import BinaryIO

from recsys.config import data_path
from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.errors import DataError

_FORMATS = {".jsonl": "json", ".json": "json", ".ndjson": "json", ".parquet": "parquet", ".xlsx": "excel"}


def local_source(path: Path) -> Source:
    """Return the source of a local file or of the folder of a Delta table."""
    if (path / "_delta_log").is_dir():
        return Source(path.name, "delta", io.BytesIO, io.BytesIO, place=str(path))
    opened: partial[BinaryIO] = partial(path.open, "rb")
    keys = dict(part.split("=", 1) for part in path.parts if "=" in part)
    return Source(path.name, _FORMATS.get(path.suffix, "csv"), opened, opened, path.stat().st_size, keys, str(path))


def find_sources(what: str, files: RawFiles) -> list[Source]:
    """Return the sources of a table, sorted."""
    path = data_path(files.path)
    paths = sorted(path.rglob("*.*")) if path.is_dir() and not (path / "_delta_log").is_dir() else [path]
    if not all(found.exists() for found in paths):
        raise DataError(f"{what} {path}: no such file")
    return [local_source(found) for found in paths if found.is_file() or found == path]
