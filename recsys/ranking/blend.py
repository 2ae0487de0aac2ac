"""The blend: a weighted sum of the sources' z-scores. Our strongest simple rival, and the ranker's first feature."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.ranking.training_rows import group_sizes

_TRIALS = 80
_ROUNDS = 2
_FACTORS = (0.0, 0.5, 2.0)


class Blend:
    """Weights of the sources, each at least 0, summing to 1."""

    def __init__(self, weights: dict[str, float]) -> None:
        self.weights = weights

    def score(self, features: pl.DataFrame) -> NDArray[np.float32]:
        """Return (n_rows) float32; an item that a source says nothing about counts as that source's worst."""
        scores = np.zeros(features.height, dtype=np.float32)
        # Source by source: a matrix product's last bits depend on how many rows stand beside a row.
        for z, weight in zip(_z_matrix(features, list(self.weights)).T, self.weights.values(), strict=True):
            scores += z * np.float32(weight)
        return scores

    def describe(self) -> str:
        """Return the weights as text, largest first, such as `0.62 text, 0.38 als`."""
        weighty = sorted(((weight, name) for name, weight in self.weights.items() if weight > 0), reverse=True)
        return ", ".join(f"{weight:.2f} {name}" for weight, name in weighty)

    @classmethod
    def tune(cls, rows: pl.DataFrame, sources: Sequence[str], n: int, seed: int) -> Blend:
        """Choose the weights with the highest mean nDCG@n over the training groups.

        Single sources, the plain mean and random weights are tried first, then the best is refined one weight at a
        time. The number of trials is fixed, so the same rows give the same weights.
        """
        z = _z_matrix(rows, sources)
        sizes = group_sizes(rows)
        group = np.repeat(np.arange(len(sizes)), sizes)
        label = rows["label"].to_numpy() > 0
        size = len(sources)
        rng = np.random.default_rng(seed)
        trials = [*np.eye(size), np.full(size, 1.0 / size), *rng.dirichlet(np.full(size, 0.7), _TRIALS)]
        best, best_value = trials[0], -1.0
        for weights in trials:
            value = float(_ndcg(z @ weights.astype(np.float32), label, group, n).mean())
            if value > best_value:
                best, best_value = weights, value
        for _ in range(_ROUNDS):
            for place in range(size):
                for factor in _FACTORS:
                    weights = best.copy()
                    weights[place] = weights[place] * factor if best[place] > 0 or not factor else factor / size
                    if weights.sum() <= 0:
                        continue
                    weights = weights / weights.sum()
                    value = float(_ndcg(z @ weights.astype(np.float32), label, group, n).mean())
                    if value > best_value:
                        best, best_value = weights, value
        return cls({source: round(float(weight), 6) for source, weight in zip(sources, best, strict=True)})


def _z_matrix(features: pl.DataFrame, sources: Sequence[str]) -> NDArray[np.float32]:
    keys = ["window", "user_index"] if "window" in features.columns else ["user_index"]
    filled = features.select(
        pl.col(f"{source}_z").fill_null(pl.col(f"{source}_z").min().over(keys)).fill_null(0.0) for source in sources
    )
    return filled.to_numpy()


def measure_groups(rows: pl.DataFrame, scores: NDArray[np.float32], n: int) -> NDArray[np.float64]:
    """Return (n_groups) nDCG@n of each group of `TrainingRows` by these scores, in row order; so stand equal scores."""
    sizes = group_sizes(rows)
    return _ndcg(scores, rows["label"].to_numpy() > 0, np.repeat(np.arange(len(sizes)), sizes), n)


def _ndcg(
    scores: NDArray[np.float32], label: NDArray[np.bool_], group: NDArray[np.int64], n: int
) -> NDArray[np.float64]:
    """nDCG@n of each group; equal scores stand in row order."""
    order = np.lexsort((-scores, group))
    starts = np.searchsorted(group, np.arange(group[-1] + 1))
    place = np.arange(len(order)) - starts[group]
    hit = label[order] & (place < n)
    gains = np.bincount(group[hit], weights=1.0 / np.log2(place[hit] + 2.0), minlength=len(starts))
    totals = np.bincount(group, weights=label)
    ideal = np.concatenate([[0.0], np.cumsum(1.0 / np.log2(np.arange(n) + 2.0))])[np.minimum(totals, n).astype(int)]
    values: NDArray[np.float64] = gains / np.maximum(ideal, 1e-12)
    return values
