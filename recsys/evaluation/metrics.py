"""Ranking metrics as pure functions: lists and positives in, one number per user out.

Every metric takes three arguments: `hits`, which marks the positives in each list; `n_positives`, a `(n_users,)`
integer array with the number of all positives of each user, including those that no list can contain; and `n`, how many
ranks count. It returns `(n_users,)` float64 values between 0 and 1, 1 is the best. All metrics raise `DataError` when
a user has no positives (the value would be undefined), when a list contains more hits than the user has positives, or
when the lists are shorter than n (pad short lists with -1).

`hits` is a `(n_users, list_length)` bool matrix where every item has its own rank, or `TiedHits` where scores tie.
With ties each metric is its expected value over all orders of the tied items, all equally likely (McSherry & Najork
2008). So the order of ids or rows cannot look like a gain, and a constant score is worth a random order.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError
from recsys.progress import format_count

Integers = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class TiedHits:
    """The hits at each rank of lists whose items may tie; an item without equals is a tie of one.

    Attributes:
        positives: `(n_users, list_length)` integers, number of positives in the tie at each rank, including those
            beyond the end of the list.
        tie_sizes: the same shape, number of items in that tie, at least 1, including those beyond the end.
        above: the same shape, number of items of that tie above this rank.
    """

    positives: Integers
    tie_sizes: Integers
    above: Integers

    @property
    def chance(self) -> Values:
        """Probability of a hit at each rank, `(n_users, list_length)` float64."""
        return self.positives / self.tie_sizes

    def select(self, users: NDArray[np.bool_]) -> TiedHits:
        """Return the hits of some users."""
        return TiedHits(self.positives[users], self.tie_sizes[users], self.above[users])


Hits = NDArray[np.bool_] | TiedHits
Metric = Callable[[Hits, Counts, int], Values]


def find_hits(lists: Integers, positives: csr_array) -> NDArray[np.bool_]:
    """Mark the ranks of each list that hold one of the user's positives.

    Args:
        lists: `(n_users, list_length)` integers (int32 by convention), item indices, best first; short lists are padded
            with -1 at the end. A -1 is never a hit.
        positives: `(n_users, n_items)` bool or uint8, non-zero where the item is a positive of the user; rows in the
            order of `lists`.

    Returns:
        `(n_users, list_length)` bool.

    Raises:
        DataError: the shapes differ, an index is outside the catalogue, an item comes after a -1, or a list contains
            an item twice (it would count twice).

    Example:
        >>> find_hits(np.array([[3, 0, 2]]), csr_array([[1, 1, 0, 0]]))
        array([[False,  True, False]])
    """
    n_users, n_items = positives.shape
    if len(lists) != n_users:
        raise DataError(
            f"lists: {format_count(len(lists), 'row')}, but positives have {n_users:,}; pass both for the same users, "
            "in the same order"
        )
    check_lists(lists, n_items)
    unique = _deduplicate(positives)
    first_key = np.arange(n_users, dtype=np.int64) * n_items
    keys = np.repeat(first_key, np.diff(unique.indptr)) + unique.indices
    # A last key above every pair, so that the search always returns a valid index.
    keys = np.append(keys, n_users * n_items)
    wanted = first_key[:, None] + lists
    hits: NDArray[np.bool_] = (keys[np.searchsorted(keys, wanted)] == wanted) & (lists >= 0)
    return hits


def count_positives(positives: csr_array) -> Counts:
    """Count the positives of each user, `(n_users,)` int64; stored zeros do not count, repeated entries count once.

    Example:
        >>> count_positives(csr_array([[1, 1, 0, 0], [0, 0, 0, 1]]))
        array([2, 1])
    """
    counts: Counts = np.diff(_deduplicate(positives).indptr).astype(np.int64)
    return counts


def ndcg(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Normalised discounted cumulative gain: a hit counts more at a higher rank.

    A hit at rank r gains 1 / log2(r + 1). The sum is divided by that of the best possible list, which has
    min(n_positives, n) hits at the top. Järvelin & Kekäläinen (2002), binary gains; the discount starts at the second
    rank, as in Burges et al. (2005).

    Example:
        Hits at ranks 1 and 3 gain 1 + 1/2; the best list gains 1 + 1 / log2(3).

        >>> ndcg(np.array([[True, False, True]]), np.array([2]), 3).round(3)
        array([0.92])
    """
    discounts = 1.0 / np.log2(np.arange(2, n + 2))
    gained = _sum_in_order(_take_first(hits, n_positives, n).chance * discounts)
    ideal = np.cumsum(discounts)[np.minimum(n_positives, n) - 1]
    gains: Values = gained / ideal
    return gains


def recall(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Share of the user's positives that are among the first n.

    Plain recall: divided by all positives, not by min(n_positives, n), so a user with more than n positives cannot
    reach 1. Herlocker et al. (2004).

    Example:
        2 of 4 positives are among the first 3.

        >>> recall(np.array([[True, False, True]]), np.array([4]), 3)
        array([0.5])
    """
    return _count_hits(hits, n_positives, n) / n_positives


def precision(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Share of the first n ranks that are hits, also of a short list. Herlocker et al. (2004).

    Example:
        1 of the first 4 is a hit.

        >>> precision(np.array([[True, False, False, False]]), np.array([2]), 4)
        array([0.25])
    """
    return _count_hits(hits, n_positives, n) / n


def f1(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Harmonic mean of the user's precision and recall; 0 without a hit. van Rijsbergen (1979).

    With h hits, 2 (h/n) (h/p) / (h/n + h/p) is 2h / (n + p), which is defined for h = 0.

    Example:
        Precision 1/4 and recall 1/4 have the harmonic mean 1/4.

        >>> f1(np.array([[True, False, False, False]]), np.array([4]), 4)
        array([0.25])
    """
    return 2 * _count_hits(hits, n_positives, n) / (n + n_positives)


def mrr(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Reciprocal rank of the first hit among the first n, 0 without one. Voorhees (1999).

    Example:
        The first hit of the first user is at rank 2; the second user has none.

        >>> mrr(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]), 3)
        array([0.5, 0. ])
    """
    first = _take_first(hits, n_positives, n)
    none_yet = _chance_of_none(first)
    first_here = np.hstack([np.ones((len(none_yet), 1)), none_yet[:, :-1]]) - none_yet
    return _sum_in_order(first_here / np.arange(1, n + 1))


def average_precision(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Average of the precision at each hit among the first n; its mean over users is MAP.

    The sum is divided by min(n_positives, n), the hits of the best possible list. Buckley & Voorhees (2000), cut at n.

    Example:
        Precision is 1/1 at rank 1 and 2/4 at rank 4: (1 + 1/2) / 2.

        >>> average_precision(np.array([[True, False, False, True]]), np.array([2]), 4)
        array([0.75])
    """
    first = _take_first(hits, n_positives, n)
    chance = first.chance
    # Expected hits above a rank that holds a hit: independent of it above its tie, drawn together with it inside.
    above = np.cumsum(chance, axis=1) - chance
    above_tie = np.take_along_axis(above, np.arange(n) - first.above, axis=1)
    both = chance * (first.positives - 1) / np.maximum(first.tie_sizes - 1, 1)
    expected = chance * (1.0 + above_tie) + first.above * both
    average: Values = _sum_in_order(expected / np.arange(1, n + 1)) / np.minimum(n_positives, n)
    return average


def hit_rate(hits: Hits, n_positives: Counts, n: int) -> Values:
    """1 where at least one of the first n is a hit, else 0; with ties, the probability of a hit.

    Example:
        >>> hit_rate(np.array([[False, True, True], [False, False, False]]), np.array([2, 1]), 3)
        array([1., 0.])
    """
    chance: Values = 1.0 - _chance_of_none(_take_first(hits, n_positives, n))[:, -1]
    return chance


# Every metric by its name in configs and tables, in the order of the tables.
METRICS: dict[str, Metric] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "mrr": mrr,
    "map": average_precision,
    "hit_rate": hit_rate,
}


def _deduplicate(positives: csr_array) -> csr_array:
    """Return a copy with sorted indices, each pair once, and no stored zeros."""
    unique = positives.astype(bool)
    unique.sum_duplicates()
    unique.eliminate_zeros()
    return unique


def _take_first(hits: Hits, n_positives: Counts, n: int) -> TiedHits:
    """Return the hits of the first n ranks after the checks that every metric needs."""
    shape = hits.tie_sizes.shape if isinstance(hits, TiedHits) else hits.shape
    check_length(shape, n)
    if n_positives.shape != shape[:1]:
        raise DataError(
            f"n_positives: shape {n_positives.shape}, expected ({shape[0]},), one count per list; pass both in the "
            "same user order"
        )
    lacking = int((n_positives < 1).sum())
    if lacking:
        raise DataError(f"positives: {lacking:,} of {shape[0]:,} users have none, expected at least 1; exclude them")
    if isinstance(hits, TiedHits):
        first = TiedHits(hits.positives[:, :n], hits.tie_sizes[:, :n], hits.above[:, :n])
        expected = hits.chance.sum(axis=1)
    else:
        tie_of_one, none_above = np.ones((1, n), np.int32), np.zeros((1, n), np.int32)
        first, expected = TiedHits(hits[:, :n].astype(np.int32), tie_of_one, none_above), hits.sum(axis=1)
    # The shares of a tie add up with a rounding error.
    too_many = expected > n_positives + 1e-6
    if too_many.any():
        row = int(np.argmax(too_many))
        raise DataError(
            f"hits: row {row} has {expected[row]:g}, expected at most {n_positives[row]}, its number of positives; "
            "count all positives, including those that no list can contain"
        )
    return first


def _count_hits(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Count the hits among the first n."""
    return _sum_in_order(_take_first(hits, n_positives, n).chance)


def _chance_of_none(first: TiedHits) -> Values:
    """Return the probability that there is no hit down to each rank, `(n_users, n)` float64.

    After j ranks of a tie without a hit, its positives are among the remaining items, so the probability of a hit at
    the next rank grows.
    """
    left = np.maximum(first.tie_sizes - first.above, 1)
    none: Values = np.cumprod(1.0 - np.minimum(first.positives / left, 1.0), axis=1)
    return none


def check_length(shape: tuple[int, ...], n: int) -> None:
    """Raise `DataError` unless lists of this shape have at least n ranks."""
    if len(shape) != 2 or not 1 <= n <= shape[1]:
        raise DataError(
            f"lists: shape {shape}, expected (n_users, at least n = {n}) with n above 0; "
            "make longer lists (padded with -1) or measure a smaller n"
        )


def check_lists(lists: Integers, n_items: int) -> None:
    """Raise `DataError` for lists that cannot come from the catalogue; see `find_hits`."""
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise DataError(
            f"lists: shape {lists.shape} of {lists.dtype}, expected (n_users, n) of int32; pass item indices"
        )
    ordered = np.sort(lists, axis=1)
    faults = {
        f"an index outside -1 … {n_items - 1}": (lists < -1) | (lists >= n_items),
        "an item after a -1": (lists[:, 1:] >= 0) & (lists[:, :-1] == -1),
        "the same item twice": (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0),
    }
    for fault, cells in faults.items():
        rows = np.flatnonzero(cells.any(axis=1))
        if rows.size:
            raise DataError(
                f"lists: {format_count(rows.size, 'row')} with {fault} (first: row {rows[0]}), expected different "
                "items of the catalogue, then -1 to the end; fix the code that makes the lists"
            )


def _sum_in_order(terms: Values) -> Values:
    """Sum each row from left to right.

    `np.sum` may add pairs of terms first; a fixed order gives a perfect list exactly 1 and no list more than 1.
    """
    total: Values = np.cumsum(terms, axis=1)[:, -1]
    return total
