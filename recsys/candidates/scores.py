"""Scores of a source for a block of users: the best items, the score of any pair, or all scores as an array.

There are three forms, so that a source pays only for the items it scores: a block of products, sums over sparse rows,
and a row shared by all users. The loops are compiled (numba) and release the GIL; they handle users one after another,
so a user's results do not depend on the other users.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.marks import is_marked, mark_all
from recsys.candidates.top_k import empty_into, find_largest, pack, push, unpack_score
from recsys.progress import format_count
from recsys.storage.compilation import compiled

# Columns whose largest score is compared first: most chunks of them hold nothing that would make a list.
_CHUNK = 64
# Scores of a block that are kept as a whole, 10 MB; more would not stay in the processor's cache.
CELLS = 2_500_000


class Scores(Protocol):
    """A source's scores of all items for some users; higher is better."""

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """Return (n_users, depth) int32 item numbers, best first, none excluded; -1 where there are no more.

        Equal scores go to the smaller item number.
        """

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """Return (n_rows) float32 scores of pairs, NaN for none; user u's rows begin at `starts[u]`."""

    def to_array(self) -> NDArray[np.float32]:
        """Return (n_users, n_items) float32, NaN for no score; the caller may write into it."""


class DenseScores:
    """A block of scores: (n_users, n_items), or of some of the items; -inf for no score."""

    def __init__(
        self, values: NDArray[np.float32], n_items: int | None = None, columns: NDArray[np.int32] | None = None
    ) -> None:
        """Take the block; `columns` are the numbers of its items, rising, of `n_items` in the catalogue."""
        self._values = values
        self._n_items = values.shape[1] if n_items is None else n_items
        self._columns = np.arange(values.shape[1], dtype=np.int32) if columns is None else columns

    @classmethod
    def from_array(cls, array: NDArray[np.float32]) -> DenseScores:
        """Take (n_users, n_items) with NaN for no score."""
        return cls(np.nan_to_num(array, nan=-np.inf, posinf=np.inf, neginf=-np.inf))

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """See `Scores`."""
        top: NDArray[np.int32] = _find_top(
            self._values, self._columns, exclusions.recommendable, exclusions.starts, exclusions.items, depth
        )
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        column_of = np.full(self._n_items, -1, dtype=np.int32)
        column_of[self._columns] = np.arange(len(self._columns), dtype=np.int32)
        columns = column_of[items]
        users = np.repeat(np.arange(len(starts) - 1), np.diff(starts))
        if not self._values.size:
            return np.full(len(items), np.nan, dtype=np.float32)
        scores = self._values[users, np.maximum(columns, 0)]
        return np.where((columns >= 0) & (scores > -np.inf), scores, np.float32(np.nan))

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        scores = np.where(self._values > -np.inf, self._values, np.float32(np.nan))
        if len(self._columns) == self._n_items:
            return scores
        array = np.full((len(self._values), self._n_items), np.nan, dtype=np.float32)
        array[:, self._columns] = scores
        return array

    def find_fault(self, n_users: int, n_items: int) -> str:
        """Return what is wrong with the block for these users and this catalogue, "" if nothing."""
        columns, shape = self._columns, (n_users, len(self._columns))
        if self._values.dtype != np.float32 or self._values.shape != shape or self._n_items != n_items:
            return f"has {self._values.dtype} of shape {self._values.shape} for {format_count(self._n_items, 'item')}"
        if len(columns) and not (columns[0] >= 0 and columns[-1] < n_items and (np.diff(columns) > 0).all()):
            return (
                f"has item columns from {columns[0]} to {columns[-1]}, expected increasing ones in 0 to {n_items - 1}"
            )
        wrong = int((np.isnan(self._values) | np.isposinf(self._values)).sum())
        return f"has {format_count(wrong, 'value')} that are NaN or infinite" if wrong else ""


def add_up(
    starts: NDArray[np.int64],
    rows: NDArray[np.int32],
    weights: NDArray[np.float32],
    matrix: csr_array | NDArray[np.float32],
) -> Scores:
    """Return weighted sums of a matrix's rows as scores; an item whose sum is 0 or less has no score.

    Entries may be negative: a history can also count against an item, and such an item should not be proposed.

    Args:
        starts: (n_users + 1) int64; user u adds up `rows[starts[u]:starts[u + 1]]`.
        rows: (n_entries) int32, of the matrix.
        weights: (n_entries) float32.
        matrix: (any, n_items) float32, sparse, or an array where so few entries are 0 that they are skipped in vain.
    """
    shape = (len(starts) - 1, matrix.shape[1])
    if isinstance(matrix, np.ndarray):
        sums = np.zeros(shape, dtype=np.float32)
        _add_up_rows(starts, rows, weights, matrix, sums)
        return DenseScores(sums)
    if shape[0] * shape[1] > CELLS:
        return SummedScores(starts, rows, weights, matrix)
    # While all sums fit in the processor's cache, keeping them is cheaper than computing them twice.
    sums = np.zeros(shape, dtype=np.float32)
    _add_up(starts, rows, weights, matrix.indptr, matrix.indices, matrix.data, sums)
    return DenseScores(sums)


class SummedScores:
    """Sums of `add_up`, computed on each call: the cost follows the entries that are added up."""

    def __init__(
        self, starts: NDArray[np.int64], rows: NDArray[np.int32], weights: NDArray[np.float32], matrix: csr_array
    ) -> None:
        """Take the arguments of `add_up`."""
        self._n_items = matrix.shape[1]
        self._sums = (
            starts.astype(np.int64, copy=False),
            rows.astype(np.int32, copy=False),
            weights.astype(np.float32, copy=False),
            matrix.indptr.astype(np.int64, copy=False),
            matrix.indices.astype(np.int32, copy=False),
            matrix.data.astype(np.float32, copy=False),
        )

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """See `Scores`."""
        top: NDArray[np.int32] = _find_top_sums(
            *self._sums, exclusions.recommendable, exclusions.starts, exclusions.items, depth
        )
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        scores: NDArray[np.float32] = _look_up_sums(*self._sums, self._n_items, starts, items)
        return scores

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        array = np.zeros((len(self._sums[0]) - 1, self._n_items), dtype=np.float32)
        _add_up(*self._sums, array)
        array[np.isneginf(array)] = np.nan
        return array

    def find_fault(self, n_users: int, n_items: int) -> str:
        """See `DenseScores`."""
        shape = (len(self._sums[0]) - 1, self._n_items)
        return "" if shape == (n_users, n_items) else f"has scores of shape {shape}"


class SharedScores:
    """A row that all users share; NaN for no score."""

    def __init__(self, row: NDArray[np.float32], order: NDArray[np.int32], n_users: int) -> None:
        """Take the (n_items) float32 row and its scored items, best first, ties by number."""
        self._row, self._order, self._n_users = row, order, n_users

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """See `Scores`."""
        shown = self._order[exclusions.recommendable[self._order]]
        top: NDArray[np.int32] = _take_first(shown, len(self._row), exclusions.starts, exclusions.items, depth)
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        return self._row[items]

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        return np.repeat(self._row[None, :], self._n_users, axis=0)

    def find_fault(self, n_users: int, n_items: int) -> str:
        """See `DenseScores`."""
        row, order = self._row, self._order
        if row.dtype != np.float32 or row.shape != (n_items,) or self._n_users != n_users:
            return f"has a row of {row.dtype} of shape {row.shape} for {format_count(self._n_users, 'user')}"
        if len(order) and not (order.min() >= 0 and order.max() < n_items):
            return f"orders items from {order.min()} to {order.max()}, not within 0 to {n_items - 1}"
        return "" if np.isfinite(row[order]).all() and not np.isinf(row).any() else "has infinite or missing values"


# --- loops -------------------------------------------------------------------------------------------------------


@compiled()
def _find_top(values, columns, recommendable, starts, excluded, depth):  # type: ignore[no-untyped-def]
    n_users, width = values.shape
    top = np.empty((n_users, depth), dtype=np.int32)
    keys, marks = np.empty(depth, dtype=np.int64), np.zeros(len(recommendable), dtype=np.int32)
    for user in range(n_users):
        mark_all(marks, user, starts, excluded)
        size, least = 0, np.float32(-np.inf)
        for first in range(0, width, _CHUNK):
            last = min(first + _CHUNK, width)
            # Columns rise, so a later item with an equal score never gets in.
            if not find_largest(values[user, first:last]) > least:
                continue
            for column in range(first, last):
                score = values[user, column]
                if not score > least:
                    continue
                item = columns[column]
                if recommendable[item] and not is_marked(marks, user, item):
                    size = push(keys, size, pack(score, item))
                    if size == depth:
                        least = unpack_score(keys[0])
        empty_into(keys, size, top[user])
    return top


@compiled()
def _add_up(starts, rows, weights, pointers, columns, data, sums):  # type: ignore[no-untyped-def]
    """Fill (n_users, n_items) zeros with the sums, -inf where they are 0 or less."""
    for user in range(len(sums)):
        own = sums[user]
        for entry in range(starts[user], starts[user + 1]):
            row, weight = rows[entry], weights[entry]
            for cell in range(pointers[row], pointers[row + 1]):
                # Unsigned: numba counts a negative index from the end, and checks each for that.
                own[np.uint32(columns[cell])] += weight * data[cell]
        _drop_negative(own)


@compiled()
def _add_up_rows(starts, rows, weights, matrix, sums):  # type: ignore[no-untyped-def]
    """Fill (n_users, n_items) zeros with the sums, -inf where they are 0 or less; the same bits as `_add_up`."""
    for user in range(len(sums)):
        own = sums[user]
        for entry in range(starts[user], starts[user + 1]):
            row, weight = matrix[rows[entry]], weights[entry]
            for item in range(len(own)):
                own[item] += weight * row[item]
        _drop_negative(own)


@compiled()
def _drop_negative(sums):  # type: ignore[no-untyped-def]
    for item in range(len(sums)):
        sums[item] = sums[item] if sums[item] > 0 else np.float32(-np.inf)


@compiled()
def _find_top_sums(  # type: ignore[no-untyped-def]
    starts, rows, weights, pointers, columns, data, recommendable, excluded_starts, excluded, depth
):
    n_users, n_items = len(starts) - 1, len(recommendable)
    top = np.empty((n_users, depth), dtype=np.int32)
    keys = np.empty(depth, dtype=np.int64)
    # One array for all users: what a user's rows reach is set back to 0 while it is read.
    sums = np.zeros(n_items, dtype=np.float32)
    reached = np.empty(_count_most_cells(starts, rows, pointers) + 1, dtype=np.uint32)
    for user in range(n_users):
        count, size, least = 0, 0, np.float32(0.0)
        for entry in range(starts[user], starts[user + 1]):
            row, weight = rows[entry], weights[entry]
            for cell in range(pointers[row], pointers[row + 1]):
                item = np.uint32(columns[cell])
                total = sums[item]
                # Without a branch. An item whose sum returns to 0 is listed twice, and has no sum the second time.
                reached[count] = item
                count += total == 0
                sums[item] = total + weight * data[cell]
        for entry in range(excluded_starts[user], excluded_starts[user + 1]):
            sums[excluded[entry]] = np.float32(0.0)
        for index in range(count):
            item = reached[index]
            total = sums[item]
            sums[item] = np.float32(0.0)
            if total > 0 and total >= least and recommendable[item]:
                size = push(keys, size, pack(total, item))
                if size == depth:
                    least = unpack_score(keys[0])
        empty_into(keys, size, top[user])
    return top


@compiled()
def _count_most_cells(starts, rows, pointers):  # type: ignore[no-untyped-def]
    """Return the largest number of entries that any user adds up."""
    most = 0
    for user in range(len(starts) - 1):
        cells = 0
        for entry in range(starts[user], starts[user + 1]):
            cells += pointers[rows[entry] + 1] - pointers[rows[entry]]
        most = max(most, cells)
    return most


@compiled()
def _look_up_sums(  # type: ignore[no-untyped-def]
    starts, rows, weights, pointers, columns, data, n_items, pair_starts, pair_items
):
    scores = np.empty(len(pair_items), dtype=np.float32)
    sums, marks = np.empty(n_items, dtype=np.float32), np.zeros(n_items, dtype=np.int32)
    for user in range(len(starts) - 1):
        # Only the items that are asked for are added up.
        mark_all(marks, user, pair_starts, pair_items)
        for pair in range(pair_starts[user], pair_starts[user + 1]):
            sums[pair_items[pair]] = np.float32(0.0)
        for entry in range(starts[user], starts[user + 1]):
            row, weight = rows[entry], weights[entry]
            for cell in range(pointers[row], pointers[row + 1]):
                item = np.uint32(columns[cell])
                if is_marked(marks, user, item):
                    sums[item] += weight * data[cell]
        for pair in range(pair_starts[user], pair_starts[user + 1]):
            total = sums[pair_items[pair]]
            scores[pair] = total if total > 0 else np.float32(np.nan)
    return scores


@compiled()
def _take_first(order, n_items, starts, excluded, depth):  # type: ignore[no-untyped-def]
    """Return each user's first items of a shared order that are not excluded."""
    n_users = len(starts) - 1
    top = np.full((n_users, depth), -1, dtype=np.int32)
    marks = np.zeros(n_items, dtype=np.int32)
    for user in range(n_users):
        mark_all(marks, user, starts, excluded)
        size = 0
        for item in order:
            if size == depth:
                break
            if not is_marked(marks, user, item):
                top[user, size] = item
                size += 1
    return top
