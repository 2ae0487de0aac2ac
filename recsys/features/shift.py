"""How the distribution of each feature differs between the ranker's training rows and the rows it scores."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.drift import compute_ks_distance


def measure_shift(training: pl.DataFrame, night: pl.DataFrame, features: Sequence[str]) -> pl.DataFrame:
    """Compare each feature's values in training rows with those in the rows of a night.

    Args:
        training: rows that the ranker learned from.
        night: rows that it scores; both have the feature columns, null where a value is missing.
        features: columns to compare.

    Returns:
        A row per feature, the largest `shift` first, ties by name:
        `feature`;
        `shift` (Float64), the sum of the next column and of the difference of the two after it: 0 alike, 2 at most;
        `distance` (Float64, 0 to 1), of Kolmogorov and Smirnov: the largest difference of the two distribution
        functions over the values that are present; 0 where one side has none: the missing shares show the difference;
        `missing_training`, `missing_night` (Float64), share of the rows without a value; 0 of no rows.
    """
    rows = []
    for feature in features:
        sides = [frame[feature] for frame in (training, night)]
        distance = _measure_distance(*(side.drop_nulls().to_numpy() for side in sides))
        missing = [side.null_count() / max(1, len(side)) for side in sides]
        rows.append((feature, distance + abs(missing[0] - missing[1]), distance, *missing))
    numbers = ("shift", "distance", "missing_training", "missing_night")
    table = pl.DataFrame(rows, {"feature": pl.String(), **dict.fromkeys(numbers, pl.Float64())}, orient="row")
    return table.sort("shift", "feature", descending=[True, False])


def _measure_distance(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    if not len(one) or not len(other):
        return 0.0
    return compute_ks_distance(one, other)
