"""Ranking metrics as pure functions: lists and positives in, one number per user out.

Every metric reads three things: `hits`, which says what stands in the places of each list; `n_positives`, a
`(n_users,)` integer array of all the items the user took, also those that no list could contain; and `n`, how many
places count. It returns `(n_users,)` float64 values between 0 and 1, 1 the best. All of them raise `DataError` when a
user has no positives (there is nothing to find, so no honest number), when a list shows more hits than the user has
positives, or when the lists are shorter than n places (pad short lists with -1 instead).

`hits` is a `(n_users, list_length)` bool matrix where every item has its own place, or `TiedHits` where scores tie.
With ties each metric is its expected value over all orders of the tied items, each as likely (McSherry & Najork 2008),
so no order of ids or rows can look like a gain, and a constant score is worth what a random order is worth.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError

Integers = NDArray[np.integer[Any]]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]


@dataclass(frozen=True)
class TiedHits:
    """What stands in the places of lists whose items may tie; a place without a tie is a tie of one.

    Attributes:
        found: `(n_users, list_length)` integers, positives among the items that tie at the place, also those of them
            that stand beyond the end of the list.
        tied: the same shape, how many items tie at the place, at least 1, likewise.
        above: the same shape, places of the same tie above this one.
    """

    found: Integers
    tied: Integers
    above: Integers

    @property
    def chance(self) -> Values:
        """Chance that each place holds a hit, `(n_users, list_length)` float64."""
        return self.found / self.tied

    def select(self, users: NDArray[np.bool_]) -> TiedHits:
        """Return the lists of some users."""
        return TiedHits(self.found[users], self.tied[users], self.above[users])


Hits = NDArray[np.bool_] | TiedHits
Metric = Callable[[Hits, Counts, int], Values]


def find_hits(lists: Integers, positives: csr_array) -> NDArray[np.bool_]:
    """Mark the places of each list that hold one of the user's positives.

    Args:
        lists: `(n_users, list_length)` integers (int32 by custom), item indices, best first; -1 fills up a
            short list and stands only at its end. A -1 is never a hit.
        positives: `(n_users, n_items)` bool or uint8, non-zero where the user took the item; rows in the same
            order as `lists`.

    Returns:
        `(n_users, list_length)` bool.

    Raises:
        DataError: the shapes differ, an index is outside the catalogue, an item stands after a -1, or an item
            stands twice in one list (it would count twice).
    """
    n_users, n_items = positives.shape
    if len(lists) != n_users:
        raise DataError(
            f"lists: {len(lists):,} rows, but positives have {n_users:,}; give both the same users, in order"
        )
    check_lists(lists, n_items)
    tidy = _tidy(positives)
    first_key = np.arange(n_users, dtype=np.int64) * n_items
    keys = np.repeat(first_key, np.diff(tidy.indptr)) + tidy.indices
    # A last key beyond every pair, so that the search always lands on a key.
    keys = np.append(keys, n_users * n_items)
    wanted = first_key[:, None] + lists
    found: NDArray[np.bool_] = (keys[np.searchsorted(keys, wanted)] == wanted) & (lists >= 0)
    return found


def count_positives(positives: csr_array) -> Counts:
    """Count the items each user took: `(n_users,)` int64; a stored zero is none, a repeated entry is one."""
    counts: Counts = np.diff(_tidy(positives).indptr).astype(np.int64)
    return counts


def ndcg(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Normalised discounted cumulative gain: hits count more the higher they stand.

    A hit at rank r gains 1 / log2(r + 1). The sum is divided by that of the best possible list, which has
    min(n_positives, n) hits at the top. Järvelin & Kekäläinen (2002), binary gains; the discount starts at
    the second rank, as in Burges et al. (2005).
    """
    discounts = 1.0 / np.log2(np.arange(2, n + 2))
    gained = _sum_in_order(_first(hits, n_positives, n).chance * discounts)
    ideal = np.cumsum(discounts)[np.minimum(n_positives, n) - 1]
    gains: Values = gained / ideal
    return gains


def recall(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Share of the user's positives that stand in the first n.

    Plain recall: divided by all positives, not by min(n_positives, n), so a user with more than n positives
    cannot reach 1. Herlocker et al. (2004).
    """
    return _count_hits(hits, n_positives, n) / n_positives


def precision(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Share of the first n places that are hits, also of a short list. Herlocker et al. (2004)."""
    return _count_hits(hits, n_positives, n) / n


def f1(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Harmonic mean of the user's precision and recall; 0 without a hit. van Rijsbergen (1979).

    With h hits, 2 (h/n) (h/p) / (h/n + h/p) is 2h / (n + p), which needs no case for 0/0.
    """
    return 2 * _count_hits(hits, n_positives, n) / (n + n_positives)


def mrr(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Reciprocal rank of the first hit in the first n, 0 without one. Voorhees (1999)."""
    first = _first(hits, n_positives, n)
    none_yet = _chance_of_none(first)
    first_here = np.hstack([np.ones((len(none_yet), 1)), none_yet[:, :-1]]) - none_yet
    return _sum_in_order(first_here / np.arange(1, n + 1))


def average_precision(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Average of the precision at each hit in the first n; its mean over users is MAP.

    The sum is divided by min(n_positives, n), the hits of the best possible list. Buckley & Voorhees (2000),
    cut at n.
    """
    first = _first(hits, n_positives, n)
    chance = first.chance
    # Hits expected above a place that holds one: independent of it above its tie, drawn with it inside the tie.
    above = np.cumsum(chance, axis=1) - chance
    above_tie = np.take_along_axis(above, np.arange(n) - first.above, axis=1)
    both = chance * (first.found - 1) / np.maximum(first.tied - 1, 1)
    expected = chance * (1.0 + above_tie) + first.above * both
    average: Values = _sum_in_order(expected / np.arange(1, n + 1)) / np.minimum(n_positives, n)
    return average


def hit_rate(hits: Hits, n_positives: Counts, n: int) -> Values:
    """1 where at least one of the first n is a hit, else 0; with ties the chance of one."""
    chance: Values = 1.0 - _chance_of_none(_first(hits, n_positives, n))[:, -1]
    return chance


# Every metric by its name in configurations and tables, in the order that tables show them.
METRICS: dict[str, Metric] = {
    "ndcg": ndcg,
    "recall": recall,
    "precision": precision,
    "f1": f1,
    "mrr": mrr,
    "map": average_precision,
    "hit_rate": hit_rate,
}


def _tidy(positives: csr_array) -> csr_array:
    """Return a copy with sorted indices, each pair once, and no stored zeros."""
    tidy = positives.astype(bool)
    tidy.sum_duplicates()
    tidy.eliminate_zeros()
    return tidy


def _first(hits: Hits, n_positives: Counts, n: int) -> TiedHits:
    """Return the first n places of the hits after the checks that every metric needs."""
    shape = hits.tied.shape if isinstance(hits, TiedHits) else hits.shape
    check_length(shape, n)
    if n_positives.shape != shape[:1]:
        raise DataError(
            f"n_positives: shape {n_positives.shape}, expected ({shape[0]},), one count per list; "
            "give both in the same user order"
        )
    lacking = int((n_positives < 1).sum())
    if lacking:
        raise DataError(f"positives: {lacking:,} of {shape[0]:,} users have none, expected at least 1; leave them out")
    if isinstance(hits, TiedHits):
        found, expected = TiedHits(hits.found[:, :n], hits.tied[:, :n], hits.above[:, :n]), hits.chance.sum(axis=1)
    else:
        alone, zero = np.ones((1, n), np.int32), np.zeros((1, n), np.int32)
        found, expected = TiedHits(hits[:, :n].astype(np.int32), alone, zero), hits.sum(axis=1)
    # Shares of ties add up with a rounding error.
    if (expected > n_positives + 1e-6).any():
        row = int(np.argmax(expected > n_positives + 1e-6))
        raise DataError(
            f"hits: row {row} has {expected[row]:g} hits, expected at most its {n_positives[row]} positives; "
            "count all positives, also those that no list could contain"
        )
    return found


def _count_hits(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Count the hits in the first n."""
    return _sum_in_order(_first(hits, n_positives, n).chance)


def _chance_of_none(first: TiedHits) -> Values:
    """Return the chance that no place down to each one holds a hit, `(n_users, n)` float64.

    After j places of a tie without a hit its positives are among the others, so the next one's chance grows.
    """
    left = np.maximum(first.tied - first.above, 1)
    none: Values = np.cumprod(1.0 - np.minimum(first.found / left, 1.0), axis=1)
    return none


def check_length(shape: tuple[int, ...], n: int) -> None:
    """Raise `DataError` where lists of a shape have no n places."""
    if len(shape) != 2 or not 1 <= n <= shape[1]:
        raise DataError(
            f"lists: shape {shape}, expected (n_users, at least n = {n}) with n above 0; "
            "make longer lists (padded with -1) or measure a smaller n"
        )


def check_lists(lists: Integers, n_items: int) -> None:
    """Raise `DataError` where lists hold what no list of a catalogue can hold; see `find_hits`."""
    if lists.ndim != 2 or not np.issubdtype(lists.dtype, np.integer):
        raise DataError(
            f"lists: shape {lists.shape} of {lists.dtype}, expected (n_users, n) of int32; give item indices"
        )
    ordered = np.sort(lists, axis=1)
    faults = {
        f"an index outside -1 … {n_items - 1}": (lists < -1) | (lists >= n_items),
        "an item after a -1": (lists[:, 1:] >= 0) & (lists[:, :-1] == -1),
        "the same item twice": (ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0),
    }
    for fault, places in faults.items():
        rows = np.flatnonzero(places.any(axis=1))
        if rows.size:
            raise DataError(
                f"lists: {rows.size:,} rows hold {fault} (first: row {rows[0]}), expected different items of "
                "the catalogue, then -1 to the end; mend what made the lists"
            )


def _sum_in_order(terms: Values) -> Values:
    """Sum each row from left to right.

    `np.sum` may pair terms up; one fixed order makes a perfect list exactly 1 and no list above it.
    """
    total: Values = np.cumsum(terms, axis=1)[:, -1]
    return total
