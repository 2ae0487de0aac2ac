"""How far a mean over users can be trusted: bootstrap intervals and a permutation test.

Users are the unit: they are drawn, or their signs flipped, as a whole, because the values of one user
(several metrics, several models) belong together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

Values = NDArray[np.float64]

# Users times samples held at once; the largest arrays stay near 16 MB each.
_CELLS_AT_ONCE = 2_000_000


# What a value may be off by, as a share of the sums it is part of, before it is more than a last digit.
_LAST_DIGITS = 1e-12


@dataclass(frozen=True)
class Estimate:
    """A mean over users, with the ends of its interval."""

    mean: float
    low: float
    high: float


def round_for_exact_sums(values: Values) -> Values:
    """Cut each column to a binary grid on which no sum of n_users of its values needs rounding.

    A matrix product adds in an order that depends on the processor, the threads and the other columns; on the
    grid every order gives the same bytes, and the mean of equal values is that value. Cutting towards zero
    loses less than n_users x 10^-15 of the column's largest value. Values on the grid stay as they are.

    Args:
        values: `(n_users, n_columns)` or `(n_users,)` float64, finite, at least one user.

    Returns:
        The same shape, float64.
    """
    # A sum of n_users values lies below 2^exponent, so in steps below 2^53, where float64 counts exactly.
    _, exponents = np.frexp(len(values) * np.abs(values).max(axis=0))
    steps = np.ldexp(1.0, exponents - 53)
    rounded: Values = np.trunc(values / steps) * steps
    return rounded


def bootstrap_means(values: Values, samples: int, seed: int) -> Values:
    """Draw users with replacement, again and again, and return each draw's mean of every column.

    One draw serves all columns, so the columns stay paired: the difference of two columns of draws is a
    draw of the difference. (Efron & Tibshirani 1993, chapters 6 and 13.)

    Args:
        values: `(n_users, n_columns)` float64, finite.
        samples: number of draws, each of n_users users.
        seed: same values, samples and seed give the same bytes, on any number of threads.

    Returns:
        `(samples, n_columns)` float64. Memory beyond it does not grow with `samples`.

    Raises:
        DataError: no users, values that are not finite, not a matrix, or fewer than 1 sample.
    """
    _check(values, samples, dimensions=2)
    n_users = len(values)
    exact = round_for_exact_sums(values)
    generator = np.random.default_rng(seed)
    means = np.empty((samples, values.shape[1]))
    for start, stop in _spans(samples, n_users):
        size = stop - start
        drawn = generator.integers(n_users, size=(size, n_users))
        # How often each draw took each user, for all draws in one count.
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
        raise DataError(f"confidence: {confidence}, expected a share between 0 and 1; give for example 0.95")
    low, high = np.quantile(draws, [(1.0 - confidence) / 2.0, (1.0 + confidence) / 2.0], axis=0)
    return low, high


def mean_interval(values: Values, samples: int, confidence: float, seed: int) -> Estimate:
    """Return the mean over users and its bootstrap interval.

    Args:
        values: `(n_users,)` float64, one number per user.
        samples: bootstrap draws.
        confidence: of the interval, such as 0.95.
        seed: of the draws.

    Returns:
        The estimate; equal values give no width.

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
        b: the same metric of the second model, the same users in the same order.
        samples: bootstrap draws.
        confidence: of the interval, such as 0.95.
        seed: of the draws.

    Returns:
        The difference; positive where `a` is ahead. Equal models give exactly 0, 0, 0.

    Raises:
        DataError: the shapes differ, or `mean_interval` refuses a − b.
    """
    if a.shape != b.shape:
        raise DataError(
            f"paired values: shapes {a.shape} and {b.shape}, expected the same; score both on the same users"
        )
    return mean_interval(a - b, samples, confidence, seed)


def permutation_p_values(differences: Values, samples: int, seed: int) -> Values:
    """Return how often chance alone would show a mean difference this far from 0, in either direction.

    If two models were alike, each user's difference could as well have had the other sign; so the signs of users are
    flipped at random and the sums compared with the one seen. One set of flips serves all columns, so they stay
    paired; a column's p-value does not depend on its neighbours. The sum seen counts as a sample, hence
    (1 + as far or further) / (1 + samples), never 0 (Phipson & Smyth 2010). Sums that are equal but for their last
    digits are equally far.

    Args:
        differences: `(n_users, n_columns)` float64, a − b per user; one column per pair of models and metric.
        samples: random sign flips of all users.
        seed: same differences, samples and seed give the same bytes, on any number of threads.

    Returns:
        `(n_columns,)` float64, above 0 and at most 1; a column of zeros gives 1. Memory does not grow with `samples`.

    Raises:
        DataError: no users, values that are not finite, not a matrix, or fewer than 1 sample.
    """
    _check(differences, samples, dimensions=2)
    n_users = len(differences)
    exact = round_for_exact_sums(differences)
    lost = np.abs(differences - exact).sum(axis=0)
    # Sums that are equal on paper may lie apart by what either lost on the grid, or lacked from the start.
    seen = np.abs(exact.sum(axis=0)) - 2.0 * lost - _LAST_DIGITS * np.abs(exact).sum(axis=0)
    generator = np.random.default_rng(seed)
    # Whole words of random bits: the draws then do not depend on how the samples are cut into spans.
    n_bytes = -(-n_users // 32) * 4
    as_far = np.zeros(differences.shape[1], dtype=np.int64)
    for start, stop in _spans(samples, n_users):
        drawn = np.frombuffer(generator.bytes((stop - start) * n_bytes), dtype=np.uint8)
        flips = np.unpackbits(drawn.reshape(-1, n_bytes), axis=1, count=n_users)
        sums = (1.0 - 2.0 * flips) @ exact
        as_far += (np.abs(sums) >= seen).sum(axis=0)
    p_values: Values = (1 + as_far) / (1 + samples)
    return p_values


def _spans(samples: int, n_users: int) -> Iterator[tuple[int, int]]:
    """Cut the samples into spans of at most `_CELLS_AT_ONCE` cells, at least one sample each."""
    step = max(1, _CELLS_AT_ONCE // max(1, n_users))
    for start in range(0, samples, step):
        yield start, min(samples, start + step)


def _check(values: Values, samples: int, dimensions: int) -> None:
    if values.ndim != dimensions or len(values) == 0:
        raise DataError(
            f"values per user: shape {values.shape}, expected {dimensions} dimension(s) and at least "
            "one user; score users before comparing them"
        )
    if not np.isfinite(values).all():
        count = int((~np.isfinite(values)).sum())
        raise DataError(
            f"values per user: {count:,} are not finite, expected numbers; leave users without positives out"
        )
    if samples < 1:
        raise DataError(f"samples: {samples}, expected at least 1; give for example 1000")
