"""What users did joined to what they were shown: the outcomes of one night's lists, one row per user.

An event counts for the lists that its user saw when it happened: neither for earlier lists nor for later ones. Only
positive events count, those that lists should predict. An item that a user chose twice in a night counts once.
"""

from __future__ import annotations

from typing import TypeVar

import polars as pl

from recsys.monitoring.nights import ServedNight
from recsys.tables import Outcomes, check

Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)
_NEXT_STEP = "internal error in the join of outcomes; please report it"


def select_events(events: Frame, night: ServedNight) -> Frame:
    """Return the positive events of the period in which a night's lists were shown; the period is half-open.

    Args:
        events: `Interactions` with times.
        night: the period.
    """
    inside = (pl.col("time") >= night.start) & (pl.col("time") < night.end)
    return events.filter(pl.col("positive") & inside)


def count_events(happened: pl.DataFrame) -> pl.DataFrame:
    """Return `user_id`, `events`, `items` (distinct) and `value` (their sum, 0 where no event has one) per user.

    Args:
        happened: from `select_events`, whatever lists the users had.
    """
    return (
        happened.group_by("user_id")
        .agg(
            pl.len().cast(pl.UInt32).alias("events"),
            pl.col("item_id").n_unique().cast(pl.UInt32).alias("items"),
            # In an order of its own, so that the last bit never depends on the order of the file.
            pl.col("value").cast(pl.Float64).sort().sum().alias("value"),
        )
        .sort("user_id")
    )


def measure_night(lists: pl.LazyFrame, happened: pl.DataFrame) -> pl.DataFrame:
    """Return `Outcomes`: a row per user with a list, sorted by user.

    nDCG is that of `evaluation.metrics` at the length of the night's longest list; a user without an event has 0.

    Args:
        lists: `Recommendations` of the night.
        happened: from `select_events`.
    """
    rows = lists.select("user_id", "rank", "item_id", "variant", "model_version")
    chosen = happened.lazy().select("user_id", "item_id").unique()
    # In a night without a canary the rows of a list name the rules that were dropped; the first counts.
    top = pl.col("rank").arg_min()
    users = rows.group_by("user_id").agg(
        pl.col("variant").get(top), pl.col("model_version").get(top), pl.col("rank").max().alias("length")
    )
    hits = (
        rows.join(chosen, on=["user_id", "item_id"], how="semi")
        .group_by("user_id")
        .agg(
            pl.len().cast(pl.UInt16).alias("hits"),
            pl.col("rank").min().alias("first_rank"),
            (1.0 / (pl.col("rank").sort().cast(pl.Float64) + 1.0).log(2.0)).sum().alias("gain"),
        )
    )
    joined = (
        users.join(count_events(happened).lazy(), on="user_id", how="left")
        .join(hits, on="user_id", how="left")
        .sort("user_id")
        .collect(engine="streaming")
    )
    return check(Outcomes, _finish(joined), "outcomes of a night", _NEXT_STEP)


def _finish(joined: pl.DataFrame) -> pl.DataFrame:
    longest = int(joined["length"].max() or 1)  # type: ignore[arg-type]
    ideal = (1.0 / (pl.int_range(2, longest + 2).cast(pl.Float64)).log(2.0)).cum_sum()
    best = pl.select(ideal.alias("ideal")).to_series()
    joined = joined.with_columns(pl.col("events", "items", "hits").fill_null(0), pl.col("gain", "value").fill_null(0.0))
    reachable = joined["items"].clip(1, longest).cast(pl.UInt32) - 1
    return joined.select(
        "user_id",
        "variant",
        "model_version",
        "events",
        "items",
        "hits",
        "first_rank",
        (pl.col("gain") / best.gather(reachable)).clip(0.0, 1.0).alias("ndcg"),
        "value",
    )
