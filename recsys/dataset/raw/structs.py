"""Columns of tables with types (Parquet, Delta): nested names, and whole rows as JSON."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

import polars as pl
import pyarrow as pa

from recsys.dataset.raw.blocks import NO_COLUMN
from recsys.dataset.raw.columns import missing_column


def top_columns(what: str, source: str, schema: pa.Schema, names: Sequence[str]) -> list[str]:
    """Return the columns of a table that the names are, or reach into with dots.

    Raises:
        DataError: a name is neither.
    """
    found = list(schema.names)
    tops = []
    for name in names:
        top = name if name in found else name.split(".")[0]
        if top not in found or (top != name and not pa.types.is_struct(schema.field(top).type)):
            raise missing_column(what, source, name, found)
        tops.append(top)
    return list(dict.fromkeys(tops))


def to_frame(batch: pa.RecordBatch | pa.Table) -> pl.DataFrame:
    """Return rows as a frame."""
    columns = [_supported(column) for column in batch.columns]
    return pl.DataFrame(pl.from_arrow(pa.Table.from_arrays(columns, names=batch.schema.names)))


def _supported(column: pa.Array) -> pa.Array:
    # polars has no map and no 256-bit decimal.
    if pa.types.is_map(column.type):
        return pa.array([json.dumps(dict(row), default=str) if row is not None else None for row in column.to_pylist()])
    return column.cast(pa.string()) if pa.types.is_decimal256(column.type) else column


def reach(what: str, source: str, frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return a column per name; a dot reaches into structs unless a column of exactly that name exists.

    Raises:
        DataError: a struct has no such field.
    """
    if not names:
        return frame.select(pl.first().alias(NO_COLUMN))
    return pl.DataFrame({name: _reach(what, source, frame, name) for name in names})


def _reach(what: str, source: str, frame: pl.DataFrame, name: str) -> pl.Series:
    if name in frame.columns:
        return frame[name]
    first, *keys = name.split(".")
    column, path = frame[first], first
    for key in keys:
        fields = [field.name for field in column.dtype.fields] if isinstance(column.dtype, pl.Struct) else []
        if key not in fields:
            raise missing_column(what, source, name, [f"{path}.{field}" for field in fields] or frame.columns)
        column, path = column.struct.field(key), f"{path}.{key}"
    return column


def as_json(frame: pl.DataFrame) -> list[str]:
    """Return each row as a JSON object."""
    return [json.dumps(_plain(row), ensure_ascii=False, default=str) for row in frame.iter_rows(named=True)]


def _plain(value: Any) -> Any:
    """Return a value in which what JSON cannot write (nan) is null."""
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, dict):
        return {key: _plain(below) for key, below in value.items()}
    return [_plain(below) for below in value] if isinstance(value, list) else value
