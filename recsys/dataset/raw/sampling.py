"""A few rows from the head, the middle and the end of a source, with all its columns."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice

import polars as pl
import pyarrow.parquet as pq

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.columns import as_plain
from recsys.dataset.raw.delimited import Fields, read_head
from recsys.dataset.raw.delta_table import open_delta
from recsys.dataset.raw.dialect import Dialect, detect_dialect
from recsys.dataset.raw.encoding import Utf8Reader
from recsys.dataset.raw.json_rows import read_objects
from recsys.dataset.raw.json_values import decode_each, flatten_keys, try_load
from recsys.dataset.raw.parquet_rows import parquet_errors
from recsys.dataset.raw.structs import to_frame
from recsys.dataset.raw.workbook import read_workbook
from recsys.errors import DataError

# For messages: settings of this table are named there.
_WHAT = "interactions"
_HEAD_BYTES = 1 << 21
_PIECE_BYTES = 1 << 19
# Lines of a piece at which a record is looked for.
_STARTS = 8
# In other encodings a piece may start inside a character.
_ENCODINGS = ("utf-8", "utf-8-sig", "windows-1252", "latin-1")


@dataclass(frozen=True)
class Sample:
    """Rows of a source.

    Attributes:
        frame: all raw columns as String, List(String) or Datetime; the fields of objects have names with dots, and
            lists of objects are JSON text. Folders `key=value` are columns.
        dialect: how text with separators is written; None for other formats.
        rows_estimate: rows of the source, as far as its size or its metadata tell.
        format: `csv`, `json`, `parquet`, `excel` or `delta`.
    """

    frame: pl.DataFrame
    dialect: Dialect | None
    rows_estimate: int | None
    format: str


def read_sample(source: Source, files: RawFiles, rows: int) -> Sample:
    """Return about `rows` rows: half from the head, the others from the middle and the end where the source can seek.

    At most some megabytes are read. Compressed text is read at its head only.

    Raises:
        DataError: the source cannot be read.
    """
    kind = (source.format if files.format == "auto" else files.format) or "csv"
    if kind == "parquet":
        sample = _sample_parquet(source, rows)
    elif kind == "json":
        sample = _sample_json(source, files, rows)
    elif kind == "excel":
        sample = _sample_workbook(source, files, rows)
    elif kind == "delta":
        sample = _sample_delta(source, rows)
    else:
        sample = _sample_delimited(source, files, rows)
    folders = [pl.lit(value, dtype=pl.String).alias(name) for name, value in source.partitions.items()]
    return replace(sample, frame=sample.frame.with_columns(folders))


def _sample_delimited(source: Source, files: RawFiles, rows: int) -> Sample:
    with source.open() as stream:
        head = read_head(stream, _HEAD_BYTES)
        dialect = detect_dialect(_WHAT, source.name, head, files)
        fixed = files.model_copy(update={"encoding": dialect.encoding})
        text = Utf8Reader(_WHAT, source.name, stream, head, dialect.encoding, fixed=files.encoding is not None)
        whole = source.size is not None and source.size <= len(head)
        frame, read = _read_fields(source, files, dialect, text, None if whole else rows)
    parts = [_spread(frame, rows) if whole else frame.head(rows // 2)]
    estimate = None
    if whole and _is_plain(source):
        estimate = frame.height
    elif _is_plain(source) and source.size and read:
        estimate = round(frame.height * source.size / read)
    if not whole and _is_plain(source) and dialect.encoding in _ENCODINGS and source.size:
        style = fixed.model_copy(update={"quote": dialect.quote, "escape": dialect.escape})
        below = replace(dialect, header=False, skipped_lines=0, encoding=dialect.encoding.removesuffix("-sig"))
        starts = (source.size // 2, source.size - _PIECE_BYTES)
        parts += [_read_from(source, style, below, start, rows).tail(rows // 4) for start in starts]
    return Sample(pl.concat(parts), dialect, estimate, "csv")


def _read_from(source: Source, files: RawFiles, dialect: Dialect, start: int, rows: int) -> pl.DataFrame:
    """Return rows from a byte on; the first lines there may be the rest of a quoted field."""
    with source.open_seekable() as stream:
        for attempt in range(_STARTS):
            stream.seek(start)
            piece = read_head(stream, _PIECE_BYTES)
            for _ in range(attempt + 1):
                piece = piece.partition(b"\n")[2]
            text = Utf8Reader(_WHAT, source.name, stream, piece, dialect.encoding, fixed=True)
            try:
                return _read_fields(source, files, dialect, text, rows)[0]
            except DataError:
                continue
    return pl.DataFrame(schema=dict.fromkeys(dialect.names, pl.String))


def _read_fields(
    source: Source, files: RawFiles, dialect: Dialect, text: Utf8Reader, rows: int | None
) -> tuple[pl.DataFrame, int]:
    """Return at least `rows` rows (None: all), if there are as many, and the bytes they take."""
    fields = Fields(_WHAT, source.name, files, dialect, None, block_bytes=_PIECE_BYTES)
    parts: list[pl.DataFrame] = []
    for block in fields.blocks(text):
        parts.append(block.columns)
        if rows is not None and sum(part.height for part in parts) >= rows:
            break
    empty = pl.DataFrame(schema=dict.fromkeys(dialect.names, pl.String))
    return pl.concat(parts) if parts else empty, fields.bytes_read


def _is_plain(source: Source) -> bool:
    """Return whether the source is a file on this machine that is not compressed."""
    return bool(source.place)


def _lines_of_pieces(source: Source, size: int) -> Iterator[list[str]]:
    """Yield the lines of the middle and of the end; the first and last may be cut."""
    with source.open_seekable() as stream:
        for start in (size // 2, size - _PIECE_BYTES):
            stream.seek(start)
            yield read_head(stream, _PIECE_BYTES).decode(errors="replace").split("\n")


def _sample_json(source: Source, files: RawFiles, rows: int) -> Sample:
    texts: list[str] = []
    small = source.size is not None and source.size <= _HEAD_BYTES and _is_plain(source)
    ended = True
    for lines, _ in read_objects(_WHAT, source, files, block_bytes=_PIECE_BYTES):
        texts += lines.to_list()
        if len(texts) >= rows and not small:
            ended = False
            break
    estimate = len(texts) if ended else None
    chosen = pl.Series(texts, dtype=pl.String).to_frame("text")
    chosen = _spread(chosen, rows) if ended else chosen.head(max(1, rows // 2))
    head = chosen["text"].to_list()
    if not ended and _is_plain(source) and source.size:
        estimate = round(source.size / (sum(len(text.encode()) + 1 for text in texts) / len(texts)))
        for lines_there in _lines_of_pieces(source, source.size):
            head += lines_there[1:][-max(2, rows // 4) :]
    records = [record for record in map(try_load, head) if record is not None]
    keys = dict.fromkeys(key for record in records for key in flatten_keys(record))
    return Sample(decode_each(records, {key: key for key in keys}), None, estimate, "json")


def _sample_parquet(source: Source, rows: int) -> Sample:
    with parquet_errors(source), source.open_seekable() as stream, pq.ParquetFile(stream) as file:
        groups = sorted({0, file.num_row_groups // 2, max(0, file.num_row_groups - 1)}) if file.num_row_groups else []
        each = max(1, rows // max(1, len(groups)))
        batches = [batch for group in groups for batch in islice(file.iter_batches(each, row_groups=[group]), 1)]
        frames = [to_frame(batch) for batch in batches] or [to_frame(file.schema_arrow.empty_table())]
        return Sample(_flatten(pl.concat(frames), source.name), None, file.metadata.num_rows, "parquet")


def _sample_workbook(source: Source, files: RawFiles, rows: int) -> Sample:
    frame = pl.concat([block.columns for block in read_workbook(_WHAT, source, files, None)])
    return Sample(_spread(frame, rows), None, frame.height, "excel")


def _spread(frame: pl.DataFrame, rows: int) -> pl.DataFrame:
    """Return `rows` rows: half from the head, the others at equal distances down to the end."""
    head = rows // 2
    if frame.height <= rows:
        return frame
    rest = rows - head
    below = frame.height - head
    chosen = [head + (index + 1) * below // rest - 1 for index in range(rest)]
    return frame[[*range(head), *chosen]]


def _sample_delta(source: Source, rows: int) -> Sample:
    _, batches = open_delta(source)
    parts: list[pl.DataFrame] = []
    for batch in batches:
        parts.append(to_frame(batch.slice(0, rows)))
        if sum(part.height for part in parts) >= rows:
            break
    return Sample(_flatten(pl.concat(parts).head(rows), source.name), None, None, "delta")


def _flatten(frame: pl.DataFrame, name: str) -> pl.DataFrame:
    """Return a frame in which each field of a struct is a column, and lists of structs or lists are JSON text."""
    while nested := [column for column, dtype in frame.schema.items() if isinstance(dtype, pl.Struct)]:
        frame = frame.unnest(nested, separator=".")
    columns = []
    for column in frame.iter_columns():
        inner = column.dtype.inner if isinstance(column.dtype, pl.List | pl.Array) else column.dtype
        if isinstance(inner, pl.Struct | pl.List | pl.Array):
            texts = [
                None if cell is None else json.dumps(cell, default=str, ensure_ascii=False) for cell in column.to_list()
            ]
            columns.append(pl.Series(column.name, texts, dtype=pl.String))
        else:
            columns.append(as_plain(_WHAT, name, column.name, column).alias(column.name))
    return pl.DataFrame(columns)
