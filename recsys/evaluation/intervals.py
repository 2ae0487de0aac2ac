"""Uncertainty of a mean over users: bootstrap intervals and a permutation test.

Users are the unit that is drawn, or whose signs are flipped, because the values of one user (several metrics, several
models) are correlated.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.progress import format_count, track

Values = NDArray[np.float64]

# Users times samples in memory at once; the largest arrays take about 16 MB each.
_CELLS_AT_ONCE = 2_000_000

# The relative error of a sum that still counts as rounding.
_LAST_DIGITS = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A mean over users, with the ends of its interval."""

    mean: float
    low: float
    high: float


def round_for_exact_sums(values: Values) -> Values:
    """Truncate each column to a binary grid on which sums of n_users of its values are exact.

    A matrix product adds in an order that depends on the processor, the threads and the other columns. On the grid
    every order gives the same bytes, and the mean of equal values is that value. Truncation changes a value by less
    than n_users x 10^-15 of the column's largest value; values on the grid do not change.

    Args:
        values: `(n_users, n_columns)` or `(n_users,)` float64, finite, at least one user.

    Returns:
        The same shape, float64.
    """
    # A sum of n_users values is below 2^exponent, that is below 2^53 steps, where float64 is exact for integers.
    _, exponents = np.frexp(len(values) * np.abs(values).max(axis=0))
    steps = np.ldexp(1.0, exponents - 53)
    rounded: Values = np.trunc(values / steps) * steps
    return rounded


def bootstrap_means(values: Values, samples: int, seed: int) -> Values:
    """Draw users with replacement and return the mean of every column in each bootstrap sample.

    One draw of users serves all columns, so the columns stay paired: the difference of two columns of the result is a
    sample of the difference. (Efron & Tibshirani 1993, chapters 6 and 13.)

    Args:
        values: `(n_users, n_columns)` float64, finite.
        samples: number of bootstrap samples, each of n_users users.
        seed: same values, samples and seed give the same bytes, on any number of threads.

    Returns:
        `(samples, n_columns)` float64. Other memory does not grow with `samples`.

    Raises:
        DataError: no users, values that are not finite, not a matrix, or fewer than one sample.
    """
    _check(values, samples, dimensions=2)
    n_users = len(values)
    exact = round_for_exact_sums(values)
    generator = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for start, stop in _split_samples(samples, n_users):
        size = stop - start
        drawn = generator.integers(n_users, size=(size, n_users))
        # How often each sample contains each user, for all samples in one count.
        drawn += np.arange(size)[:, None] * n_users
        counts = np.bincount(drawn.ravel(), minlength=size * n_users).reshape(size, n_users)
        means[start:stop] = counts.astype(np.float64) @ exact / n_users
    return means


def interval(draws: Values, confidence: float) -> tuple[Values, Values]:
    """Return the low and high ends of the percentile interval of each column.

    Args:
        draws: `(samples, n_columns)` float64 from `bootstrap_means`.
        confidence: share of the draws between the ends, such as 0.95.

    Returns:
        Two `(n_columns,)` float64 arrays.

    Raises:
        DataError: `confidence` is not between 0 and 1.
    """
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence: {confidence}, expected a share between 0 and 1; for example 0.95")
    low, high = np.quantile(draws, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def mean_interval(values: Values, samples: int, confidence: float, seed: int) -> Estimate:
    """Return the mean over users and its bootstrap interval.

    Args:
        values: `(n_users,)` float64, one number per user.
        samples: number of bootstrap samples.
        confidence: of the interval, such as 0.95.
        seed: of the bootstrap.

    Returns:
        The estimate; for equal values the interval has no width.

    Raises:
        DataError: no users, values that are not finite, not one column, or `samples` or `confidence` out of range.
    """
    _check(values, samples, dimensions=1)
    exact = round_for_exact_sums(values)
    low, high = interval(bootstrap_means(exact[:, None], samples, seed), confidence)
    return Estimate(float(exact.mean()), float(low[0]), float(high[0]))


def compare_paired(a: Values, b: Values, samples: int, confidence: float, seed: int) -> Estimate:
    """Compare two models on the same users: the mean of a − b and its bootstrap interval.

    Args:
        a: `(n_users,)` float64, one metric of the first model.
        b: `(n_users,)` float64, the same metric of the second model for the same users, in the same order.
        samples: number of bootstrap samples.
        confidence: of the interval, such as 0.95.
        seed: of the bootstrap.

    Returns:
        The difference; positive where `a` is better. Equal models give exactly 0, 0, 0.

    Raises:
        DataError: the shapes differ, or `mean_interval` refuses a − b.
    """
    if a.shape != b.shape:
        raise DataError(
            f"paired values: shapes {a.shape} and {b.shape}, expected the same; score both on the same users"
        )
    return mean_interval(a - b, samples, confidence, seed)


def permutation_p_values(differences: Values, samples: int, seed: int) -> Values:
    """Return the two-sided p-value of each mean difference under random flips of the users' signs.

    If two models were equally good, each user's difference could equally well have the opposite sign. So the signs of
    users are flipped at random, and the sums compared with the observed one. One set of flips serves all columns, so
    they stay paired; the p-value of a column does not depend on the other columns. The observed sum counts as a
    sample, hence (1 + samples at least as far from 0) / (1 + samples), never 0 (Phipson & Smyth 2010). Sums that differ
    only by rounding are equally far.

    Args:
        differences: `(n_users, n_columns)` float64, a − b per user; one column per pair of models and metric.
        samples: number of random sign flips of all users.
        seed: same differences, samples and seed give the same bytes, on any number of threads.

    Returns:
        `(n_columns,)` float64, above 0 and at most 1; a column of zeros gives 1. Memory does not grow with `samples`.

    Raises:
        DataError: no users, values that are not finite, not a matrix, or fewer than one sample.
    """
    _check(differences, samples, dimensions=2)
    n_users = len(differences)
    exact = round_for_exact_sums(differences)
    lost = np.abs(differences - exact).sum(axis=0)
    # Sums that are equal mathematically may differ by the truncation of either, or by rounding in the input.
    observed = np.abs(exact.sum(axis=0)) - 2.0 * lost - _LAST_DIGITS * np.abs(exact).sum(axis=0)
    generator = np.random.default_rng(seed)
    # Whole words of random bits: the flips then do not depend on how the samples are split into blocks.
    n_bytes = -(-n_users // 32) * 4
    as_far = np.zeros(differences.shape[1], dtype=np.int64)
    for start, stop in _split_samples(samples, n_users):
        drawn = np.frombuffer(generator.bytes((stop - start) * n_bytes), dtype=np.uint8)
        flips = np.unpackbits(drawn.reshape(-1, n_bytes), axis=1, count=n_users)
        sums = (1.0 - 2.0 * flips) @ exact
        as_far += (np.abs(sums) >= observed).sum(axis=0)
    p_values: Values = (1 + as_far) / (1 + samples)
    return p_values


def _split_samples(samples: int, n_users: int) -> Iterator[tuple[int, int]]:
    """Yield start and stop of blocks of samples of at most `_CELLS_AT_ONCE` cells, at least one sample each."""
    step = max(1, _CELLS_AT_ONCE // max(1, n_users))
    for start in track(range(0, samples, step), "Drawing users"):
        yield start, min(samples, start + step)


def _check(values: Values, samples: int, dimensions: int) -> None:
    if values.ndim != dimensions or len(values) == 0:
        raise DataError(
            f"values per user: shape {values.shape}, expected {format_count(dimensions, 'dimension')} and at "
            "least one user; score users before comparing them"
        )
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise DataError(
            f"values per user: {count:,} not finite, expected finite numbers; exclude users without positives"
        )
    if samples < 1:
        raise DataError(f"samples: {samples}, expected at least 1; for example 1000")
