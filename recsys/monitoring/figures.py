"""The figures of a night: named numbers, some of them with their values by segment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from recsys.dataset.ingestion.summary import Summary


@dataclass(frozen=True)
class Observed:
    """What a night is watched by: its data and its lists.

    Attributes:
        run_date: YYYY-MM-DD.
        end: only events before this instant count; None if the data has no times.
        snapshot: id of the snapshot.
        items: `Items`.
        interactions: `Interactions`, not read yet; sorted by user.
        summary: what ingest read; None if the snapshot has none.
        lists: `Recommendations` that were published last until the run date; None: there are none.
        list_facts: manifest of these lists; empty without lists.
        item_columns: item columns whose values are segments.
    """

    run_date: str
    end: datetime | None
    snapshot: str
    items: pl.DataFrame
    interactions: pl.LazyFrame
    summary: Summary | None = None
    lists: pl.LazyFrame | None = None
    list_facts: Mapping[str, Any] = field(default_factory=dict)
    item_columns: tuple[str, ...] = ()


@dataclass
class Figures:
    """Figures by name, such as `arrival.events.view`; the word before the first dot is the area that is watched.

    Attributes:
        values: figure -> value.
        segments: figure -> segment -> the figure's value in that segment, such as `event kind: view`.
    """

    values: dict[str, float] = field(default_factory=dict)
    segments: dict[str, dict[str, float]] = field(default_factory=dict)

    def add(self, name: str, value: float | None, segments: Mapping[str, float | None] | None = None) -> None:
        """Add a figure; a value that is missing or not finite is left out, as is such a value of a segment."""
        if value is None or not math.isfinite(value):
            return
        self.values[name] = round(float(value), 6)
        kept = {key: round(float(part), 6) for key, part in (segments or {}).items() if part is not None}
        kept = {key: part for key, part in kept.items() if math.isfinite(part)}
        if kept:
            self.segments[name] = kept


def divide(part: float, whole: float) -> float | None:
    """Return a share, None where there is nothing to divide by."""
    return part / whole if whole else None


def average_by_item_column(
    frame: pl.DataFrame, items: pl.DataFrame, columns: Iterable[str], value: pl.Expr, max_values: int = 12
) -> dict[str, float | None]:
    """Return a value for each of the most frequent values of some item columns, as `category: Drama`.

    Args:
        frame: rows with `item_id`.
        items: `Items`.
        columns: of the items; each text or a list of texts. Columns that the items lack are left out.
        value: an aggregation over the rows of a segment.
        max_values: number of segments per column.
    """
    segments: dict[str, float | None] = {}
    for column in columns:
        if column not in items.columns:
            continue
        values = items.select("item_id", pl.col(column).alias("segment"))
        if isinstance(values.schema["segment"], pl.List):
            values = values.explode("segment")
        rows = frame.join(values.drop_nulls("segment"), on="item_id")
        found = rows.group_by(pl.col("segment").cast(pl.String)).agg(size=pl.len(), value=value)
        top = found.sort(["size", "segment"], descending=[True, False]).head(max_values)
        segments |= {f"{column}: {segment}": part for segment, part in top.select("segment", "value").iter_rows()}
    return segments
