"""A Delta table -> blocks of rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import partial

import polars as pl
import pyarrow as pa

from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.blocks import RawBlock, row_numbers
from recsys.dataset.raw.structs import as_json, reach, to_frame, top_columns
from recsys.errors import DataError
from recsys.extras import needs_extra

_BLOCK_ROWS = 250_000


def read_delta(what: str, source: Source, names: Sequence[str]) -> Iterator[RawBlock]:
    """Yield the rows of the newest version of a Delta table, without deleted ones; partitions are columns.

    Args:
        what: the table's name for messages, such as `items`.
        source: with the place of the table.
        names: columns; a dot reaches into structs unless a column of exactly that name exists.

    Raises:
        DataError: the table cannot be read, a column is missing, or the extra `delta` is not installed.
    """
    schema, batches = open_delta(source)
    tops = top_columns(what, source.name, schema, names)
    first_row = 1
    try:
        for batch in batches:
            for start in range(0, batch.num_rows, _BLOCK_ROWS):
                part = batch.slice(start, _BLOCK_ROWS)
                columns = reach(what, source.name, to_frame(part.select(tops or part.schema.names[:1])), names)
                locate = partial(row_numbers, first_row)
                yield RawBlock(columns, first_row, locate, partial(_content, part))
                first_row += part.num_rows
    except (pa.ArrowException, OSError) as error:
        raise _unreadable(source, error) from error


def _content(batch: pa.RecordBatch, chosen: pl.Series) -> list[str]:
    return as_json(to_frame(batch)[chosen])


def open_delta(source: Source) -> tuple[pa.Schema, Iterable[pa.RecordBatch]]:
    """Return the columns and the record batches of a Delta table.

    Raises:
        DataError: the table cannot be read, or the extra `delta` is not installed.
    """
    with needs_extra("delta", f"{source.name} (a Delta table)", DataError):
        from deltalake import DeltaTable
        from deltalake.exceptions import DeltaError, DeltaProtocolError
    try:
        table = DeltaTable(source.place)
        try:
            # In the order of the files; `scan` gives none.
            dataset = table.to_pyarrow_dataset()
            return dataset.schema, dataset.to_batches(batch_size=_BLOCK_ROWS, batch_readahead=2, fragment_readahead=1)
        except DeltaProtocolError:  # deletion vectors or renamed columns
            reader = pa.RecordBatchReader.from_stream(table.scan())
            return reader.schema, reader
    except (DeltaError, OSError, ValueError) as error:
        raise _unreadable(source, error) from error


def _unreadable(source: Source, error: Exception) -> DataError:
    reason = str(error).splitlines()[0] if str(error) else type(error).__name__
    return DataError(f"{source.name}: cannot be read as a Delta table ({reason}); check the table and its permissions")
