"""Values of rows compared within their group, such as a user's candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.top_k import empty_into, pack, push
from recsys.storage.compilation import compiled


def standardise(
    values: NDArray[np.float32], starts: NDArray[np.int64], ddof: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return (n_rows) float32 standard deviations above the group's mean, and below its best; NaN stays NaN.

    Where all values of a group are equal, or there is a single value, both are 0.

    Args:
        values: (n_rows) float32; NaN values are ignored.
        starts: (n_groups + 1) int64; group g's rows are `starts[g]:starts[g + 1]`.
        ddof: 1 divides the sum of squares by their number minus one, 0 by their number.
    """
    above, below = np.empty(len(values), dtype=np.float32), np.empty(len(values), dtype=np.float32)
    _standardise(np.ascontiguousarray(values), starts, ddof, above, below)
    return above, below


def fill_lowest(values: NDArray[np.float32], starts: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the values with NaN replaced by the group's lowest value, by 0 if the group has only NaN."""
    filled = np.empty(len(values), dtype=np.float32)
    _fill_lowest(np.ascontiguousarray(values), starts, filled)
    return filled


def find_best(scores: NDArray[np.float32], starts: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Return (n_groups, n) int64: each group's `n` rows with the highest scores, best first, -1 where there are fewer.

    Rows without a score (NaN) are left out; of rows with equal scores the first comes first.
    """
    best = np.full((len(starts) - 1, n), -1, dtype=np.int64)
    _find_best(np.ascontiguousarray(scores), starts, best)
    return best


@compiled()
def _fill_lowest(values, starts, filled):  # type: ignore[no-untyped-def]
    for group in range(len(starts) - 1):
        low = np.float32(np.inf)
        for row in range(starts[group], starts[group + 1]):
            if values[row] < low:
                low = values[row]
        if low == np.inf:
            low = np.float32(0.0)
        for row in range(starts[group], starts[group + 1]):
            filled[row] = low if np.isnan(values[row]) else values[row]


@compiled()
def _find_best(scores, starts, best):  # type: ignore[no-untyped-def]
    n = best.shape[1]
    keys = np.empty(n, dtype=np.int64)
    for group in range(len(starts) - 1):
        size = 0
        for row in range(starts[group], starts[group + 1]):
            if not np.isnan(scores[row]):
                size = push(keys, size, pack(scores[row], row))
        empty_into(keys, size, best[group])


@compiled()
def _standardise(values, starts, ddof, above, below):  # type: ignore[no-untyped-def]
    for group in range(len(starts) - 1):
        count, total, low, high = 0, 0.0, np.inf, -np.inf
        for row in range(starts[group], starts[group + 1]):
            value = np.float64(values[row])
            if not np.isnan(value):
                count += 1
                total += value
                low, high = min(low, value), max(high, value)
        mean, squares = total / max(count, 1), 0.0
        for row in range(starts[group], starts[group + 1]):
            if not np.isnan(values[row]):
                squares += (values[row] - mean) ** 2
        flat = not low < high
        spread = 1.0 if flat else np.sqrt(squares / (count - ddof))
        for row in range(starts[group], starts[group + 1]):
            value = np.float64(values[row])
            if np.isnan(value):
                above[row] = below[row] = np.nan
            elif flat or spread == 0:
                above[row] = below[row] = 0.0
            else:
                above[row] = (value - mean) / spread
                below[row] = (high - value) / spread
