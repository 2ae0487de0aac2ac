"""The final list: the best candidates of each user, in order."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.source import Source
from recsys.dataset.histories import Histories


def rank_candidates(candidates: pl.DataFrame, scores: NDArray[np.float32] | pl.Series, n: int) -> pl.DataFrame:
    """Return each user's best `n` rows with `score` and `rank` (UInt16, 1 the best) added, sorted by user, rank.

    Rows without a score are left out; equal scores go to the smaller item number.
    """
    scored = candidates.with_columns(pl.Series("score", scores, dtype=pl.Float32).fill_nan(None))
    return (
        scored.filter(pl.col("score").is_not_null())
        .sort(["user_index", "score", "item_index"], descending=[False, True, False])
        .with_columns(pl.int_range(1, pl.len() + 1).over("user_index").alias("rank"))
        .filter(pl.col("rank") <= n)
        .with_columns(pl.col("rank").cast(pl.UInt16))
    )


def fill_up(
    items: NDArray[np.int32],
    scores: NDArray[np.float32],
    source: Source,
    users: Histories,
    exclusions: Exclusions,
) -> NDArray[np.bool_]:
    """Fill short lists with a source's best items that are not excluded and not in the list, in place.

    Args:
        items: (n_users, n) int32, best first, -1 for an empty rank.
        scores: (n_users, n) float32; a filled rank scores one less than the rank above it, the first rank -1.
        source: asked for the users with a short list.
        users: histories of the block.
        exclusions: of the same users.

    Returns:
        (n_users, n) bool, which ranks were filled; where the source has too few items, the rest stays -1.
    """
    filled = np.zeros(items.shape, dtype=bool)
    lengths = (items >= 0).sum(axis=1)
    short = np.flatnonzero(lengths < items.shape[1])
    if not len(short):
        return filled
    listed = items[short] >= 0
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(listed.sum(axis=1))])
    open_to = exclusions.pick(short).add(starts, items[short][listed])
    top = source.score(users.pick(short)).find_top(items.shape[1], open_to)
    for step in range(items.shape[1]):
        have = lengths[short]
        more = (have < items.shape[1]) & (top[:, step] >= 0)
        user, rank = short[more], have[more]
        items[user, rank], filled[user, rank] = top[more, step], True
        above = np.where(rank > 0, scores[user, np.maximum(rank - 1, 0)], 0.0)
        scores[user, rank] = above - 1.0
        lengths[user] += 1
    return filled


def name_lists(lists: pl.DataFrame, histories: Histories) -> pl.DataFrame:
    """Return `user_id`, `rank`, `item_id`, `score` of lists by index."""
    return lists.select(
        histories.user_ids.gather(lists["user_index"]).alias("user_id"),
        "rank",
        histories.item_ids.gather(lists["item_index"]).alias("item_id"),
        "score",
    )
