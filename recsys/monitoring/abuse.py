"""Abuse: users and items with a volume that no person, and no crowd, has."""

from __future__ import annotations

import polars as pl

from recsys.monitoring.events import EventCounts
from recsys.monitoring.figures import Figures, Observed, divide

_NAMED = 5
_POPULAR = 100


def watch_abuse(figures: Figures, observed: Observed, counts: EventCounts) -> None:
    """Add the figures of the area `abuse`, mostly about the last day; segments name the users and items.

    `abuse.max_user_events` is the most events of a user, `abuse.max_history` the most in a whole history,
    `abuse.top_share` the share of events by the 1 % of users with most, `abuse.top_item_users` the most users of an
    item, and `abuse.top_item_new_users` the most of its users whose first event this is. `abuse.popular_changed` is the
    share of the 100 items with most events that would be others without all events of the busiest users of the day.
    """
    figures.add("abuse.max_history", counts.longest)
    if observed.end is None or not counts.day_users.height:
        return
    users = {f"user: {user}": float(events) for user, events in counts.day_users.head(_NAMED).iter_rows()}
    figures.add("abuse.max_user_events", max(users.values()), users)
    figures.add("abuse.top_share", counts.top_share)
    figures.add("abuse.popular_changed", _compare_popular(observed, counts))
    for name, column in (("top_item_users", "users"), ("top_item_new_users", "new_users")):
        top = counts.day_items.sort([column, "item_id"], descending=[True, False]).head(_NAMED)
        items = {f"item: {item}": float(number) for item, number in top.select("item_id", column).iter_rows()}
        figures.add(f"abuse.{name}", max(items.values()), items)


def _compare_popular(observed: Observed, counts: EventCounts) -> float | None:
    """Return the share of the most popular items that change without the events of the busiest users of the day."""
    busiest = counts.day_users["user_id"].head(_NAMED)
    theirs = (
        observed.interactions.filter(pl.col("user_id").is_in(busiest.implode()) & (pl.col("time") < observed.end))
        .group_by("item_id")
        .agg(theirs=pl.len())
        .collect(engine="streaming")
    )
    items = counts.item_events.join(theirs, on="item_id", how="left").with_columns(
        without=pl.col("events").cast(pl.Int64) - pl.col("theirs").fill_null(0).cast(pl.Int64)
    )
    top, others = (
        items.sort([column, "item_id"], descending=[True, False])["item_id"].head(_POPULAR)
        for column in ("events", "without")
    )
    return divide(int((~top.is_in(others.implode())).sum()), len(top))
