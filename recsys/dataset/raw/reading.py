"""Raw files of any usual form -> batches of rows."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

import polars as pl

from recsys.config import data_path
from recsys.config.raw_files import Column, RawFiles
from recsys.dataset.raw.batches import RawBatch
from recsys.dataset.raw_files import find_files
from recsys.dataset.reading import RawTable, read_table


def read_batches(
    what: str, files: RawFiles, columns: Mapping[str, Column | tuple[Column, ...]], *, limit: int | None = None
) -> Iterator[RawBatch]:
    """Yield the rows of a table's files, a batch per file."""
    found, kind = find_files(what, data_path(files.path))
    names = {field: name if isinstance(name, str) else name[0] for field, name in columns.items()}
    for file in found:
        table = read_table(what, file, names)
        yield _batch(table, file, kind, limit)


def _batch(table: RawTable, file: Path, kind: str, limit: int | None) -> RawBatch:
    rows = table.locations["row"]
    offset = 1 if kind in ("CSV", "TSV") else 0
    return RawBatch(
        values=table.values.head(limit) if limit else table.values,
        file=table.locations["file"][0],
        rows=rows.head(limit) if limit else rows,
        locate=lambda chosen: (rows.gather(chosen) + offset).to_list(),
        content=table.content,
    )


def read_all(what: str, files: RawFiles, columns: Mapping[str, Column | tuple[Column, ...]]) -> pl.DataFrame:
    """Return the values of all batches, for small files."""
    return pl.concat(batch.values for batch in read_batches(what, files, columns))
