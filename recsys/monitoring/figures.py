"""The figures of a night: named numbers, some of them with their values by segment."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import polars as pl

from recsys.dataset.ingestion.summary import Summary
from recsys.evaluation.intervals import Estimate
from recsys.monitoring.nights import ServedNight


@dataclass(frozen=True)
class ShownLists:
    """The last lists whose period is over, so that what users did with them is complete.

    Attributes:
        served: when users saw them.
        lists: `Recommendations`, not read yet.
        baselines: `BaselineLists` of a sample of the same users; None: none were kept.
        earlier: lists of a sample of users by the days before these lists, 0 these themselves.
    """

    served: ServedNight
    lists: pl.LazyFrame
    baselines: pl.DataFrame | None = None
    earlier: Mapping[int, pl.DataFrame] = field(default_factory=dict)


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
        features: `SampledFeatures` of the lists; None: none were kept.
        vectors: `ItemVectors` of the lists, likewise.
        shown: the last lists whose outcomes are complete; None: there are none, or they were complete before.
        max_events_per_user_day: `dataset.max_events_per_user_day`.
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
    features: pl.DataFrame | None = None
    vectors: pl.DataFrame | None = None
    shown: ShownLists | None = None
    max_events_per_user_day: int | None = None


@dataclass
class Figures:
    """Figures by name, such as `arrival.events.view`; the word before the first dot is the area that is watched.

    Attributes:
        values: figure -> value.
        segments: figure -> segment -> the figure's value in that segment, such as `event kind: view`.
        intervals: figure -> segment, or "" for the figure itself -> the ends of its 95 % interval.
    """

    values: dict[str, float] = field(default_factory=dict)
    segments: dict[str, dict[str, float]] = field(default_factory=dict)
    intervals: dict[str, dict[str, list[float]]] = field(default_factory=dict)

    def add(self, name: str, value: float | None, segments: Mapping[str, float | None] | None = None) -> None:
        """Add a figure; a value that is missing or not finite is left out, as is such a value of a segment."""
        if value is None or not math.isfinite(value):
            return
        self.values[name] = round(float(value), 6)
        kept = {key: round(float(part), 6) for key, part in (segments or {}).items() if part is not None}
        kept = {key: part for key, part in kept.items() if math.isfinite(part)}
        if kept:
            self.segments[name] = kept

    def add_estimate(self, name: str, estimate: Estimate, segments: Mapping[str, Estimate] | None = None) -> None:
        """Add a figure with its interval, and those of its segments."""
        parts = segments or {}
        self.add(name, estimate.mean, {key: part.mean for key, part in parts.items()})
        self.intervals[name] = {
            key: [round(part.low, 6), round(part.high, 6)] for key, part in {"": estimate, **parts}.items()
        }


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
