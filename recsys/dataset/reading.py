"""Raw files of any usual format -> text columns, with the file and row that each value comes from.

CSV, TSV, JSON lines or Parquet; plain, gzip or zstd; a file, a folder or a glob. Values are not checked here: a file
is read, or a `DataError` names the file, the line or the column that cannot be.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from recsys.dataset.raw_columns import check_keys, decode_lines, pick_column
from recsys.dataset.raw_files import as_utf8, display_name, find_files, read_bytes
from recsys.dataset.raw_formats import LINE, read_delimited, read_parquet, split_lines
from recsys.errors import DataError

# Lines of JSON that are decoded at a time.
_SLICE = 20_000


@dataclass(frozen=True)
class RawTable:
    """The rows of all files in file order, as written.

    Attributes:
        values: a column per requested field: String, List(String) or Datetime (microseconds; UTC, or no zone where
            the file has none).
        locations: `file` and `row` of each row (1 the first row of data; in JSON lines the number of the line).
        parts: the whole rows, a frame per file.
    """

    values: pl.DataFrame
    locations: pl.DataFrame
    parts: tuple[pl.DataFrame, ...]

    def content(self, chosen: pl.Series) -> list[str]:
        """Return the whole rows with the given ascending indexes as JSON."""
        texts: list[str] = []
        start = 0
        for part in self.parts:
            inside = part[chosen.filter(chosen.is_between(start, start + part.height, closed="left")) - start]
            if part.columns == [LINE]:
                texts += inside[LINE].to_list()
            else:
                texts += [json.dumps(row, ensure_ascii=False, default=str) for row in inside.iter_rows(named=True)]
            start += part.height
        return texts


def read_table(what: str, path: Path, columns: Mapping[str, str]) -> RawTable:
    """Read the raw columns that the fields come from.

    Args:
        what: the table's name for messages, such as `items`.
        path: a file, a folder (all data files below it) or a glob; files are read in sorted order, and those whose
            name starts with `.` or `_` are left out.
        columns: field -> raw column; a dot reaches into nested JSON or Parquet structs unless a column of exactly
            that name exists.

    Raises:
        DataError: no file, unreadable or empty files, mixed formats, a malformed line, a missing column, or ids
            stored as floats too large to be exact.
    """
    files, kind = find_files(what, path)
    values, locations, parts = [], [], []
    for file in files:
        part, rows, part_values = _read_file(what, file, kind, columns)
        values += part_values
        locations.append(pl.DataFrame({"file": pl.repeat(display_name(file), part.height, eager=True), "row": rows}))
        parts.append(part)
    try:
        table = RawTable(pl.concat(values), pl.concat(locations), tuple(parts))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{what} {path}: the files differ in a column's type ({error}); write all files with the same types"
        ) from error
    if not table.values.height:
        raise DataError(f"{what} {path}: no rows of data, only a header; check the export")
    if kind == "JSON lines":
        check_keys(what, path, table.values, table.parts, columns)
    return table


def _read_file(
    what: str, file: Path, kind: str, columns: Mapping[str, str]
) -> tuple[pl.DataFrame, pl.Series, list[pl.DataFrame]]:
    """Return the whole rows of a file, their numbers, and the values of the fields in frames to be concatenated."""
    data = read_bytes(file)
    if kind == "JSON lines":
        part, rows = split_lines(as_utf8(file, data))
        # In slices: an odd line slows down its own slice only, not the whole file.
        slices = [slice(start, start + _SLICE) for start in range(0, part.height, _SLICE)]
        return part, rows, [decode_lines(file, part[LINE][lines], rows[lines], columns) for lines in slices]
    if kind == "Parquet":
        part = read_parquet(file, data)
    else:
        part = read_delimited(file, as_utf8(file, data), "," if kind == "CSV" else "\t")
    rows = pl.int_range(1, part.height + 1, dtype=pl.UInt64, eager=True)
    picked = {field: pick_column(what, file, part, field, name) for field, name in columns.items()}
    return part, rows, [pl.DataFrame(picked)]
