"""Model: whether the champion still scores as it did, and how often the fallback fills in for it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import polars as pl

from recsys.evaluation.drift import compare_scores
from recsys.monitoring.figures import Figures, divide

# Kolmogorov's critical value: without a shift, 95 % of the distances are below it.
CRITICAL = 1.358
_RANKS = {"rank: 1": (1, 1), "rank: 2-5": (2, 5), "rank: 6 and below": (6, 65_535)}


def watch_model(figures: Figures, facts: Mapping[str, Any], lists: pl.DataFrame, last: pl.DataFrame | None) -> None:
    """Add the figures of the area `model`.

    `model.score_ks` is the distance between the distributions of scores tonight and in the last good night by the same
    model with the same settings; `model.score_ks_low` is the lower end of its 95 % interval, 0 where the distance may
    be chance. The scores of a list depend on each other, so a sample counts as large as its number of users.

    Args:
        figures: to add to.
        facts: manifest of tonight's lists.
        lists: `ListSketch` of tonight.
        last: the same for the last good night; None if it had no lists, or lists of another model or settings.
    """
    counts = facts.get("counts", {})
    figures.add("model.fallback_share", divide(counts.get("fallback_rows", 0), counts.get("rows", 0)))
    figures.add("model.empty_share", divide(counts.get("empty_lists", 0), counts.get("users", 0)))
    if last is None:
        return
    now, before = (frame.filter(~pl.col("fallback")) for frame in (lists, last))
    if not now.height or not before.height:
        return
    users = [frame["user_id"].n_unique() for frame in (now, before)]
    drift = compare_scores(now["score"], before["score"])
    noise = CRITICAL * math.sqrt(1 / users[0] + 1 / users[1])
    segments = {}
    for name, ranks in _RANKS.items():
        new, old = (frame.filter(pl.col("rank").is_between(*ranks))["score"] for frame in (now, before))
        segments[name] = compare_scores(new, old).ks if len(new) and len(old) else None
    figures.add("model.score_ks", drift.ks, segments)
    figures.add("model.score_ks_low", max(0.0, drift.ks - noise))
    figures.add("model.score_psi", drift.psi)
