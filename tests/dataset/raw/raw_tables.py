"""Reads small files through `read_batches`, for the tests of the formats."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.reading import read_batches
from recsys.errors import DataError

COLUMNS = {"id": "id", "name": "name"}


@dataclass(frozen=True)
class Table:
    """All batches of a read: values as rows, and per row its file, number, line and whole content."""

    values: list[tuple[Any, ...]]
    files: list[str]
    rows: list[int]
    lines: list[int]
    content: list[dict[str, Any]]
    skipped: int
    frames: list[pl.DataFrame]


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def read(
    path: Path, columns: Mapping[str, Any] | None = None, *, limit: int | None = None, what: str = "items", **form: Any
) -> Table:
    batches = list(read_batches(what, RawFiles(path=str(path), **form), columns or COLUMNS, limit=limit))
    every = [pl.Series(range(batch.values.height), dtype=pl.UInt32) for batch in batches]
    return Table(
        values=[row for batch in batches for row in batch.values.rows()],
        files=[batch.file for batch in batches for _ in range(batch.values.height)],
        rows=[row for batch in batches for row in batch.rows],
        lines=[line for batch, chosen in zip(batches, every, strict=True) for line in batch.locate(chosen)],
        content=[
            json.loads(text) for batch, chosen in zip(batches, every, strict=True) for text in batch.content(chosen)
        ],
        skipped=sum(batch.skipped for batch in batches),
        frames=[batch.values for batch in batches],
    )


def failure(path: Path, columns: Mapping[str, Any] | None = None, **form: Any) -> str:
    with pytest.raises(DataError) as caught:
        read(path, columns, **form)
    message = str(caught.value)
    assert "\n" not in message
    return message
