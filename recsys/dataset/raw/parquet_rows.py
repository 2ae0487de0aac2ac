"""Parquet -> blocks of rows."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.blocks import RawBlock, row_numbers
from recsys.dataset.raw.containers import check_expansion
from recsys.dataset.raw.structs import as_json, reach, to_frame, top_columns
from recsys.errors import DataError

_BLOCK_ROWS = 250_000


def read_parquet(what: str, source: Source, names: Sequence[str]) -> Iterator[RawBlock]:
    """Yield the rows of Parquet with the types of the file.

    Args:
        what: the table's name for messages, such as `items`.
        source: of the file.
        names: columns; a dot reaches into structs unless a column of exactly that name exists.

    Raises:
        DataError: the file is not whole, or a column is missing.
    """
    whole = _WholeRows(source)
    with (
        _finishing(whole),
        parquet_errors(source),
        source.open_seekable() as stream,
        pq.ParquetFile(stream) as file,
    ):
        stored = _measure(stream)
        _check_declared(source, stored, file)
        tops = top_columns(what, source.name, file.schema_arrow, names)
        first_row = 1
        # Without columns, batches would have no rows.
        for frame in _read_frames(source, stored, file, tops or file.schema_arrow.names[:1]):
            if frame.height:
                columns = reach(what, source.name, frame, names)
                numbers = partial(row_numbers, first_row)
                yield RawBlock(columns, first_row, numbers, partial(whole.content, first_row))
                first_row += frame.height


def _measure(stream: BinaryIO) -> int:
    """Return the length of a file."""
    position = stream.tell()
    length = stream.seek(0, io.SEEK_END)
    stream.seek(position)
    return length


def _check_declared(source: Source, stored: int, file: pq.ParquetFile) -> None:
    """Raise if the pages of a file declare far more bytes than it has."""
    groups = (file.metadata.row_group(number) for number in range(file.num_row_groups))
    check_expansion(source.name, sum(group.total_byte_size for group in groups), lambda: stored, source.limit)


def _read_frames(source: Source, stored: int, file: pq.ParquetFile, columns: list[str]) -> Iterator[pl.DataFrame]:
    vectors = [name for name in columns if _is_vector(file.schema_arrow.field(name))]
    others = [name for name in columns if name not in vectors]
    start = content = 0
    # Without columns, batches have the number of their rows only.
    for batch in file.iter_batches(_BLOCK_ROWS, columns=others):
        frame = to_frame(batch) if others else pl.DataFrame()
        if vectors:
            # Opened again for each part, but such columns are rarely read.
            with source.open_seekable() as stream:
                part = pl.scan_parquet(stream).select(vectors).slice(start, batch.num_rows).collect()
            frame = pl.concat([frame, pl.DataFrame(part)], how="horizontal") if others else pl.DataFrame(part)
        start += batch.num_rows
        content += int(frame.estimated_size())
        check_expansion(source.name, content, lambda: stored, source.limit)
        yield frame


def _is_vector(field: pa.Field) -> bool:
    """Return whether a column holds vectors: pyarrow cannot read them if some are null."""
    return bool(pa.types.is_fixed_size_list(field.type))


@contextmanager
def _finishing(whole: _WholeRows) -> Iterator[None]:
    try:
        yield
    finally:
        whole.finish()


@contextmanager
def parquet_errors(source: Source) -> Iterator[None]:
    """Raise `DataError` where the content is damaged or truncated Parquet."""
    try:
        yield
    except (pa.ArrowException, OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{source.name}: is damaged or truncated Parquet ({reason}); copy or write it again") from error


class _WholeRows:
    """Whole rows of a file, read on demand; cheapest if asked for in their order.

    Rows may be asked for while another thread, which reads ahead, comes to the end of the file.
    """

    def __init__(self, source: Source) -> None:
        self._source = source
        self._lock = Lock()
        self._keep_open = True
        self._forget()

    def _forget(self) -> None:
        self._stream: BinaryIO | None = None
        self._batches: Iterator[pl.DataFrame] = iter(())
        self._start = self._end = 0
        self._rows = pl.DataFrame()

    def content(self, first_row: int, chosen: pl.Series) -> list[str]:
        """Return rows as JSON: those with some indexes from a first row on, all in one batch."""
        if not len(chosen):
            return []
        with self._lock, parquet_errors(self._source):
            if self._stream is None or first_row < self._start:
                self._open()
            while first_row >= self._end:
                self._rows = next(self._batches)
                self._start, self._end = self._end, self._end + self._rows.height
            texts = as_json(self._rows[chosen + (first_row - self._start)])
            if not self._keep_open:
                self._close()
        return texts

    def _open(self) -> None:
        self._close()
        self._stream = self._source.open_seekable()
        file = pq.ParquetFile(self._stream)
        columns = [field.name for field in file.schema_arrow if not _is_vector(field)]
        batches = file.iter_batches(_BLOCK_ROWS, columns=columns)
        self._batches = (to_frame(batch) for batch in batches if batch.num_rows)
        self._start = self._end = 1

    def _close(self) -> None:
        if self._stream is not None:
            self._stream.close()
        self._forget()

    def finish(self) -> None:
        """Close the file, now and after each later request."""
        with self._lock:
            self._keep_open = False
            self._close()
