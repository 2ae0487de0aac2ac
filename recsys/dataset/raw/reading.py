"""Raw files of any usual form -> batches of rows with the fields that the config names.

Values are not checked here: a file is read, or a `DataError` names the file, the line or the column that cannot be.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import PurePosixPath

import polars as pl

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import RawBatch, Source
from recsys.dataset.raw.blocks import RawBlock
from recsys.dataset.raw.columns import MissingColumnError, as_text, names_of, pick_columns
from recsys.dataset.raw.delimited import read_delimited
from recsys.dataset.raw.delta_table import read_delta
from recsys.dataset.raw.json_rows import KeyCheck, read_json
from recsys.dataset.raw.parquet_rows import read_parquet
from recsys.dataset.raw.places import find_sources
from recsys.dataset.raw.setting_names import name_setting
from recsys.dataset.raw.shaping import ORIGIN, Shaper
from recsys.dataset.raw.workbook import read_workbook
from recsys.errors import DataError
from recsys.progress import format_count

Columns = Mapping[str, str | tuple[str, ...]]

_BATCH_ROWS = 500_000
# Files that a message names.
_SHOWN = 5
_WITH_LINES = ("csv", "json")


def read_batches(what: str, files: RawFiles, columns: Columns, *, limit: int | None = None) -> Iterator[RawBatch]:
    """Yield the rows of all files of a table, in file order.

    Args:
        what: the table's name for messages, such as `items`.
        files: where the rows are and how they are written.
        columns: field -> raw column, or several; a dot reaches into nested JSON or Parquet unless a column of exactly
            that name exists, and without a header a column may be named by its position from 1.
        limit: rows of each source to read, before cells are unfolded and rows filtered; None: all.

    Raises:
        DataError: no file, unreadable or empty files, mixed formats, a malformed line, a missing column, or ids
            stored as floats too large to be exact.
    """
    sources = find_sources(what, files)
    names = names_of(columns)
    shapers = [Shaper(what, source, files, names) for source in sources]
    check = KeyCheck(shapers[0].raw_names)
    rows = 0
    skipped = 0
    for source, shaper in zip(sources, shapers, strict=True):
        try:
            for block in _split(read_blocks(what, source, files, shaper.raw_names, check), limit):
                batch = _as_batch(what, source, block, shaper, columns, files)
                rows += batch.values.height
                skipped += batch.skipped
                yield batch
        except MissingColumnError as error:
            others = [(other, reader) for other, reader in zip(sources, shapers, strict=True) if other is not source]
            raise DataError(f"{error}{_name_others(what, files, others)}") from error
    if limit is None:
        check.finish(what)
    if not rows:
        reason = (
            f"keep_rows excludes all {format_count(skipped, 'row')}" if skipped else "no rows of data, only a header"
        )
        step = f"fix {name_setting(what, 'keep_rows')}" if skipped else "check the export"
        raise DataError(f"{what} {files.path}: {reason}; {step}")


def _name_others(what: str, files: RawFiles, others: Sequence[tuple[Source, Shaper]]) -> str:
    """Return that a path means further files, and the setting that reads one with the columns; empty without one."""
    for other, shaper in others[:_SHOWN]:
        try:
            next(read_blocks(what, other, files, shaper.raw_names), None)
        except DataError:
            continue
        break
    else:
        return ""
    names = ", ".join(PurePosixPath(other.name).name for other, _ in others[:_SHOWN])
    more = f" and {len(others) - _SHOWN:,} more" if len(others) > _SHOWN else ""
    return (
        f"; {files.path} also contains {names}{more}: if these are different tables, read one of them, such as "
        f"{name_setting(what, 'path')}: {other.name}"
    )


def read_blocks(
    what: str, source: Source, files: RawFiles, names: Sequence[str], check: KeyCheck | None = None
) -> Iterator[RawBlock]:
    """Return the rows of a source with the raw columns `names`, by the reader of its format."""
    kind = _form_of(source, files)
    if kind == "parquet":
        return read_parquet(what, source, names)
    if kind == "json":
        return read_json(what, source, files, names, check)
    if kind == "excel":
        return read_workbook(what, source, files, names)
    if kind == "delta":
        return read_delta(what, source, names)
    return read_delimited(what, source, files, names)


def _form_of(source: Source, files: RawFiles) -> str:
    return source.format if files.format == "auto" else files.format


def _split(blocks: Iterator[RawBlock], limit: int | None) -> Iterator[RawBlock]:
    left = limit
    for block in blocks:
        rows = block.columns.height if left is None else min(left, block.columns.height)
        for start in range(0, rows, _BATCH_ROWS):
            yield block.part(start, min(_BATCH_ROWS, rows - start))
        if left is not None:
            left -= rows
            if left == 0:
                return


def _as_batch(
    what: str, source: Source, block: RawBlock, shaper: Shaper, columns: Columns, files: RawFiles
) -> RawBatch:
    frame, skipped = shaper.shape(block.columns)
    origin = frame[ORIGIN]
    return RawBatch(
        values=pick_columns(what, source.name, frame, columns, files),
        file=source.name,
        rows=(origin.cast(pl.UInt64) + block.first_row).alias("row"),
        locate=partial(_locate, block, origin),
        content=partial(_content, block, origin),
        skipped=skipped,
        unit="line" if files.query is None and _form_of(source, files) in _WITH_LINES else "row",
    )


def _locate(block: RawBlock, origin: pl.Series, chosen: pl.Series) -> list[int]:
    return block.locate(origin.gather(chosen))


def _content(block: RawBlock, origin: pl.Series, chosen: pl.Series) -> list[str]:
    return block.content(origin.gather(chosen))


def read_all(what: str, files: RawFiles, columns: Columns) -> pl.DataFrame:
    """Return the values of all rows, for small files.

    A field that is text in one file and a time in another is text.

    Raises:
        DataError: as `read_batches`, or a field holds lists in one file only.
    """
    frames = [batch.values for batch in read_batches(what, files, columns)]
    for field in columns:
        kinds = {frame.schema[field] for frame in frames if frame[field].null_count() < frame.height}
        if any(isinstance(kind, pl.List) for kind in kinds) and len(kinds) > 1:
            raise DataError(
                f"{what} {files.path}: the type of a column differs between files: {field} is a list in some of them; "
                "write all files with the same types"
            )
        target = next(iter(kinds)) if len(kinds) == 1 else pl.String() if kinds else None
        frames = [_cast(frame, field, target) for frame in frames]
    return pl.concat(frames)


def _cast(frame: pl.DataFrame, field: str, target: pl.DataType | None) -> pl.DataFrame:
    column = frame[field]
    if target is None or column.dtype == target:
        return frame if target is not None else frame.with_columns(pl.lit(None, pl.String).alias(field))
    if column.null_count() == len(column):
        return frame.with_columns(pl.lit(None, target).alias(field))
    return frame.with_columns(as_text(column).alias(field))
