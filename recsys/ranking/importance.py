"""Importance of each feature to the trees: the gain of its splits, and what is lost without it."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.progress import track
from recsys.ranking.groups import Groups
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import share_negatives, thin_negatives


def measure_importance(
    ranker: Ranker, rows: pl.DataFrame, n: int, seed: int, *, max_rows: int = 20_000
) -> pl.DataFrame:
    """Measure each feature by the gain of its splits, and by what is lost without it (Breiman 2001, permutation).

    The gain shows what the trees use on the rows that they learned from; the loss shows what that is worth on other
    rows. Each of several redundant features has a small loss, because the others replace it.

    Args:
        ranker: its trees alone are measured, without the blend that may be added to them.
        rows: keys, `label` and features of candidates that the ranker did not learn from, sorted by user; users
            without a positive among them are left out.
        n: list length that counts.
        seed: of the permutation, which is the same for every feature.
        max_rows: about this many rows are used; if there are more, negatives are dropped at random, so that many users
            count.

    Returns:
        `FeatureImportance`: `feature`, including the blend; `gain` (Float64, of all splits), largest first, ties by
        name; `loss` (Float64): mean nDCG@n minus that with the feature's values shuffled among all rows, null where
        no user has a positive.
    """
    gains = ranker.importance()
    rows = rows.filter((pl.col("label").max() > 0).over("user_index"))
    if rows.is_empty():
        return gains.with_columns(pl.lit(None, dtype=pl.Float64).alias("loss"))
    rows = thin_negatives(rows, share_negatives(rows, max_rows), seed)
    groups = Groups(rows.with_columns(pl.lit(0, dtype=pl.UInt8).alias("window")))
    columns = list(np.ascontiguousarray(ranker.gather(rows).T))
    shuffled = np.random.default_rng(seed).permutation(rows.height)

    def measure() -> float:
        return float(groups.measure(ranker.forest.score(columns).astype(np.float32), n).mean())

    whole, split = measure(), set(gains.filter(pl.col("gain") > 0)["feature"])
    losses = {}
    for place, feature in enumerate(track(ranker.booster.feature_name(), "Importance of features")):
        if feature not in split:
            losses[feature] = 0.0
            continue
        kept = columns[place]
        columns[place] = kept[shuffled]
        losses[feature] = whole - measure()
        columns[place] = kept
    table = pl.DataFrame({"feature": list(losses), "loss": list(losses.values())})
    return gains.join(table, on="feature", how="left", maintain_order="left")
