"""Ranking metrics as pure functions: lists and positives in, one number per user out.

Every metric reads three things: `hits`, a `(n_users, list_length)` bool matrix that says which places of a
list hold an item the user took; `n_positives`, a `(n_users,)` integer array of all the items the user took,
also those that no list could contain; and `n`, how many places count. It returns `(n_users,)` float64 values
between 0 and 1, 1 the best. All of them raise `DataError` when a user has no positives (there is nothing to
find, so no honest number), when a list shows more hits than the user has positives, or when the lists are
shorter than n places (pad short lists with -1 instead).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError

Integers = NDArray[np.integer[Any]]
Hits = NDArray[np.bool_]
Counts = NDArray[np.int64]
Values = NDArray[np.float64]
Metric = Callable[[Hits, Counts, int], Values]


def find_hits(lists: Integers, positives: csr_array) -> Hits:
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
    _check_lists(lists, n_items)
    tidy = _tidy(positives)
    first_key = np.arange(n_users, dtype=np.int64) * n_items
    keys = np.repeat(first_key, np.diff(tidy.indptr)) + tidy.indices
    # A last key beyond every pair, so that the search always lands on a key.
    keys = np.append(keys, n_users * n_items)
    wanted = first_key[:, None] + lists
    found: Hits = (keys[np.searchsorted(keys, wanted)] == wanted) & (lists >= 0)
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
    gained = _sum_in_order(_first(hits, n_positives, n) * discounts)
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
    reciprocal: Values = first.any(axis=1) / (first.argmax(axis=1) + 1)
    return reciprocal


def average_precision(hits: Hits, n_positives: Counts, n: int) -> Values:
    """Average of the precision at each hit in the first n; its mean over users is MAP.

    The sum is divided by min(n_positives, n), the hits of the best possible list. Buckley & Voorhees (2000),
    cut at n.
    """
    first = _first(hits, n_positives, n)
    precision_at_rank = np.cumsum(first, axis=1) / np.arange(1, n + 1)
    average: Values = _sum_in_order(precision_at_rank * first) / np.minimum(n_positives, n)
    return average


def hit_rate(hits: Hits, n_positives: Counts, n: int) -> Values:
    """1 where at least one of the first n is a hit, else 0."""
    return (_count_hits(hits, n_positives, n) > 0).astype(np.float64)


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


def measure_coverage(lists: Integers, n_items: int, n: int) -> float:
    """Share of the catalogue that stands in anyone's first n; 0.0 without users. Ge et al. (2010).

    Args:
        lists: as in `find_hits`.
        n_items: size of the catalogue.
        n: how many places count.

    Raises:
        DataError: lists that `find_hits` would refuse, lists shorter than n, or an empty catalogue.
    """
    if n_items < 1:
        raise DataError(f"catalogue: {n_items} items, expected at least 1; ingest items before measuring coverage")
    _check_lists(lists, n_items)
    _check_length(lists, n)
    shown = np.zeros(n_items, dtype=bool)
    first = lists[:, :n]
    shown[first[first >= 0]] = True
    return float(shown.mean())


def _tidy(positives: csr_array) -> csr_array:
    """Return a copy with sorted indices, each pair once, and no stored zeros."""
    tidy = positives.astype(bool)
    tidy.sum_duplicates()
    tidy.eliminate_zeros()
    return tidy


def _first(hits: Hits, n_positives: Counts, n: int) -> Hits:
    """Return the first n places of the hits after the checks that every metric needs."""
    _check_length(hits, n)
    if n_positives.shape != hits.shape[:1]:
        raise DataError(
            f"n_positives: shape {n_positives.shape}, expected ({len(hits)},), one count per list; "
            "give both in the same user order"
        )
    lacking = int((n_positives < 1).sum())
    if lacking:
        raise DataError(f"positives: {lacking:,} of {len(hits):,} users have none, expected at least 1; leave them out")
    if (hits.sum(axis=1) > n_positives).any():
        row = int(np.argmax(hits.sum(axis=1) > n_positives))
        raise DataError(
            f"hits: row {row} has {hits[row].sum()} hits, expected at most its {n_positives[row]} positives; "
            "count all positives, also those that no list could contain"
        )
    return hits[:, :n]


def _count_hits(hits: Hits, n_positives: Counts, n: int) -> Counts:
    """Count the hits in the first n."""
    counts: Counts = _first(hits, n_positives, n).sum(axis=1, dtype=np.int64)
    return counts


def _check_length(lists: NDArray[Any], n: int) -> None:
    if lists.ndim != 2 or not 1 <= n <= lists.shape[1]:
        raise DataError(
            f"lists: shape {lists.shape}, expected (n_users, at least n = {n}) with n above 0; "
            "make longer lists (padded with -1) or measure a smaller n"
        )


def _check_lists(lists: Integers, n_items: int) -> None:
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
