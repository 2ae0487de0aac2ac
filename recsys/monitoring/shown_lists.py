"""Outcomes: what users did with the last lists, and what baselines would have got on the same users.

A night's outcomes are complete when its lists were replaced, or after 24 hours. So the figures of a night are those of
the lists before: what happened until the end of the night. Users chose among what they were shown, which favours our
lists over baselines that nobody saw; so a difference means little by itself, and its changes mean much.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.intervals import Estimate
from recsys.evaluation.paired import Pairs, pair_values
from recsys.monitoring.events import HEAVY_EVENTS, NEW_EVENTS
from recsys.monitoring.figures import Figures, Observed, ShownLists, average_by_item_column
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.outcomes import measure_night, select_events
from recsys.monitoring.reference import STANDARD_ERRORS, pool_means, read_mean
from recsys.tables import CHALLENGER, CHAMPION

CONFIDENCE = 0.95
_WEEK = 7
_RANKS = {"first hit at rank 1": (1, 1), "first hit at ranks 2-3": (2, 3), "first hit below rank 3": (4, 65_535)}
# Figures whose mean over a week is watched too; each with the figure that counts its users.
_POOLED = {
    **dict.fromkeys(("hit_rate", "ndcg"), "outcomes.users"),
    **dict.fromkeys(
        ("sample_ndcg", "blend_ndcg", "popularity_ndcg", "over_blend", "over_popularity"), "outcomes.sample_users"
    ),
}
_BASELINES = ("blend", "popularity")


def watch_outcomes(figures: Figures, observed: Observed, nights: Sequence[Night]) -> None:
    """Add the figures of the area `outcomes`; without complete outcomes of the last day there are none.

    They are means over the users with a list and a positive event while it was shown. `outcomes.hit_rate` is the share
    of them who chose an item of their list, `outcomes.ndcg` its nDCG, `outcomes.first_rank` the mean rank of the first
    hit. `outcomes.blend_ndcg` and `outcomes.popularity_ndcg` are what the baselines would have got on a sample of the
    users, `outcomes.sample_ndcg` what our lists got on the same ones, `outcomes.over_*` the difference, and
    `outcomes.random_ndcg` what lists drawn at random would have got.
    `outcomes.week.*` are means over the last seven nights, and `outcomes.by_age.N` is the hit rate of lists N days
    older on the same events.

    Args:
        figures: to add to.
        observed: the night.
        nights: earlier nights, oldest first, for the week.
    """
    shown = observed.shown
    if shown is None:
        return
    events = select_events(observed.interactions, shown.served)
    happened = events.select("user_id", "item_id", "time", "positive", "value", "step").collect(engine="streaming")
    acting = happened.select(pl.col("user_id").unique())
    # Lists of users who did nothing change no figure.
    lists = shown.lists.join(acting.lazy(), on="user_id", how="semi")
    measured = measure_night(lists, happened) if acting.height else None
    if measured is None or measured.is_empty():
        figures.add("outcomes.users", 0)
        return
    figures.add("outcomes.users", measured.height)
    _watch_hits(figures, observed, measured, happened)
    _watch_items(figures, observed, lists, happened)
    if shown.baselines is not None:
        _compare(figures, measured, shown.baselines, happened)
        _watch_chance(figures, observed, measured, shown.baselines)
    _watch_ages(figures, shown, happened)
    _pool(figures, nights, observed.run_date)


def _estimate(values: NDArray[np.float64]) -> Estimate:
    """Return a mean with an interval that holds for rare hits too: that of a comparison with nothing."""
    return pair_values(values, np.zeros(len(values))).interval(CONFIDENCE)


def _watch_hits(figures: Figures, observed: Observed, measured: pl.DataFrame, happened: pl.DataFrame) -> None:
    """Add hit rate and nDCG by variant and by what users had done before, and the positions of the hits."""
    before = happened.group_by("user_id").agg(before=pl.col("step").min())
    users = measured.join(before, on="user_id", how="left").with_columns(
        # Without a canary the rows of a list name the rules that made it.
        variant=pl.when(pl.col("variant") == CHALLENGER).then(pl.lit(CHALLENGER)).otherwise(pl.lit(CHAMPION)),
        activity=pl.when(pl.col("before") < NEW_EVENTS)
        .then(pl.lit("new"))
        .when(pl.col("before") < HEAVY_EVENTS)
        .then(pl.lit("light"))
        .otherwise(pl.lit("heavy")),
        hit=(pl.col("hits") > 0).cast(pl.Float64),
    )
    groups = [
        (f"{label}: {name}", group)
        for column, label in (("variant", "variant"), ("activity", "users"))
        for (name,), group in sorted(users.group_by(column), key=lambda part: str(part[0][0]))
    ]
    for figure, column in (("hit_rate", "hit"), ("ndcg", "ndcg")):
        parts = {name: _estimate(group[column].to_numpy()) for name, group in groups}
        figures.add_estimate(f"outcomes.{figure}", _estimate(users[column].to_numpy()), parts)
    first = users["first_rank"].drop_nulls().to_numpy()
    if len(first):
        shares = {name: float(((first >= low) & (first <= high)).mean()) for name, (low, high) in _RANKS.items()}
        figures.add("outcomes.first_rank", float(first.mean()), shares)


def _watch_items(figures: Figures, observed: Observed, lists: pl.LazyFrame, happened: pl.DataFrame) -> None:
    """Add the share of the chosen items that were in the lists, by item column."""
    chosen = happened.select("user_id", "item_id").unique()
    hits = lists.select("user_id", "item_id").with_columns(hit=pl.lit(1.0)).collect(engine="streaming")
    listed = hits.select(pl.col("user_id").unique())
    rows = (
        chosen.join(listed, on="user_id", how="semi")
        .join(hits, on=["user_id", "item_id"], how="left")
        .select("item_id", pl.col("hit").fill_null(0.0))
    )
    segments = average_by_item_column(rows, observed.items, observed.item_columns, pl.col("hit").mean())
    figures.add("outcomes.recall", rows.select(pl.col("hit").mean()).item(), segments)


def _compare(figures: Figures, measured: pl.DataFrame, baselines: pl.DataFrame, happened: pl.DataFrame) -> None:
    """Add what the baselines would have got on the sampled users, and how much more our lists got."""
    pairs: dict[str, Pairs] = {}
    for name in _BASELINES:
        rows = baselines.filter(pl.col("baseline") == name).with_columns(
            variant=pl.col("baseline"), model_version=pl.lit("")
        )
        theirs = measure_night(rows.lazy(), happened).select("user_id", theirs="ndcg", theirs_hits="hits")
        both = measured.join(theirs, on="user_id").sort("user_id")
        if both.is_empty():
            return
        figures.add_estimate(f"outcomes.{name}_ndcg", _estimate(both["theirs"].to_numpy()))
        hit = (both["theirs_hits"] > 0).cast(pl.Float64).to_numpy()
        figures.add_estimate(f"outcomes.{name}_hit_rate", _estimate(hit))
        pairs[name] = pair_values(both["ndcg"].to_numpy(), both["theirs"].to_numpy())
        figures.add_estimate(f"outcomes.over_{name}", pairs[name].interval(CONFIDENCE))
        if name == _BASELINES[0]:
            figures.add("outcomes.sample_users", both.height)
            figures.add_estimate("outcomes.sample_ndcg", _estimate(both["ndcg"].to_numpy()))


def _watch_chance(figures: Figures, observed: Observed, measured: pl.DataFrame, baselines: pl.DataFrame) -> None:
    """Add what lists drawn at random from the available items would have got on the sampled users, on average."""
    users = measured.join(baselines.select("user_id").unique(), on="user_id", how="semi")
    items = int(observed.items["available"].sum())
    if users.is_empty() or items == 0:
        return
    length = int(baselines["rank"].max())  # type: ignore[arg-type]
    gains = 1.0 / np.log2(np.arange(2, length + 2))
    chosen = np.clip(users["items"].to_numpy(), 0, items).astype(np.int64)
    best = np.cumsum(gains)[np.clip(chosen, 1, length) - 1]
    figures.add("outcomes.random_ndcg", float((gains.sum() * chosen / items / best).mean()))


def _watch_ages(figures: Figures, shown: ShownLists, happened: pl.DataFrame) -> None:
    """Add the hit rate of the lists of each of the last days on the same events, over users who had them all."""
    lists = {age: lists for age, lists in shown.earlier.items() if lists.height}
    if 0 not in lists or len(lists) < 2:
        return
    users = happened.select(pl.col("user_id").unique())
    for table in lists.values():
        users = users.join(table, on="user_id", how="semi")
    chosen = happened.select("user_id", "item_id").unique()
    for age, table in sorted(lists.items()):
        hits = table.join(chosen, on=["user_id", "item_id"], how="semi").select(pl.col("user_id").unique())
        marked = users.join(hits.with_columns(hit=pl.lit(1.0)), on="user_id", how="left")
        if marked.height:
            figures.add_estimate(f"outcomes.by_age.{age}", _estimate(marked["hit"].fill_null(0.0).to_numpy()))
    figures.add("outcomes.by_age_users", users.height)


def _pool(figures: Figures, nights: Sequence[Night], run_date: str) -> None:
    """Add the means over the users of the last seven nights, as if no user came twice."""
    recent = [night for night in nights if night.run_date < run_date][-(_WEEK - 1) :]
    ages = {name.removeprefix("outcomes."): "outcomes.by_age_users" for name in figures.values if ".by_age." in name}
    for name, counted_by in {**_POOLED, **ages}.items():
        figure = f"outcomes.{name}"
        if figure not in figures.values:
            continue
        own = (figures.values, figures.intervals)
        parts = [
            part
            for values, intervals in (*((night.figures, night.intervals) for night in recent), own)
            if (part := read_mean(figure, counted_by, values, intervals)) is not None
        ]
        if (pooled := pool_means(parts)) is not None:
            mean, error = pooled
            half = STANDARD_ERRORS * error
            figures.add_estimate(f"outcomes.week.{name}", Estimate(mean, mean - half, mean + half))
