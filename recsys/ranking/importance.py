"""What the trees owe to each feature."""

from __future__ import annotations

import numpy as np
import polars as pl

from recsys.ranking.blend import Groups
from recsys.ranking.ranker import Ranker
from recsys.ranking.training_rows import thin_negatives


def measure_importance(
    ranker: Ranker, rows: pl.DataFrame, n: int, seed: int, *, max_rows: int = 20_000
) -> pl.DataFrame:
    """Measure each feature by the gain of its splits, and by what is lost without it (Breiman 2001, permutation).

    The gain says what the trees lean on where they learned; the loss says what that is worth on other rows. Of features
    that say the same thing each loses little, since the others stand in.

    Args:
        ranker: its trees are asked alone, without the blend that may be added to them.
        rows: keys, `label` and features of candidates that the ranker did not learn from, sorted by user; users
            without a positive among them are left out.
        n: list length that counts.
        seed: deals the values out anew, each feature in the same way.
        max_rows: about so many rows are looked at; of more, negatives are left out at random, so that many users count.

    Returns:
        `FeatureImportance`: `feature`, the blend among them; `gain` (Float64, of all splits), largest first, ties by
        name; `loss` (Float64): mean nDCG@n minus that with the feature's values shuffled among all rows, null where
        no user has a positive.
    """
    gains = ranker.importance()
    rows = rows.filter((pl.col("label").max() > 0).over("user_index"))
    if rows.is_empty():
        return gains.with_columns(pl.lit(None, dtype=pl.Float64).alias("loss"))
    rows = thin_negatives(rows, max_rows, seed)
    groups, matrix = Groups(rows.with_columns(pl.lit(0, dtype=pl.UInt8).alias("window"))), ranker.gather(rows)
    shuffled = np.random.default_rng(seed).permutation(len(matrix))

    def measure() -> float:
        scores = np.asarray(ranker.booster.predict(matrix), dtype=np.float32)
        return float(groups.measure(scores, n).mean())

    whole = measure()
    losses = {}
    for place, feature in enumerate(ranker.booster.feature_name()):
        kept = matrix[:, place].copy()
        matrix[:, place] = kept[shuffled]
        losses[feature] = whole - measure()
        matrix[:, place] = kept
    table = pl.DataFrame({"feature": list(losses), "loss": list(losses.values())})
    return gains.join(table, on="feature", how="left", maintain_order="left")
