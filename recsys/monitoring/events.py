"""Counts over a snapshot's interactions: what all watched areas share, so that the file is read few times."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

import polars as pl

from recsys.monitoring.sketches import ITEMS_PER_USER, is_sampled

DAY = timedelta(days=1)
# Longest history that is counted exactly; longer ones count as this long, but for the longest.
_LONGEST = 1_000
# Users of the last day that are listed by name: those with most events.
_TOP = 20
NEW_EVENTS, HEAVY_EVENTS = 5, 50


@dataclass(frozen=True)
class EventCounts:
    """Counts of the events before the end of a night. "The last day" is the 24 hours before the end.

    Without times there is no last day, and everything about it is empty.

    Attributes:
        kinds: `event`, `events`, `old` (those before the end of the last good night), `last` (time of the last one).
        hours: `hour` (UTC), `event`, `events`, `users`: of the last day.
        experience: `users` (new, light or heavy by the number of earlier events), `events`: of the last day.
        day_items: `item_id`, `events`, `users`, `new_users` (with their first event): of the last day.
        day_users: `user_id`, `events`: of the last day, most events first.
        active_users: users with an event in the last day.
        top_share: share of the last day's events by the 1 % of its users with most events.
        users: all users.
        new_users: users whose first event is in the last day.
        lengths: `events`, `users`: how many users have that many events or more, at most 1,000.
        longest: events of the user with most events.
        first: time of the first event; None without times.
        item_events: `item_id`, `events`.
        pairs: `user_id`, `item_id`, `sampled`: newest distinct items of the sampled users, and all items of the users
            that the last good night sampled.
    """

    kinds: pl.DataFrame
    hours: pl.DataFrame
    experience: pl.DataFrame
    day_items: pl.DataFrame
    day_users: pl.DataFrame
    active_users: int
    top_share: float
    users: int
    new_users: int
    lengths: pl.DataFrame
    longest: int
    first: datetime | None
    item_events: pl.DataFrame
    pairs: pl.DataFrame

    @property
    def events(self) -> int:
        """All events."""
        return int(self.kinds["events"].sum())

    def count_kinds(self, column: str = "events") -> Mapping[str, int]:
        """Return a column of `kinds` by event kind."""
        return dict(self.kinds.select("event", column).iter_rows())

    @property
    def last(self) -> datetime | None:
        """Time of the last event; None without times."""
        moment = self.kinds["last"].max()
        return moment if isinstance(moment, datetime) else None


def count_events(
    interactions: pl.LazyFrame,
    end: datetime | None,
    last_end: datetime | None,
    last_users: pl.Series,
    sample_users: int,
) -> EventCounts:
    """Count the events before the end of a night.

    Every query aggregates while it reads, so memory follows the users of a day and the items, not the events.

    Args:
        interactions: `Interactions`, not read yet.
        end: of the night; None without times.
        last_end: end of the last good night; None: there is none.
        last_users: `user_id` of the users that the last good night sampled.
        sample_users: number of users to sample.
    """
    events = interactions if end is None else interactions.filter(pl.col("time").is_null() | (pl.col("time") < end))
    in_day = pl.lit(False) if end is None else pl.col("time") >= end - DAY
    day = events.filter(in_day)
    old = pl.col("time") < last_end if last_end is not None else pl.lit(True)
    starts = pl.col("step") == 0
    queries = [
        events.group_by("event").agg(
            events=pl.len(),
            old=old.sum() if last_end is not None else pl.len(),
            last=pl.col("time").max(),
            first=pl.col("time").min(),
        ),
        events.group_by(pl.col("step").clip(upper_bound=_LONGEST).alias("step")).agg(
            users=pl.len(), new=in_day.sum() if end is not None else pl.lit(0), longest=pl.col("step").max()
        ),
        day.group_by(pl.col("time").dt.hour().alias("hour"), "event").agg(
            events=pl.len(), users=pl.col("user_id").hash().n_unique()
        ),
        day.group_by(_name_experience().alias("users")).agg(events=pl.len()),
        day.group_by("item_id").agg(
            events=pl.len(),
            # Hashes take less memory than the ids.
            users=pl.col("user_id").hash().n_unique(),
            new_users=starts.sum(),
        ),
        day.group_by("user_id").agg(events=pl.len()).group_by("events").agg(users=pl.len()),
        day.group_by("user_id").agg(events=pl.len()).top_k(_TOP, by=["events", "user_id"]),
        events.group_by("item_id").agg(events=pl.len()),
    ]
    # One after the other: together they would read the file once, but keep what the slowest has not read yet in memory.
    collected = [query.collect(engine="streaming") for query in queries]
    kinds, steps, hours, experience, items, volumes, top, item_events = collected
    # Users with more than `step` events.
    steps = steps.sort("step")
    ordered = steps.height > 1 or end is not None
    users = _count_users(steps) if ordered else events.select(pl.col("user_id").n_unique()).collect().item()
    active = int(volumes["users"].sum())
    return EventCounts(
        kinds=kinds.drop("first").sort("event"),
        hours=hours.sort("hour", "event"),
        experience=experience.sort("users"),
        day_items=items.sort(["users", "item_id"], descending=[True, False]),
        day_users=top.sort(["events", "user_id"], descending=[True, False]),
        active_users=active,
        top_share=_share_of_top(volumes, active),
        users=int(users),
        new_users=int(steps.filter(starts)["new"].sum()),
        lengths=steps.filter(pl.col("step") < _LONGEST).select(pl.col("step").alias("events") + 1, "users"),
        longest=int(steps["longest"].max() or 0) + 1 if steps.height else 0,  # type: ignore[arg-type]
        first=_first(kinds),
        item_events=item_events.sort("item_id"),
        pairs=_sample_pairs(events, last_users, sample_users, int(users)),
    )


def _name_experience() -> pl.Expr:
    step = pl.col("step")
    return (
        pl.when(step < NEW_EVENTS)
        .then(pl.lit("new"))
        .when(step < HEAVY_EVENTS)
        .then(pl.lit("light"))
        .otherwise(pl.lit("heavy"))
    )


def _count_users(steps: pl.DataFrame) -> int:
    return int(steps.filter(pl.col("step") == 0)["users"].sum())


def _first(kinds: pl.DataFrame) -> datetime | None:
    moment = kinds["first"].min()
    return moment if isinstance(moment, datetime) else None


def _share_of_top(volumes: pl.DataFrame, active: int) -> float:
    """Return the share of the events by the 1 % of the users with most events, at least one user."""
    if not active:
        return 0.0
    top = max(1, active // 100)
    ranked = volumes.sort("events", descending=True).with_columns(before=pl.col("users").cum_sum().shift(fill_value=0))
    counted = ranked.select((pl.col("events") * pl.min_horizontal("users", (top - pl.col("before")).clip(0))).sum())
    return float(counted.item() / volumes.select((pl.col("events") * pl.col("users")).sum()).item())


def _sample_pairs(events: pl.LazyFrame, last_users: pl.Series, size: int, total: int) -> pl.DataFrame:
    """Return `pairs` of `EventCounts`, sorted."""
    known = pl.LazyFrame({"user_id": last_users.cast(pl.String)}).with_columns(known=pl.lit(True))
    chosen = (
        events.select("user_id", "item_id", "step")
        .with_columns(sampled=is_sampled("user_id", size, total))
        .join(known, on="user_id", how="left")
        .filter(pl.col("sampled") | pl.col("known"))
        .group_by("user_id", "item_id")
        .agg(pl.col("step").max(), pl.col("sampled").first())
        .collect(engine="streaming")
    )
    newest = pl.col("step").rank("ordinal", descending=True).over("user_id") <= ITEMS_PER_USER
    return chosen.sort("user_id", "item_id").select("user_id", "item_id", sampled=pl.col("sampled") & newest)
