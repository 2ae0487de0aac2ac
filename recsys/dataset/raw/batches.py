"""What reading raw files gives: sources of bytes, and batches of rows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

import polars as pl

from recsys.dataset.raw.containers import GIGABYTE


@dataclass(frozen=True)
class Source:
    """A raw file, a member of an archive, an object in a store, or the result of a query.

    Attributes:
        name: for messages and for `Rejected.file`: the path relative to the raw-data folder where it is inside, the
            address without credentials, `orders.zip/orders.csv` for a member.
        format: what its name or its first bytes say: `csv`, `json`, `parquet`, `excel` or `delta`.
        open: returns the content from the start as a stream of decompressed bytes; the caller closes it. Raises
            `DataError`, on opening or while the stream is read, for an unreadable or damaged file.
        open_seekable: returns the content as a file that can seek, for Parquet and workbooks.
        size: bytes as stored, before decompression; None where unknown.
        partitions: values of the `key=value` folders on its path; None: the partition of missing values.
        place: path of an uncompressed file on this machine, or the path or address of a Delta table; `` for all
            other sources.
        limit: bytes that its content may expand to at any ratio.
    """

    name: str
    format: str
    open: Callable[[], BinaryIO]
    open_seekable: Callable[[], BinaryIO]
    size: int | None = None
    partitions: Mapping[str, str | None] = field(default_factory=dict)
    place: str = ""
    limit: int = GIGABYTE


@dataclass(frozen=True)
class RawBatch:
    """Consecutive rows of one source, as written; at most about 500,000 rows or 64 MB.

    Attributes:
        values: a column per requested field: String, List(String), or Datetime (microseconds; UTC, or no zone where
            the file has none).
        file: name of the source.
        rows: (n) UInt64, the number of each row in its source, 1 the first row of data; several rows that were
            unfolded from one cell have the same number.
        locate: returns the lines, from 1 as an editor counts, of the rows with the given ascending indexes into this
            batch; for forms without lines (Parquet, a database) the row numbers.
        content: returns the whole raw rows with the given ascending indexes as JSON.
        skipped: rows that `keep_rows` left out just before or inside this batch.
        unit: what `locate` counts, `line` or, for forms without lines, `row`.
    """

    values: pl.DataFrame
    file: str
    rows: pl.Series
    locate: Callable[[pl.Series], list[int]]
    content: Callable[[pl.Series], list[str]]
    skipped: int = 0
    unit: str = "line"
