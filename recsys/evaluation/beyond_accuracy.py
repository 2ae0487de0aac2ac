"""What hits do not say of lists: how much of the catalogue they show, how new, how mixed and how steady they are.

The functions on `lists` read item numbers, `(n_users, list_length)` int32, best first, -1 to the end of a short list;
only the first `n` places are looked at. All but the first two return `(n_users,)` float64, one value per list, and
0.0 for an empty list, which shows nothing new, mixed or cold. All raise `DataError` for lists that
`recsys.evaluation.metrics.check_lists` refuses, lists with fewer than n places, and arrays of another catalogue.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError
from recsys.evaluation.metrics import Counts, Integers, Values, check_length, check_lists

Flags = NDArray[np.bool_]

# Users times embedding size held at once: 8 MB of float32.
_CELLS_AT_ONCE = 2_000_000


def compute_coverage(lists: Integers, recommendable: Flags, n: int) -> float:
    """Share of the recommendable items that stand in anyone's first n; 0.0 without users. Ge et al. (2010).

    Args:
        lists: item numbers, as above; items that are not recommendable do not count.
        recommendable: `(n_items,)` bool.
        n: how many places count.

    Raises:
        DataError: as above, or no item is recommendable.
    """
    return float((_count_shown(lists, recommendable, n) > 0).mean())


def compute_gini(lists: Integers, recommendable: Flags, n: int) -> float:
    """Gini coefficient of how often each recommendable item is shown: 0 evenly, near 1 one item takes all places.

    With m items shown x_1 ≤ … ≤ x_m times, G = Σ (2i - m - 1) x_i / (m Σ x_i), half the mean absolute difference of
    two items over the mean. There is no correction for small catalogues: the most one item can reach is 1 - 1/m
    (multiply by m / (m - 1) for the version whose most is 1, Deltas 2003). Items never shown count; where nothing is
    shown at all, every item is shown as often, and G is 0. Gini (1912); for lists, Fleder & Hosanagar (2009).

    Args:
        lists: item numbers, as above; items that are not recommendable do not count.
        recommendable: `(n_items,)` bool.
        n: how many places count.

    Raises:
        DataError: as above, or no item is recommendable.
    """
    shown = np.sort(_count_shown(lists, recommendable, n))
    m = len(shown)
    # Whole numbers up to the division, so that an even catalogue is exactly 0.
    spread = int(((2 * np.arange(1, m + 1) - m - 1) * shown).sum())
    return spread / (m * max(1, int(shown.sum())))


def novelty(lists: Integers, item_users: Integers, n_users: int, n: int) -> Values:
    """Mean self-information of the list's items in bits: the fewer users an item had, the more it tells.

    An item of c users among N holds -log2((c + 1) / (N + 1)) bits: nothing where everyone had it, and log2(N + 1), the
    most, where no one had. The added user keeps untouched items finite. Zhou et al. (2010), Vargas & Castells (2011).

    Args:
        lists: item numbers, as above; the mean is over the items that are there.
        item_users: `(n_items,)` integers, distinct users of each item before the cut-off.
        n_users: N, all users before the cut-off.
        n: how many places count.

    Raises:
        DataError: as above, or an item has fewer than 0 or more than `n_users` users.
    """
    _check_catalogue(item_users, "item_users", "iu", "whole numbers")
    if item_users.size and not 0 <= item_users.min() <= item_users.max() <= n_users:
        raise DataError(
            f"item_users: between {item_users.min():,} and {item_users.max():,}, expected 0 … n_users = {n_users:,}; "
            "count distinct users, of the items and of all histories before one cut-off"
        )
    return _average(lists, np.log2((n_users + 1.0) / (item_users + 1.0)), n)


def diversity(lists: Integers, embeddings: NDArray[np.float32], n: int) -> Values:
    """Mean distance 1 - cosine of the pairs of items in each list: 0 all alike, 1 nothing in common.

    Above 1 only where texts point away from each other. An item without text (a row of zeros) is at distance 1 from
    every other. Fewer than 2 items have no pair: 0.0. Ziegler et al. (2005), as a distance; Castells et al. (2015).

    Args:
        lists: item numbers, as above.
        embeddings: `(n_items, embedding_size)` float32, rows of unit length or all zeros.
        n: how many places count.

    Raises:
        DataError: as above, or a row of the embeddings has another length.
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
        own = items[starts[start] : starts[stop]]
        ones = np.ones(len(own), dtype=np.float32)
        rows = csr_array((ones, own, starts[start : stop + 1] - starts[start]), shape=(stop - start, len(embeddings)))
        # The cosines of all ordered pairs are what the square of a list's sum has beyond its items' own squares.
        sums = rows @ embeddings
        cosines = np.einsum("ij,ij->i", sums, sums, dtype=np.float64) - rows @ norms
        pairs = sizes[start:stop] * (sizes[start:stop] - 1)
        distances[start:stop] = np.where(pairs > 0, np.clip(1.0 - cosines / np.maximum(pairs, 1), 0.0, 2.0), 0.0)
    return distances


def cold_share(lists: Integers, cold: Flags, n: int) -> Values:
    """Share of the list's items that are cold.

    Args:
        lists: item numbers, as above; the share is of the items that are there.
        cold: `(n_items,)` bool, items without a history.
        n: how many places count.

    Raises:
        DataError: as above.
    """
    _check_catalogue(cold, "cold", "b", "bool")
    return _average(lists, cold.astype(np.float64), n)


def churn(lists: pl.DataFrame, previous: pl.DataFrame, n: int) -> pl.DataFrame:
    """Share of each user's first n items that were not among the user's first n before: 0 as it was, 1 all new.

    Args:
        lists: `user_id`, `rank` (1 the best), `item_id`; further columns are ignored, the order of rows as well.
        previous: the same columns, the lists before.
        n: how many places count.

    Returns:
        `user_id`, `churn` (Float64), sorted by `user_id`: the users in both. A short list has as many places as items.

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
    """Return `user_id`, `rank`, `item_id` of the first n places, once the lists are known to be lists.

    Args:
        lists: at least these columns.
        n: how many places count.
        what: the lists' name for the message, such as `previous lists`.

    Raises:
        DataError: as in `churn`.
    """
    columns = ["user_id", "rank", "item_id"]
    missing = [name for name in columns if name not in lists.columns]
    if missing:
        raise DataError(
            f"{what}: no column {', '.join(map(repr, missing))}; found {', '.join(map(repr, lists.columns))}; "
            "give the lists that 'recsys generate' wrote"
        )
    if n < 1:
        raise DataError(f"{what}: n = {n}, expected at least 1; say how many places count")
    first = lists.select(columns).filter(pl.col("rank") <= n)
    broken = first.filter((pl.col("rank") < 1) | pl.struct("user_id", "item_id").is_duplicated())
    if broken.height:
        raise DataError(
            f"{what}: {broken.height:,} rows with a rank below 1 or an item that the user has twice, "
            "expected ranks from 1 and different items; mend what made the lists"
        )
    return first


def _count_shown(lists: Integers, recommendable: Flags, n: int) -> Counts:
    """Return how many lists show each recommendable item, `(n_recommendable,)` int64."""
    _check_catalogue(recommendable, "recommendable", "b", "bool")
    if not recommendable.any():
        raise DataError(
            f"recommendable: none of {len(recommendable):,} items, expected at least 1; "
            "ingest items that are available before measuring what lists show of them"
        )
    first = _take_first(lists, len(recommendable), n)
    counts: Counts = np.bincount(first[first >= 0], minlength=len(recommendable)).astype(np.int64)
    return counts[recommendable]


def _average(lists: Integers, values: Values, n: int) -> Values:
    """Return the mean of a value of items over each list, 0.0 for an empty one."""
    first = _take_first(lists, len(values), n)
    # A last value for the places that hold no item.
    found = np.append(values, 0.0)[first]
    # From left to right, so that a list of equal values has the same mean everywhere.
    total = np.cumsum(found, axis=1)[:, -1]
    means: Values = total / np.maximum(1, (first >= 0).sum(axis=1))
    return means


def _take_first(lists: Integers, n_items: int, n: int) -> Integers:
    """Return the first n places, once they are known to hold items of the catalogue."""
    check_length(lists.shape, n)
    check_lists(lists[:, :n], n_items)
    return lists[:, :n]


def _check_catalogue(values: NDArray[Any], name: str, kinds: str, expected: str) -> None:
    if values.ndim != 1 or values.dtype.kind not in kinds:
        raise DataError(
            f"{name}: shape {values.shape} of {values.dtype}, expected (n_items,) of {expected}; "
            "give one value per item of the catalogue"
        )
