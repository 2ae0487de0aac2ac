"""The blend: a weighted sum of the sources' z-scores. The strongest simple baseline, and the ranker's first feature."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.group_stats import fill_lowest, standardise
from recsys.ranking.groups import Groups
from recsys.ranking.training_rows import find_starts, read_column

# Of the first source's weight.
_SMALLEST_STEP = 0.25


class Blend:
    """Weights of the sources, each at least 0, summing to 1."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def score_rows(self, rows: pl.DataFrame) -> NDArray[np.float32]:
        """Return what `score` returns, for rows in a frame, grouped by user (and window where there are several)."""
        z = {f"{source}_z": read_column(rows, f"{source}_z") for source in self.weights}
        return self.score(z, find_starts(rows))

    def score(self, columns: Mapping[str, NDArray[np.float32]], starts: NDArray[np.int64]) -> NDArray[np.float32]:
        """Return (n_rows) float32; an item that a source does not score counts as that source's worst.

        Args:
            columns: (n_rows) float32 by name, `S_z` of each source S among them, NaN where missing.
            starts: (n_groups + 1) int64; group g's rows are `starts[g]:starts[g + 1]`.
        """
        scores = np.zeros(starts[-1], dtype=np.float32)
        # Source by source: the last bits of a matrix product depend on its number of rows.
        for source, weight in self.weights.items():
            scores += fill_lowest(columns[f"{source}_z"], starts) * np.float32(weight)
        return scores

    def describe(self) -> str:
        """Return the weights as text, largest first, such as `0.62 text, 0.38 als`."""
        weighty = sorted(((weight, name) for name, weight in self.weights.items() if weight > 0), reverse=True)
        return ", ".join(f"{weight:.2f} {name}" for weight, name in weighty)

    @classmethod
    def tune(cls, rows: pl.DataFrame, sources: Sequence[str], n: int) -> Blend:
        """Choose weights for a high mean nDCG@n over the training groups, source by source (Caruana et al. 2004, ICML).

        Starting from nothing, weight is added to the source that helps most, again and again, also to a source that
        has weight already; when none helps, smaller steps are tried. A source that adds nothing keeps weight
        0; ties go to the first source.
        """
        starts, groups = find_starts(rows), Groups(rows)
        z = [fill_lowest(read_column(rows, f"{source}_z"), starts) for source in sources]
        weights, step = np.zeros(len(sources)), 1.0
        total, best = np.zeros(rows.height, dtype=np.float32), -1.0
        while step >= _SMALLEST_STEP:
            trials = [total + np.float32(step) * one for one in z]
            values = [float(groups.measure(trial, n).mean()) for trial in trials]
            place = int(np.argmax(values))
            if values[place] <= best:
                step /= 2
                continue
            weights[place] += step
            total, best = trials[place], values[place]
        weights /= weights.sum()
        return cls({source: round(float(weight), 6) for source, weight in zip(sources, weights, strict=True)})


def mix(
    trees: NDArray[np.float32], blend: NDArray[np.float32], starts: NDArray[np.int64], share: float
) -> NDArray[np.float32]:
    """Return (n_rows) float32: trees plus `share` of the blend, each in standard deviations within its group.

    Scores that are equal for all candidates of a group add nothing.
    """
    mixed, _ = standardise(trees, starts, 0)
    return mixed + np.float32(share) * standardise(blend, starts, 0)[0] if share else mixed
