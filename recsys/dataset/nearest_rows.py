"""The nearest rows of sparse matrices, found by a compiled loop, row by row."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.storage.compilation import compiled

# Rows whose neighbours a thread finds at a time.
_BLOCK = 1024
# Ranges of similarity that are counted to find the least that is kept.
_BINS = 1024


def find_nearest(
    left: csr_array, columns: csr_array, k: int, threads: int, first: int = 0, last: int | None = None
) -> csr_array:
    """Return the `k` largest dot products of some rows with the rows of another matrix, those with themselves left out.

    A row's neighbours depend on nothing but that row and the other matrix, whatever the other rows, threads and blocks.

    Args:
        left: (n_rows, n_terms) sparse, finite.
        columns: (n_terms, n_rows) sparse of the same type: the transpose of the other matrix.
        k: how many are kept.
        threads: number of threads.
        first: the first row.
        last: the row after the last one; None: all rows.

    Returns:
        (last - first, n_rows) sparse of the same type, above 0; row = row of `left`, column = row of the other matrix;
        ties for the last of the `k` go to the smaller column.
    """
    size = left.shape[0]
    end = size if last is None else last
    parts = (left.data, left.indices, left.indptr, columns.data, columns.indices, columns.indptr)

    def find(start: int) -> tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]]:
        found: tuple[NDArray[np.int64], NDArray[np.int32], NDArray[Any]] = _find_nearest(
            *parts, start, min(start + _BLOCK, end), size, k
        )
        return found

    with ThreadPoolExecutor(threads) as pool:
        blocks = list(pool.map(find, range(first, end, _BLOCK)))
    if not blocks:
        return csr_array((end - first, size), dtype=left.dtype)
    counts, indices, data = (np.concatenate([block[place] for block in blocks]) for place in range(3))
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
    # Both index arrays are of the same type in a file, int32 unless they are longer.
    small = len(data) <= np.iinfo(np.int32).max
    return csr_array((data, indices, starts.astype(np.int32) if small else starts), shape=(end - first, size))


@compiled()
def _find_nearest(data, indices, starts, term_data, term_items, term_starts, first, last, size, k):  # type: ignore[no-untyped-def]
    """Return the number of neighbours of some items, and the columns, ascending, and the similarities of all of them.

    The memory is one similarity per item of the catalogue, whatever the number of items with a term in common.
    """
    similarity = np.zeros(size, dtype=data.dtype)
    others, shares = np.empty(size, dtype=np.int32), np.empty(size, dtype=data.dtype)
    counts = np.zeros(last - first, dtype=np.int64)
    columns = np.empty((last - first) * min(k, size), dtype=np.int32)
    values = np.empty(len(columns), dtype=data.dtype)
    count = 0
    for item in range(first, last):
        for entry in range(starts[item], starts[item + 1]):
            term, weight = indices[entry], data[entry]
            for place in range(term_starts[term], term_starts[term + 1]):
                similarity[term_items[place]] += weight * term_data[place]
        similarity[item] = 0.0
        found = 0
        for other in range(size):
            if similarity[other] != 0.0:
                if similarity[other] > 0.0:
                    others[found] = other
                    shares[found] = similarity[other]
                    found += 1
                similarity[other] = 0.0
        least, spare = _find_least(shares[:found], k)
        begin = count
        for place in range(found):
            value = shares[place]
            tie = value == least
            if value > least or (tie and spare > 0):
                spare -= tie
                columns[count] = others[place]
                values[count] = value
                count += 1
        counts[item - first] = count - begin
    return counts, columns[:count].copy(), values[:count].copy()


@compiled()
def _find_least(values, k):  # type: ignore[no-untyped-def]
    """Return the `k`-th largest of values above 0, and how many of exactly that value are among the `k` largest.

    With fewer than `k` values it is 0, so all of them are larger.
    """
    if len(values) < k:
        return 0.0, 0
    scale = _BINS / np.float64(values.max())
    bins = np.zeros(_BINS + 1, dtype=np.int64)
    for value in values:
        bins[min(int(value * scale), _BINS)] += 1
    # Bins are taken from the top; the k-th largest value is in the one that completes k.
    above, last = 0, _BINS
    while above + bins[last] < k:
        above += bins[last]
        last -= 1
    within = np.empty(bins[last], dtype=values.dtype)
    count = 0
    for value in values:
        if min(int(value * scale), _BINS) == last:
            within[count] = value
            count += 1
    within.sort()
    least = within[count - (k - above)]
    larger = above
    for value in within:
        if value > least:
            larger += 1
    return np.float64(least), k - larger
