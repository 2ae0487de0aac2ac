"""How the scores and the lists of two run dates differ."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import churn, take_first
from recsys.tables import Recommendations, check

# Persistence of rank-biased overlap: 0.9 puts 86 % of the weight of the infinite sum on the first 10 ranks.
RBO_PERSISTENCE = 0.9


@dataclass(frozen=True)
class ScoreDrift:
    """How far the new scores have moved from the old ones.

    Attributes:
        psi: population stability index, 0 where every bin has the same share. By convention below 0.1 is stable and
            above 0.25 is a shift (Siddiqi 2006).
        ks: Kolmogorov-Smirnov distance, the largest gap between the two cumulative distributions, 0 … 1.
        edges: upper ends of all bins but the last, ascending; a bin includes its upper end.
        now: share of the new scores in each bin; one bin more than edges.
        before: the same for the old scores.
    """

    psi: float
    ks: float
    edges: tuple[float, ...]
    now: tuple[float, ...]
    before: tuple[float, ...]


@dataclass(frozen=True)
class ListDrift:
    """How far the new lists have moved from the old ones; means are over the users who have both.

    Attributes:
        users: number of users with a new and an old list. Without any, the three means are None.
        churn: mean share of the items in a user's new list that are not in the old one.
        jaccard: mean of the number of items in both lists over the number of items in either.
        rbo: mean rank-biased overlap (Webber et al. 2010), 1 for equal lists, 0 for disjoint ones.
        users_new: share of the users with a new list who have no old one.
        users_gone: share of the users with an old list who have no new one.
        items_new: share of the items in any new list that are in no old one.
    """

    users: int
    churn: float | None
    jaccard: float | None
    rbo: float | None
    users_new: float
    users_gone: float
    items_new: float


def compare_scores(now: pl.Series, before: pl.Series, bins: int = 10) -> ScoreDrift:
    """Compare the distributions of the scores of two run dates.

    The population stability index is Σ (p - q) ln(p / q) over quantile bins of the old scores; where many scores are
    equal, bins with the same upper end are merged. p (now) and q (before) count half a score more in every bin, so the
    index stays finite with an empty bin. Without any drift its expected value is about
    (bins - 1)(1/n_now + 1/n_before), so a small sample proves little (Yurdakul 2018).

    Args:
        now: new scores; the order does not matter.
        before: old scores.
        bins: number of quantile bins, at least 2.

    Raises:
        DataError: no scores, missing or infinite ones, or fewer than 2 bins.
    """
    if bins < 2:
        raise DataError(f"bins: {bins}, expected at least 2; for example 10")
    new, old = _check_scores(now, "new scores"), _check_scores(before, "old scores")
    # Edges are observed scores, never interpolated between two of them.
    edges = np.unique(np.quantile(old, np.arange(1, bins) / bins, method="inverted_cdf"))
    counts_new, counts_old = (_count_bins(scores, edges) for scores in (new, old))
    half = 0.5 * len(counts_old)
    p, q = (counts_new + 0.5) / (len(new) + half), (counts_old + 0.5) / (len(old) + half)
    return ScoreDrift(
        psi=float(((p - q) * np.log(p / q)).sum()),
        ks=compute_ks_distance(new, old),
        edges=tuple(edges.tolist()),
        now=tuple((counts_new / len(new)).tolist()),
        before=tuple((counts_old / len(old)).tolist()),
    )


def compute_ks_distance(a: NDArray[np.floating[Any]], b: NDArray[np.floating[Any]]) -> float:
    """Return the Kolmogorov-Smirnov distance of two samples: the largest gap between their cumulative distributions.

    Args:
        a: `(n_a,)` finite numbers in any order, at least one.
        b: `(n_b,)`, likewise.

    Returns:
        0 for equal distributions … 1 for samples that do not overlap.
    """
    # scipy.stats.ks_2samp also computes a p-value, which takes longer than everything else and is not used here.
    a, b = np.sort(a), np.sort(b)
    both = np.concatenate([a, b])
    gaps = np.searchsorted(a, both, side="right") / len(a) - np.searchsorted(b, both, side="right") / len(b)
    return float(np.abs(gaps).max())


def compare_lists(now: pl.DataFrame, before: pl.DataFrame, n: int) -> ListDrift:
    """Compare the first n ranks of the lists of two run dates.

    Rank-biased overlap weighs the agreement at depth d (items in the first d of both lists, over d) by 0.9^(d - 1). It
    is cut at the longer of the user's two lists and divided by the weights down to there, so it runs from 0 to 1.
    Webber et al. extrapolate beyond the end instead; here nothing is assumed about ranks beyond the end.

    Args:
        now: new `Recommendations`.
        before: old `Recommendations`.
        n: how many ranks count.

    Raises:
        DataError: a frame does not satisfy `Recommendations`, has no rows, or holds lists that `churn` refuses.
    """
    new, old = _check_lists(now, n, "new lists"), _check_lists(before, n, "old lists")
    changed = churn(new, old, n)
    both = _join_lists(changed["user_id"], new, old)
    # Every row is an item of either list; rows with a depth are in both.
    jaccard = both.group_by("user").agg((pl.col("depth").count() / pl.len()).alias("jaccard")).sort("user")["jaccard"]
    items = new.select(pl.col("item_id").unique())
    return ListDrift(
        users=changed.height,
        churn=_average(changed["churn"].to_numpy()),
        jaccard=_average(jaccard.to_numpy()),
        rbo=_average(_compute_overlap(both, n)),
        users_new=1.0 - changed.height / new["user_id"].n_unique(),
        users_gone=1.0 - changed.height / old["user_id"].n_unique(),
        items_new=items.join(old, on="item_id", how="anti").height / items.height,
    )


def _join_lists(users: pl.Series, new: pl.DataFrame, old: pl.DataFrame) -> pl.DataFrame:
    """Return every item of some users (sorted, in both) with its ranks `now` and `before`, null where it is not listed.

    `user` is the user's number. `depth` is the first depth at which both lists contain the item, null if they never do.
    """
    numbers = pl.DataFrame({"user_id": users}).with_row_index("user")
    left, right = (
        frame.join(numbers, on="user_id").select("user", "item_id", pl.col("rank").alias(name))
        for name, frame in (("now", new), ("before", old))
    )
    in_both = pl.col("now").is_not_null() & pl.col("before").is_not_null()
    return left.join(right, on=["user", "item_id"], how="full", coalesce=True).with_columns(
        depth=pl.when(in_both).then(pl.max_horizontal("now", "before"))
    )


def _compute_overlap(both: pl.DataFrame, n: int) -> NDArray[np.float64]:
    """Return each user's rank-biased overlap, `(n_users,)` float64, from the result of `_join_lists`."""
    longer = both.group_by("user").agg(length=pl.max_horizontal("now", "before").max()).sort("user")
    length = longer["length"].to_numpy()
    shared = both.drop_nulls("depth")
    counts = np.zeros((len(length), n))
    np.add.at(counts, (shared["user"].to_numpy(), shared["depth"].to_numpy() - 1), 1.0)
    agreement = np.cumsum(counts, axis=1) / np.arange(1, n + 1)
    weights = np.where(np.arange(n) < length[:, None], RBO_PERSISTENCE ** np.arange(n), 0.0)
    overlap: NDArray[np.float64] = (agreement * weights).sum(axis=1) / weights.sum(axis=1)
    return overlap


def _average(values: NDArray[np.float64]) -> float | None:
    return float(values.mean()) if len(values) else None


def _count_bins(scores: NDArray[np.float64], edges: NDArray[np.float64]) -> NDArray[np.int64]:
    """Count the sorted scores in each bin: above the edge before it, up to and including its own edge."""
    below = np.searchsorted(scores, edges, "right")
    return np.diff(below, prepend=0, append=len(scores))


def _check_scores(scores: pl.Series, what: str) -> NDArray[np.float64]:
    """Return the scores sorted."""
    numbers = scores.cast(pl.Float64).to_numpy()
    lacking = int((~np.isfinite(numbers)).sum())
    if lacking or not len(numbers):
        raise DataError(
            f"{what}: {lacking:,} of {len(numbers):,} are not finite numbers, expected at least one score and only "
            "finite numbers; pass the score column of lists that 'recsys generate' wrote"
        )
    return np.sort(numbers)


def _check_lists(lists: pl.DataFrame, n: int, what: str) -> pl.DataFrame:
    next_step = "pass the lists that 'recsys generate' wrote"
    first = take_first(check(Recommendations, lists, what, next_step), n, what)
    if first.is_empty():
        raise DataError(f"{what}: 0 rows, expected at least one list; {next_step}")
    return first
