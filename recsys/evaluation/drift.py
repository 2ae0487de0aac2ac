"""How the scores and the lists of two nights differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import churn, take_first
from recsys.tables import Recommendations, check

# Persistence of rank-biased overlap: 0.9 puts 86 % of the unending measure's weight on the first 10 places.
RBO_PERSISTENCE = 0.9


@dataclass(frozen=True)
class ScoreDrift:
    """How far the scores of now have moved from those of before.

    Attributes:
        psi: population stability index, 0 where every bin holds the same share. By custom below 0.1 is calm and above
            0.25 a shift (Siddiqi 2006).
        ks: Kolmogorov-Smirnov distance, the largest gap between the two cumulative shares, 0 … 1.
        edges: ends of the bins between the first and the last, rising; a bin holds scores up to and with its end.
        now: share of the scores of now in each bin, one more than edges.
        before: the same, of the scores before.
    """

    psi: float
    ks: float
    edges: tuple[float, ...]
    now: tuple[float, ...]
    before: tuple[float, ...]


@dataclass(frozen=True)
class ListDrift:
    """How far the lists of now have moved from those of before; means are over the users who have both.

    Attributes:
        users: users with a list now and before. Where there are none, the three means are None.
        churn: mean share of a user's items that the user was not shown before.
        jaccard: mean of the items in both lists over the items in either.
        rbo: mean rank-biased overlap (Webber et al. 2010), 1 the same items in the same order, 0 none in common.
        users_new: share of the users of now who had no list before.
        users_gone: share of the users before who have no list now.
        items_new: share of the items shown to anyone now that no one was shown before.
    """

    users: int
    churn: float | None
    jaccard: float | None
    rbo: float | None
    users_new: float
    users_gone: float
    items_new: float


def compare_scores(now: pl.Series, before: pl.Series, bins: int = 10) -> ScoreDrift:
    """Compare two nights' scores by their distribution.

    The population stability index is Σ (p - q) ln(p / q) over bins that each held about the same share of the scores
    before; where many scores are equal, bins that would share an end are one. p (now) and q (before) count half a
    score more in every bin, so that an empty one is finite. Without any drift chance alone makes it about
    (bins - 1)(1/n_now + 1/n_before), so few scores say little (Yurdakul 2018).

    Args:
        now: scores, a number each; the order does not matter.
        before: the same of the night to compare with.
        bins: how many quantile bins, at least 2.

    Raises:
        DataError: no scores, missing or infinite ones, or fewer than 2 bins.
    """
    if bins < 2:
        raise DataError(f"bins: {bins}, expected at least 2; give for example 10")
    new, old = _sort_scores(now, "scores of now"), _sort_scores(before, "scores before")
    # Ends are scores that were seen, never one made up between two of them.
    edges = np.unique(np.quantile(old, np.arange(1, bins) / bins, method="inverted_cdf"))
    counts_new, counts_old = (_count_bins(scores, edges) for scores in (new, old))
    half = 0.5 * len(counts_old)
    p, q = (counts_new + 0.5) / (len(new) + half), (counts_old + 0.5) / (len(old) + half)
    seen = np.concatenate([new, old])
    gaps = np.searchsorted(new, seen, "right") / len(new) - np.searchsorted(old, seen, "right") / len(old)
    return ScoreDrift(
        psi=float(((p - q) * np.log(p / q)).sum()),
        ks=float(np.abs(gaps).max()),
        edges=tuple(edges.tolist()),
        now=tuple((counts_new / len(new)).tolist()),
        before=tuple((counts_old / len(old)).tolist()),
    )


def compare_lists(now: pl.DataFrame, before: pl.DataFrame, n: int) -> ListDrift:
    """Compare the first n places of two nights' lists.

    Rank-biased overlap weighs the agreement at depth d (items in both first d, over d) by 0.9^(d - 1). It is cut at the
    longer of the user's two lists and divided by the weights down to there, so it runs from 0 to 1: nothing is assumed
    about places that no one sees, where Webber et al. extrapolate.

    Args:
        now: `Recommendations`.
        before: `Recommendations` of the night to compare with.
        n: how many places count.

    Raises:
        DataError: a frame is no `Recommendations`, has no rows, or holds lists that `churn` refuses.
    """
    new, old = _check_lists(now, n, "lists of now"), _check_lists(before, n, "lists before")
    changed = churn(new, old, n)
    kept = _find_kept(changed["user_id"], new, old)
    # Every row is an item in either list; those with a depth are in both.
    jaccard = kept.group_by("user").agg((pl.col("depth").count() / pl.len()).alias("jaccard")).sort("user")["jaccard"]
    items = new.select(pl.col("item_id").unique())
    return ListDrift(
        users=changed.height,
        churn=_average(changed["churn"].to_numpy()),
        jaccard=_average(jaccard.to_numpy()),
        rbo=_average(_overlap(kept, n)),
        users_new=1.0 - changed.height / new["user_id"].n_unique(),
        users_gone=1.0 - changed.height / old["user_id"].n_unique(),
        items_new=items.join(old, on="item_id", how="anti").height / items.height,
    )


def _find_kept(users: pl.Series, new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """Return every item of some users (sorted, in both) with its ranks `now` and `before`, null where it is not there.

    `user` is the user's number. `depth` is the first depth at which both lists hold the item, null where none is.
    """
    numbers = pl.DataFrame({"user_id": users}).with_row_index("user")
    here, there = (
        frame.join(numbers, on="user_id").select("user", "item_id", pl.col("rank").alias(name))
        for name, frame in (("now", new), ("before", old))
    )
    both = pl.col("now").is_not_null() & pl.col("before").is_not_null()
    return here.join(there, on=["user", "item_id"], how="full", coalesce=True).with_columns(
        depth=pl.when(both).then(pl.max_horizontal("now", "before"))
    )


def _overlap(kept: pl.DataFrame, n: int) -> NDArray[np.float64]:
    """Return each user's rank-biased overlap, `(n_users,)` float64, from what `_find_kept` returns."""
    longer = kept.group_by("user").agg(length=pl.max_horizontal("now", "before").max()).sort("user")
    length = longer["length"].to_numpy()
    met = kept.drop_nulls("depth")
    entered = np.zeros((len(length), n))
    np.add.at(entered, (met["user"].to_numpy(), met["depth"].to_numpy() - 1), 1.0)
    agreement = np.cumsum(entered, axis=1) / np.arange(1, n + 1)
    weights = np.where(np.arange(n) < length[:, None], RBO_PERSISTENCE ** np.arange(n), 0.0)
    overlap: NDArray[np.float64] = (agreement * weights).sum(axis=1) / weights.sum(axis=1)
    return overlap


def _average(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _count_bins(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count sorted scores up to and with each edge but above the one before it, and those above the last."""
    below = np.searchsorted(scores, edges, "right")
    return np.diff(below, prepend=0, append=len(scores))


def _sort_scores(scores: pl.Series, what: str) -> NDArray[np.float64]:
    numbers = scores.cast(pl.Float64).to_numpy()
    lacking = int((~np.isfinite(numbers)).sum())
    if lacking or not len(numbers):
        raise DataError(
            f"{what}: {lacking:,} of {len(numbers):,} are no finite number, expected at least one score and numbers "
            "only; give the score column of lists that 'recsys generate' wrote"
        )
    return np.sort(numbers)


def _check_lists(lists: pl.DataFrame, n: int, what: str) -> pl.DataFrame:
    next_step = "give the lists that 'recsys generate' wrote"
    first = take_first(check(Recommendations, lists, what, next_step), n, what)
    if first.is_empty():
        raise DataError(f"{what}: 0 rows, expected at least one list; {next_step}")
    return first
