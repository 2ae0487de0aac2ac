"""Lists: how much of the catalogue they show, how they changed, and how old they are."""

from __future__ import annotations

from datetime import date
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.beyond_accuracy import churn
from recsys.monitoring.events import EventCounts
from recsys.monitoring.figures import Figures, Observed, average_by_item_column, divide
from recsys.monitoring.sketches import ListSketch, is_sampled
from recsys.tables import FALLBACK, empty

_NAMED = 5


def watch_lists(
    figures: Figures, observed: Observed, counts: EventCounts, sample: pl.DataFrame, last: pl.DataFrame | None
) -> None:
    """Add the figures of the area `lists`; where nothing was ever published there are none.

    `lists.age_days` is the age of the newest published lists, `lists.other_snapshot` 1 if they were made from another
    snapshot than tonight's, `lists.cold_share` the share of rows whose item has no event, `lists.top_item_share` the
    share of users whose list has the most shown item.

    Args:
        figures: to add to.
        observed: the night.
        counts: of its events.
        sample: `ListSketch` of tonight.
        last: the same for the last good night; None without lists.
    """
    if observed.lists is None:
        return
    facts = observed.list_facts
    age = date.fromisoformat(observed.run_date) - date.fromisoformat(str(facts.get("run_date", observed.run_date)))
    figures.add("lists.age_days", age.days)
    figures.add("lists.other_snapshot", float(facts.get("snapshot", observed.snapshot) != observed.snapshot))
    users, rows = observed.lists.select(_count_lists(), rows=pl.len()).collect(engine="streaming").row(0)
    figures.add("lists.users", users)
    figures.add("lists.length", divide(rows, users))
    served = facts.get("counts", {})
    figures.add("lists.short_share", divide(served.get("short_lists", 0), served.get("users", 0)))
    figures.add("lists.canary_share", float((facts.get("canary") or {}).get("share", 0.0)))
    shown = observed.lists.group_by("item_id").agg(users=pl.len()).collect(engine="streaming")
    _watch_exposure(figures, observed, counts, shown, int(users), int(rows))
    if last is not None and last.height and sample.height:
        changed = churn(sample, last, int(sample["rank"].max() or 1))["churn"]  # type: ignore[arg-type]
        figures.add("lists.churn", changed.mean() if len(changed) else None)  # type: ignore[arg-type]


def _watch_exposure(
    figures: Figures, observed: Observed, counts: EventCounts, shown: pl.DataFrame, users: int, rows: int
) -> None:
    items = observed.items.filter("available").select("item_id")
    exposure = items.join(shown, on="item_id", how="left").with_columns(pl.col("users").fill_null(0))
    listed = average_by_item_column(
        exposure, observed.items, observed.item_columns, (pl.col("users") > 0).mean().cast(pl.Float64)
    )
    figures.add("lists.coverage", divide(int((exposure["users"] > 0).sum()), exposure.height), listed)
    figures.add("lists.gini", _compute_gini(exposure["users"].to_numpy()))
    cold = shown.join(counts.item_events, on="item_id", how="anti")
    figures.add("lists.cold_share", divide(int(cold["users"].sum()), rows))
    top = shown.sort(["users", "item_id"], descending=[True, False]).head(_NAMED)
    if top.height:
        shares = {f"item: {item}": divide(number, users) for item, number in top.iter_rows()}
        figures.add("lists.top_item_share", divide(top["users"][0], users), shares)


def _compute_gini(exposure: NDArray[np.integer[Any]]) -> float | None:
    """Return the Gini coefficient, as `recsys.evaluation.beyond_accuracy.compute_gini` defines it."""
    listed = np.sort(exposure.astype(np.int64))
    m = len(listed)
    spread = int(((2 * np.arange(1, m + 1) - m - 1) * listed).sum())
    return divide(spread, m * max(1, int(listed.sum())))


def _count_lists() -> pl.Expr:
    """Count users: every list starts with rank 1, so no set of user ids is needed."""
    return (pl.col("rank") == 1).sum().alias("users")


def sample_lists(lists: pl.LazyFrame | None, size: int) -> pl.DataFrame:
    """Return `ListSketch` of about `size` users, the same users from night to night."""
    if lists is None:
        return empty(ListSketch)
    users = lists.select(_count_lists()).collect(engine="streaming").item()
    return (
        lists.filter(is_sampled("user_id", size, users))
        .select("user_id", "rank", "item_id", "score", fallback=pl.col("sources").list.first() == FALLBACK)
        .collect(engine="streaming")
        .with_columns(pl.col("fallback").fill_null(value=False))
        .sort("user_id", "rank")
    )
