"""Fields of JSON objects as text."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

import polars as pl

from recsys.errors import DataError

ABSENT = object()
# From here on, floats have lost digits.
_EXACT = 2**53
_EXACT_DIGITS = len(str(_EXACT))
_FLOAT = r"[0-9]{15,}\.[0-9]|[0-9][eE]\+?[0-9]"


def decode_texts(texts: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame | None:
    """Return the fields of texts that are JSON objects of plain values; None: some are not, or have other values.

    Args:
        texts: an object each.
        columns: field -> key; a dot reaches into nested objects unless a key of exactly that name exists.
    """
    # polars joins the texts with commas before it parses them, so each has to look like a single object.
    whole = (texts.str.starts_with("{") & texts.str.ends_with("}")).all()
    if (
        not whole
        or texts.null_count()
        or any(part.isdecimal() for name in columns.values() for part in name.split("."))
    ):
        return None
    try:
        decoded = texts.str.json_decode(_struct_of(columns.values())).to_frame("row")
    except pl.exceptions.PolarsError:
        return None
    if decoded.height != len(texts):
        return None
    row = pl.col("row").struct
    picked = {}
    for field, name in columns.items():
        nested = row.field(name.split(".")[0])
        for key in name.split(".")[1:]:
            nested = nested.struct.field(key)
        picked[field] = pl.coalesce(row.field(name), nested)
    fields = decoded.select(**picked)
    return None if _hides_rounding(texts, fields) else fields


def _hides_rounding(texts: pl.Series, fields: pl.DataFrame) -> bool:
    """Return whether a float that has lost digits may be decoded as an integer."""
    for field in fields.iter_columns():
        longest = field.str.len_bytes().max()
        if isinstance(longest, int) and longest >= _EXACT_DIGITS:
            rows = field.str.contains(rf"^-?[0-9]{{{_EXACT_DIGITS},}}$").arg_true()
            if texts.gather(rows).str.contains(_FLOAT).any():
                return True
    return False


def _struct_of(names: Iterable[str]) -> pl.Struct:
    """Return the type that holds each name both as a plain key and as a path of keys."""
    tree: dict[str, Any] = {}
    for name in names:
        *parents, last = name.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise pl.exceptions.SchemaError("a name contains another")
        if isinstance(node.setdefault(last, pl.String), dict):
            raise pl.exceptions.SchemaError("a name contains another")
        tree[name] = pl.String

    def build(node: dict[str, Any]) -> pl.Struct:
        return pl.Struct({key: build(below) if isinstance(below, dict) else below for key, below in node.items()})

    return build(tree)


def decode_each(records: Iterable[dict[str, Any] | None], columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the fields of objects as text, one object after the other; those of None are null."""
    values: dict[str, list[str | None]] = {field: [] for field in columns}
    for record in records:
        for field, name in columns.items():
            value = ABSENT if record is None else look_up(record, name)
            values[field].append(_as_text(None if value is ABSENT else value))
    return pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String))


def load(name: str, number: int, line: str) -> dict[str, Any]:
    """Return the object of a line.

    Raises:
        DataError: the line is something else.
    """
    if not line.startswith("{"):
        raise DataError(f"{name}:{number}: holds {line[:40]!r}, expected a JSON object per line; write JSON lines")
    try:
        record: dict[str, Any] = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{name}:{number}: is not JSON ({error}): {line[:80]!r}; fix or delete the line") from error
    return record


def try_load(text: str | None) -> dict[str, Any] | None:
    """Return the object of a text, None if it is something else."""
    try:
        record = json.loads(text or "null", parse_constant=lambda _: None)
    except (ValueError, RecursionError):
        return None
    return record if isinstance(record, dict) else None


def look_up(record: dict[str, Any], name: str) -> Any:
    """Return a value by its key or its path through objects and lists, `ABSENT` if there is none."""
    if record.get(name) is not None:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if isinstance(value, list) and key.isdecimal() and int(key) < len(value):
            value = value[int(key)]
        elif isinstance(value, dict) and key in value:
            value = value[key]
        else:
            return record.get(name, ABSENT)
    return value


def flatten_keys(record: dict[str, Any]) -> list[str]:
    """Return the paths of all values that are not objects; those inside objects have dots."""
    paths = []
    for key, value in record.items():
        nested = flatten_keys(value) if isinstance(value, dict) and value else []
        paths += [f"{key}.{below}" for below in nested] or [key]
    return paths


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        # Half of a surrogate pair is legal JSON but cannot be encoded.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return None if value is None else json.dumps(value, ensure_ascii=False)
