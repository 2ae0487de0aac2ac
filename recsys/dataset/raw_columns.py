"""Raw rows -> the columns that the config names, as text or times."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import polars as pl

from recsys.dataset.raw_formats import LINE
from recsys.errors import DataError

# Fields that hold ids, with the bits of the largest integers that each type of float represents exactly.
_ID_FIELDS = ("user_id", "item_id")
_EXACT_BITS: dict[type[pl.DataType], int] = {pl.Float32: 24, pl.Float64: 53}
_ABSENT = object()


def pick_column(what: str, file: Path, part: pl.DataFrame, field: str, name: str) -> pl.Series:
    """Return a column of CSV or Parquet rows as String, List(String) or Datetime; a dot reaches into structs.

    Args:
        what: the table's name for messages, such as `items`.
        file: for messages.
        part: the whole rows.
        field: the field that the column is read for; ids must be exact.
        name: of the column.

    Raises:
        DataError: no such column, nested values, or ids stored as floats too large to be exact.
    """
    parents, _, last = name.rpartition(".") if name not in part.columns else ("", "", name)
    for key in parents.split(".") if parents else []:
        if not isinstance(part.schema.get(key), pl.Struct):
            raise _missing(what, file, name, part.columns)
        part = part[key].struct.unnest()
    if last not in part.columns:
        raise _missing(what, file, name, part.columns)
    column = part[last]
    dtype = column.dtype
    if field in _ID_FIELDS:
        _check_exact(file, name, column)
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    try:
        if isinstance(inner, pl.Struct | pl.List | pl.Array):
            raise pl.exceptions.SchemaError("it is nested")
        if isinstance(dtype, pl.List | pl.Array):
            return column.cast(pl.List(pl.String))
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            column = column.cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
            return column.dt.convert_time_zone("UTC") if getattr(dtype, "time_zone", None) else column
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{file}: column '{name}' is {dtype} and does not read as text ({error}); expected text, "
            f"numbers, times or a list of text; name a field inside it as '{name}.FIELD'"
        ) from error


def _check_exact(file: Path, name: str, column: pl.Series) -> None:
    """Raise if ids are floats so large that neighbouring integers are equal."""
    bits = _EXACT_BITS.get(column.dtype.base_type())
    largest = column.abs().max() if bits else None
    if bits and isinstance(largest, float) and largest >= 2**bits:
        raise DataError(
            f"{file}: column '{name}' holds ids as {column.dtype} up to {largest:.0f}; from 2^{bits} on such numbers "
            "are rounded, so different ids become equal; write the column as integers or text"
        )


def _missing(what: str, where: Path, name: str, found: list[str]) -> DataError:
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    step = f"did you mean '{near[0]}'? " if near else ""
    if len(found) == 1:
        step += "one column only: is the separator a comma (.csv) or a tab (.tsv)? "
    return DataError(
        f"{where}: no column '{name}'; found {', '.join(map(repr, found))}; {step}fix dataset.{what} in the config"
    )


def decode_lines(file: Path, lines: pl.Series, numbers: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the fields of lines of JSON as text; lists and objects as their JSON text.

    Args:
        file: for messages.
        lines: an object each.
        numbers: of the lines in the file, for messages.
        columns: field -> key; a dot reaches into nested objects unless a key of exactly that name exists.

    Raises:
        DataError: a line is not a JSON object.
    """
    # polars joins the lines with commas before it parses them, so each has to look like a single object.
    whole = (lines.str.starts_with("{") & lines.str.ends_with("}")).all()
    try:
        decoded = lines.str.json_decode(_struct_of(columns.values())).to_frame("row") if whole else pl.DataFrame()
    except pl.exceptions.PolarsError:
        decoded = pl.DataFrame()
    if decoded.height != lines.len():
        # A list, a mixture of types or a broken line: line by line the first two are read and the last is named.
        return _decode_each(file, lines, numbers, columns)
    row = pl.col("row").struct
    picked = {}
    for field, name in columns.items():
        nested = row.field(name.split(".")[0])
        for key in name.split(".")[1:]:
            nested = nested.struct.field(key)
        picked[field] = pl.coalesce(row.field(name), nested)
    return decoded.select(**picked)


def _struct_of(names: Iterable[str]) -> pl.Struct:
    """Return the type that holds each name both as a plain key and as a path of keys."""
    tree: dict[str, Any] = {}
    for name in names:
        *parents, last = name.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise pl.exceptions.SchemaError("a name is inside another")
        if isinstance(node.setdefault(last, pl.String), dict):
            raise pl.exceptions.SchemaError("a name is inside another")
        tree[name] = pl.String

    def build(node: dict[str, Any]) -> pl.Struct:
        return pl.Struct({key: build(below) if isinstance(below, dict) else below for key, below in node.items()})

    return build(tree)


def _decode_each(file: Path, lines: pl.Series, numbers: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    values: dict[str, list[str | None]] = {field: [] for field in columns}
    for number, line in zip(numbers, lines, strict=True):
        record = _load(file, number, line)
        for field, name in columns.items():
            value = _look_up(record, name)
            values[field].append(_as_text(None if value is _ABSENT else value))
    return pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String))


def _load(file: Path, number: int, line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        raise DataError(f"{file}:{number}: holds {line[:40]!r}, expected one JSON object a line; write JSON lines")
    try:
        record: dict[str, Any] = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}:{number}: is not JSON ({error}): {line[:80]!r}; fix or delete the line") from error
    return record


def _look_up(record: dict[str, Any], name: str) -> Any:
    if record.get(name) is not None:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return record.get(name, _ABSENT)
        value = value[key]
    return value


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        # Half of a surrogate pair is legal JSON but cannot be encoded.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else json.dumps(value, ensure_ascii=False)


def check_keys(
    what: str, path: Path, values: pl.DataFrame, parts: Sequence[pl.DataFrame], columns: Mapping[str, str]
) -> None:
    """Check that some line of JSON has each key: a misspelt name would otherwise be null in every row.

    Args:
        what: the table's name for messages, such as `items`.
        path: for messages.
        values: the fields of all lines.
        parts: the whole lines, a frame per file.
        columns: field -> key.

    Raises:
        DataError: no line has a key.
    """
    absent = {name for field, name in columns.items() if values[field].null_count() == values.height}
    keys: dict[str, None] = {}
    for line in (line for part in parts if absent for line in part[LINE]):
        record = json.loads(line, parse_constant=lambda _: None)
        absent = {name for name in absent if _look_up(record, name) is _ABSENT}
        for key, value in record.items():
            keys |= dict.fromkeys([f"{key}.{below}" for below in value] if isinstance(value, dict) else [key])
    if absent:
        raise _missing(what, path, min(absent), list(keys)[:30])
