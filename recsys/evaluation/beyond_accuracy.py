"""Qualities of lists other than accuracy: catalogue coverage, novelty, diversity, share of cold items and churn.

The functions on `lists` take item numbers, `(n_users, list_length)` int32, best first, padded with -1; only the first
`n` ranks count. All but the first two return `(n_users,)` float64, one value per list, and 0.0 for an empty list. All
raise `DataError` for lists that `recsys.evaluation.metrics.check_lists` refuses, lists shorter than n, and arrays of
another catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError
from recsys.evaluation.metrics import Counts, Integers, Values, check_length, check_lists
from recsys.progress import format_count

Flags = NDArray[np.bool_]

# Users times embedding size in memory at once: 8 MB of float32.
_CELLS_AT_ONCE = 2_000_000


def compute_coverage(lists: Integers, recommendable: Flags, n: int) -> float:
    """Share of the recommendable items that are in the first n of any list; 0.0 without users. Ge et al. (2010).

    Args:
        lists: item numbers, as above; items that are not recommendable do not count.
        recommendable: `(n_items,)` bool.
        n: how many ranks count.

    Raises:
        DataError: as above, or no item is recommendable.
    """
    return float((_count_listed(lists, recommendable, n) > 0).mean())


def compute_gini(lists: Integers, recommendable: Flags, n: int) -> float:
    """Gini coefficient of exposure: 0 if all recommendable items are listed equally often, near 1 if only one is.

    With m items listed x_1 ≤ … ≤ x_m times, G = Σ (2i - m - 1) x_i / (m Σ x_i), half the mean absolute difference of
    two items over the mean. There is no correction for small catalogues: the maximum is 1 - 1/m (multiply by
    m / (m - 1) for the version whose maximum is 1, Deltas 2003). Items that are never listed count; where all lists are
    empty, G is 0. Gini (1912); for lists, Fleder & Hosanagar (2009).

    Args:
        lists: item numbers, as above; items that are not recommendable do not count.
        recommendable: `(n_items,)` bool.
        n: how many ranks count.

    Raises:
        DataError: as above, or no item is recommendable.
    """
    listed = np.sort(_count_listed(lists, recommendable, n))
    m = len(listed)
    # Integers up to the division, so that equal exposure is exactly 0.
    spread = int(((2 * np.arange(1, m + 1) - m - 1) * listed).sum())
    return spread / (m * max(1, int(listed.sum())))


def novelty(lists: Integers, item_users: Integers, n_users: int, n: int) -> Values:
    """Mean self-information of the list's items in bits: the fewer users an item has, the more novel it is.

    An item with c of N users has -log2((c + 1) / (N + 1)) bits: 0 where every user has interacted with it, and
    log2(N + 1), the maximum, where none has. The added user keeps the value finite. Zhou et al. (2010), Vargas &
    Castells (2011).

    Args:
        lists: item numbers, as above; the mean is over the items of the list.
        item_users: `(n_items,)` integers, number of distinct users of each item before the cutoff.
        n_users: N, number of all users before the cutoff.
        n: how many ranks count.

    Raises:
        DataError: as above, or an item has fewer than 0 or more than `n_users` users.
    """
    _check_catalogue(item_users, "item_users", "iu", "whole numbers")
    if item_users.size and not 0 <= item_users.min() <= item_users.max() <= n_users:
        raise DataError(
            f"item_users: between {item_users.min():,} and {item_users.max():,}, expected 0 … n_users = {n_users:,}; "
            "count distinct users, per item and in total, before the same cutoff"
        )
    return _average(lists, np.log2((n_users + 1.0) / (item_users + 1.0)), n)


def diversity(lists: Integers, embeddings: NDArray[np.float32], n: int) -> Values:
    """Mean distance 1 - cosine over the pairs of items in each list: 0 for identical texts, 1 for unrelated ones.

    It exceeds 1 only where cosines are negative. An item without text (a row of zeros) is at distance 1 from every
    other. A list of fewer than 2 items has no pair: 0.0. Ziegler et al. (2005), as a distance; Castells et al. (2015).

    Args:
        lists: item numbers, as above.
        embeddings: `(n_items, embedding_size)` float32, rows of unit length or all zeros.
        n: how many ranks count.

    Raises:
        DataError: as above, or a row of the embeddings has any other length.
    """
    if embeddings.ndim != 2:
        raise DataError(f"embeddings: shape {embeddings.shape}, expected (n_items, embedding_size); embed the items")
    norms = np.einsum("ij,ij->i", embeddings, embeddings)
    wrong = int((~((norms == 0.0) | (np.abs(norms - 1.0) < 1e-2))).sum())
    if wrong:
        raise DataError(
            f"embeddings: {wrong:,} of {len(norms):,} rows, expected unit length or all zeros; normalise them"
        )
    first = _take_first(lists, len(embeddings), n)
    sizes = (first >= 0).sum(axis=1)
    starts = np.append(0, np.cumsum(sizes))
    items = first[first >= 0]
    distances = np.zeros(len(first))
    step = max(1, _CELLS_AT_ONCE // max(1, embeddings.shape[1]))
    for start in range(0, len(first), step):
        stop = min(start + step, len(first))
        listed = items[starts[start] : starts[stop]]
        ones = np.ones(len(listed), dtype=np.float32)
        rows = csr_array(
            (ones, listed, starts[start : stop + 1] - starts[start]), shape=(stop - start, len(embeddings))
        )
        # The squared norm of a list's sum is the sum of its squared norms plus the cosines of all ordered pairs.
        sums = rows @ embeddings
        cosines = np.einsum("ij,ij->i", sums, sums, dtype=np.float64) - rows @ norms
        pairs = sizes[start:stop] * (sizes[start:stop] - 1)
        distances[start:stop] = np.where(pairs > 0, np.clip(1.0 - cosines / np.maximum(pairs, 1), 0.0, 2.0), 0.0)
    return distances


def cold_share(lists: Integers, cold: Flags, n: int) -> Values:
    """Share of the list's items that are cold.

    Args:
        lists: item numbers, as above; the share is of the items of the list.
        cold: `(n_items,)` bool, items with too few users.
        n: how many ranks count.

    Raises:
        DataError: as above.
    """
    _check_catalogue(cold, "cold", "b", "bool")
    return _average(lists, cold.astype(np.float64), n)


def churn(lists: pl.DataFrame, previous: pl.DataFrame, n: int) -> pl.DataFrame:
    """Share of each user's first n items that were not among the user's first n before: 0 unchanged, 1 all replaced.

    Args:
        lists: `user_id`, `rank` (1 is the best), `item_id`; other columns and the order of rows are ignored.
        previous: the previous lists, the same columns.
        n: how many ranks count.

    Returns:
        `user_id`, `churn` (Float64), sorted by `user_id`: the users in both. The share is of the items of the new list.

    Raises:
        DataError: a column is missing, a rank is below 1, a user has an item twice, or n is below 1.
    """
    now = take_first(lists, n, "lists")
    before = take_first(previous, n, "previous lists")
    return (
        now.join(before, on="user_id", how="semi")
        .join(before.select("user_id", "item_id", kept=pl.lit(True)), on=["user_id", "item_id"], how="left")
        .group_by("user_id")
        .agg(churn=pl.col("kept").is_null().mean())
        .sort("user_id")
    )


def take_first(lists: pl.DataFrame, n: int, what: str) -> pl.DataFrame:
    """Return `user_id`, `rank`, `item_id` of the first n ranks; raise unless they are valid lists.

    Args:
        lists: at least these columns.
        n: how many ranks count.
        what: name of the lists for the message, such as `previous lists`.

    Raises:
        DataError: as in `churn`.
    """
    columns = ["user_id", "rank", "item_id"]
    missing = [name for name in columns if name not in lists.columns]
    if missing:
        raise DataError(
            f"{what}: no column {', '.join(map(repr, missing))}; found {', '.join(map(repr, lists.columns))}; "
            "pass the lists that 'recsys generate' wrote"
        )
    if n < 1:
        raise DataError(f"{what}: n = {n}, expected at least 1; pass the number of ranks to evaluate")
    first = lists.select(columns).filter(pl.col("rank") <= n)
    broken = first.filter((pl.col("rank") < 1) | pl.struct("user_id", "item_id").is_duplicated())
    if broken.height:
        raise DataError(
            f"{what}: {format_count(broken.height, 'row')} with a rank below 1 or a repeated item for the same user, "
            "expected ranks from 1 and distinct items; fix the code that makes the lists"
        )
    return first


def _count_listed(lists: Integers, recommendable: Flags, n: int) -> Counts:
    """Return how many lists contain each recommendable item, `(n_recommendable,)` int64."""
    _check_catalogue(recommendable, "recommendable", "b", "bool")
    if not recommendable.any():
        raise DataError(
            f"recommendable: none of {format_count(len(recommendable), 'item')}, expected at least 1; "
            "ingest items that are available before measuring the lists"
        )
    first = _take_first(lists, len(recommendable), n)
    counts: Counts = np.bincount(first[first >= 0], minlength=len(recommendable)).astype(np.int64)
    return counts[recommendable]


def _average(lists: Integers, values: Values, n: int) -> Values:
    """Return the mean of a value per item over each list, 0.0 for an empty list."""
    first = _take_first(lists, len(values), n)
    # The last value is for the padding.
    listed = np.append(values, 0.0)[first]
    # Summed from left to right, so that lists of equal values have bit-equal means.
    total = np.cumsum(listed, axis=1)[:, -1]
    means: Values = total / np.maximum(1, (first >= 0).sum(axis=1))
    return means


def _take_first(lists: Integers, n_items: int, n: int) -> Integers:
    """Return the first n ranks; raise unless they hold items of the catalogue."""
    check_length(lists.shape, n)
    check_lists(lists[:, :n], n_items)
    return lists[:, :n]


def _check_catalogue(values: NDArray[Any], name: str, kinds: str, expected: str) -> None:
    if values.ndim != 1 or values.dtype.kind not in kinds:
        raise DataError(
            f"{name}: shape {values.shape} of {values.dtype}, expected (n_items,) of {expected}; "
            "pass one value per item of the catalogue"
        )
