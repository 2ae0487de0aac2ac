"""Arrival: whether the events of the last day have come, of every kind and from every hour."""

from __future__ import annotations

from datetime import datetime

import polars as pl

from recsys.monitoring.events import EventCounts
from recsys.monitoring.figures import Figures, Observed, average_by_item_column, divide

_HOURS_AT_ONCE = 6


def watch_arrival(figures: Figures, observed: Observed, counts: EventCounts) -> None:
    """Add the figures of the area `arrival`; without times there are none.

    `arrival.lateness_hours` is the time from the last event to the end of the night, also by event kind.
    `arrival.events` counts the last day, also by kind; `arrival.hour_share` is its share by six hours (UTC), where a
    user counts once an hour for each kind, so that a few busy users do not decide. `arrival.span_days` is the time
    from the first event to the last.
    """
    end = observed.end
    if end is None:
        return
    for name, moment in (("", counts.last), *((f".{kind}", last) for kind, last in _last_by_kind(counts))):
        figures.add(f"arrival.lateness_hours{name}", _hours(moment, end))
    if counts.first and counts.last:
        figures.add("arrival.span_days", (counts.last - counts.first).total_seconds() / 86_400)
    kinds = dict(counts.hours.group_by("event").agg(pl.col("events").sum()).iter_rows())
    total = sum(kinds.values())
    blocks = _count_blocks(counts.hours, "events")
    experience = dict(counts.experience.iter_rows())
    figures.add(
        "arrival.events",
        total,
        {
            **{f"event kind: {kind}": kinds.get(kind, 0) for kind in counts.kinds["event"]},
            **{f"hours: {block}": events for block, events in blocks.items()},
            **{f"users: {users}": events for users, events in experience.items()},
            **average_by_item_column(counts.day_items, observed.items, observed.item_columns, pl.col("events").sum()),
        },
    )
    for kind in counts.kinds["event"]:
        by_hour = counts.hours.filter(pl.col("event") == kind)
        figures.add(
            f"arrival.events.{kind}",
            kinds.get(kind, 0),
            {f"hours: {block}": events for block, events in _count_blocks(by_hour, "events").items()},
        )
    visits = _count_blocks(counts.hours, "users")
    for block, users in visits.items():
        figures.add(f"arrival.hour_share.{block}", divide(users, sum(visits.values())))


def _last_by_kind(counts: EventCounts) -> list[tuple[str, datetime | None]]:
    return list(counts.kinds.select("event", "last").iter_rows())


def _hours(moment: datetime | None, end: datetime) -> float | None:
    return None if moment is None else (end - moment).total_seconds() / 3600


def _count_blocks(hours: pl.DataFrame, column: str) -> dict[str, int]:
    """Return the sum of a column by six hours of the day, such as `06-12`; every block is there."""
    block = (pl.col("hour") // _HOURS_AT_ONCE).cast(pl.Int64)
    found = dict(hours.group_by(block.alias("block")).agg(pl.col(column).sum()).iter_rows())
    return {
        f"{number * _HOURS_AT_ONCE:02d}-{(number + 1) * _HOURS_AT_ONCE:02d}": found.get(number, 0)
        for number in range(24 // _HOURS_AT_ONCE)
    }
