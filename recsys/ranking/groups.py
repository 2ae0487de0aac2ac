"""`TrainingRows` by group, for measuring many orders of the same rows."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.ranking.training_rows import find_starts
from recsys.storage.compilation import compiled


class Groups:
    """`TrainingRows` by group, prepared for measuring many orders of them.

    Only the ranks of positives count, so each positive is compared with the rows of its group until it is known to be
    outside the list, and nothing is sorted.

    Attributes:
        totals: (n_groups) int64, positives among the rows of each group.
    """

    def __init__(self, rows: pl.DataFrame) -> None:
        self._starts = find_starts(rows)
        self._positives = np.flatnonzero(rows["label"].to_numpy() > 0)
        self._group = np.searchsorted(self._starts, self._positives, side="right") - 1
        self.totals = np.bincount(self._group, minlength=len(self._starts) - 1)

    def measure(
        self, scores: NDArray[np.float32], n: int, totals: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """Return (n_groups) nDCG@n by (n_rows) scores; equal scores are in row order.

        Args:
            scores: higher is better.
            n: list length.
            totals: (n_groups) positives of each group, also those that are not among its rows and count as misses;
                None: those among its rows.
        """
        discounts = 1.0 / np.log2(np.arange(n) + 2.0)
        gains: NDArray[np.float64] = np.zeros(len(self.totals))
        _add_gains(scores, self._starts, self._positives, self._group, discounts, gains)
        ideal = np.concatenate([[0.0], np.cumsum(discounts)])[np.minimum(self.totals if totals is None else totals, n)]
        values: NDArray[np.float64] = gains / np.maximum(ideal, 1e-12)
        return values


@compiled()
def _add_gains(scores, starts, positives, group, discounts, gains):  # type: ignore[no-untyped-def]
    n = len(discounts)
    for place in range(len(positives)):
        row, own_group = positives[place], group[place]
        own, ahead = scores[row], 0
        for other in range(starts[own_group], starts[own_group + 1]):
            if scores[other] > own or (scores[other] == own and other < row):
                ahead += 1
                if ahead >= n:
                    break
        if ahead < n:
            gains[own_group] += discounts[ahead]
