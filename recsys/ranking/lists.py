"""The final list: the best candidates of each user, in order."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.histories import Histories


def rank_candidates(candidates: pl.DataFrame, scores: NDArray[np.float32] | pl.Series, n: int) -> pl.DataFrame:
    """Return each user's best `n` rows with `score` and `rank` (UInt16, 1 the best) added, sorted by user, rank.

    Rows without a score are left out; equal scores go to the smaller item number. This is where filters and
    diversity will stand.
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
    lists: pl.DataFrame, n_users: int, fallback: NDArray[np.int32], taken: pl.DataFrame, n: int
) -> pl.DataFrame:
    """Return lists of `n` rows for every user, short ones filled from the fallback order.

    Args:
        lists: `user_index`, `item_index`, `rank`, `score`.
        n_users: every number below it gets a list.
        fallback: item numbers, best first.
        taken: `user_index`, `item_index` pairs that must not be filled in (what the user has).
        n: list length; a catalogue with fewer items left for a user gives a shorter list.

    Returns:
        The lists with a Boolean column `fallback`; filled rows score below the list's last.
    """
    keys = ["user_index", "item_index"]
    have = lists.select(*keys, "rank", "score").with_columns(fallback=pl.lit(False))
    short = (
        pl.DataFrame({"user_index": np.arange(n_users, dtype=np.uint32)})
        .join(
            lists.group_by("user_index").agg(pl.len().alias("length"), pl.col("score").min()),
            on="user_index",
            how="left",
        )
        .with_columns(pl.col("length").fill_null(0), pl.col("score").fill_null(0.0))
        .filter(pl.col("length") < n)
    )
    if short.is_empty():
        return have
    order = pl.DataFrame({"item_index": fallback.astype(np.uint32)}).with_row_index("place")
    blocked = pl.concat([taken.select(keys), have.select(keys)])
    # A user needs n places of the order and one more for each that the own items and list block: for everybody
    # the reach of the keenest user would be too much.
    reach = (pl.col("len").fill_null(0) + n).clip(upper_bound=len(fallback))
    extra = (
        short.join(blocked.group_by("user_index").len(), on="user_index", how="left")
        .with_columns(place=pl.int_ranges(0, reach, dtype=pl.UInt32))
        .explode("place")
        .join(order, on="place")
        .join(blocked, on=keys, how="anti")
        .sort("user_index", "place")
        .with_columns(step=pl.int_range(1, pl.len() + 1).over("user_index"))
        .filter(pl.col("length") + pl.col("step") <= n)
        .select(
            *keys,
            (pl.col("length") + pl.col("step")).cast(pl.UInt16).alias("rank"),
            (pl.col("score") - pl.col("step")).cast(pl.Float32),
            pl.lit(True).alias("fallback"),
        )
    )
    return pl.concat([have, extra]).sort("user_index", "rank")


def name_lists(lists: pl.DataFrame, histories: Histories) -> pl.DataFrame:
    """Return `user_id`, `rank`, `item_id`, `score` of lists that carry numbers."""
    return lists.select(
        histories.user_ids.gather(lists["user_index"]).alias("user_id"),
        "rank",
        histories.item_ids.gather(lists["item_index"]).alias("item_id"),
        "score",
    )


def list_matrix(lists: pl.DataFrame, n_users: int, n: int) -> NDArray[np.int32]:
    """Return (n_users, n) int32 item numbers, best first, -1 where a list is shorter."""
    matrix = np.full((n_users, n), -1, dtype=np.int32)
    shown = lists.filter(pl.col("rank") <= n)
    matrix[shown["user_index"].to_numpy(), shown["rank"].to_numpy().astype(np.int64) - 1] = shown[
        "item_index"
    ].to_numpy()
    return matrix
