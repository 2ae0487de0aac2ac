"""Paired intervals with pseudo-users: hand-computed values, and what holds for any values."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import t

from recsys.errors import DataError
from recsys.evaluation.paired import holm, pair_values

Values = NDArray[np.float64]


def test_by_hand() -> None:
    pairs = pair_values(np.array([1.0, 0.0, 0.0, 0.0]), np.zeros(4))
    assert (pairs.users, pairs.users_with_hit, pairs.users_differing) == (4, 1, 1)
    assert (pairs.ours, pairs.theirs, pairs.difference) == (0.25, 0.0, 0.25)
    # With a user at +1 and one at -1: 6 users, mean 1/6, mean square 3/6, so the variance is 1/2 - 1/36 = 17/36.
    estimate = pairs.interval(0.95)
    half = t.isf(0.025, 5) * math.sqrt(17 / 36 / 5)
    assert estimate.mean == 0.25
    assert (estimate.low, estimate.high) == pytest.approx((1 / 6 - half, 1 / 6 + half))
    assert pairs.interval(0.95, widening=2.0).high == pytest.approx(1 / 6 + 2 * half)
    assert pairs.p_value() == pytest.approx(2 * t.sf(1 / 6 / math.sqrt(17 / 36 / 5), 5))
    # A power of 80 % adds 0.8416 standard errors.
    assert pairs.smallest_difference(0.95) == pytest.approx(half + 0.8416212 * math.sqrt(17 / 36 / 5))


def test_counts_stand_for_users() -> None:
    ours, theirs = np.array([1.0, 0.5, 0.0]), np.array([0.5, 0.5, 0.0])
    counts = np.array([2, 3, 4])
    counted = pair_values(ours, theirs, counts)
    assert counted == pair_values(np.repeat(ours, counts), np.repeat(theirs, counts))
    assert (counted.users, counted.users_with_hit, counted.users_differing) == (9, 5, 2)


def test_equal_values_have_an_interval() -> None:
    few, many = (pair_values(np.full(users, 0.3), np.full(users, 0.3)).interval(0.95) for users in (20, 2_000))
    assert few.mean == many.mean == 0.0
    assert few.low < many.low < 0.0 < many.high < few.high


VALUES = st.lists(st.tuples(*[st.sampled_from([0.0, 0.3, 0.63, 1.0])] * 2), min_size=1, max_size=60)


@given(VALUES)
def test_what_always_holds(values: list[tuple[float, float]]) -> None:
    ours, theirs = np.array(values).T
    pairs, mirrored = pair_values(ours, theirs), pair_values(theirs, ours)
    estimate, other = pairs.interval(0.95), mirrored.interval(0.95)
    assert estimate.low < estimate.mean * len(values) / (len(values) + 2) < estimate.high
    assert (estimate.low, estimate.high) == pytest.approx((-other.high, -other.low))
    assert pairs.interval(0.99).low < estimate.low
    backwards = pair_values(ours[::-1], theirs[::-1])
    assert backwards.squares == pytest.approx(pairs.squares)
    assert backwards.users_differing == pairs.users_differing
    # 0 is outside the interval exactly where the p-value is below 1 - confidence.
    assert (estimate.low > 0 or estimate.high < 0) == (pairs.p_value() < 0.05)


@pytest.mark.parametrize("hit_rate", [0.01, 0.3])
@pytest.mark.parametrize("users", [30, 2_000])
def test_coverage(users: int, hit_rate: float) -> None:
    generator = np.random.default_rng(0)
    gains = 1.0 / np.log2(np.arange(2, 12))
    covered = 0
    for _ in range(400):
        ours, theirs = (
            np.where(generator.random(users) < rate, generator.choice(gains, users), 0.0)
            for rate in (hit_rate, 0.7 * hit_rate)
        )
        estimate = pair_values(ours, theirs).interval(0.95)
        covered += estimate.low <= 0.3 * hit_rate * gains.mean() <= estimate.high
    assert covered >= 0.92 * 400


@pytest.mark.parametrize(
    ("ours", "theirs", "message"),
    [
        (np.zeros(2), np.zeros(3), "expected equal one-dimensional shapes"),
        (np.zeros(0), np.zeros(0), "no user"),
        (np.array([1.5]), np.zeros(1), "expected metrics between 0 and 1"),
        (np.array([np.nan]), np.zeros(1), "expected metrics between 0 and 1"),
    ],
)
def test_values_that_cannot_be_compared(ours: Values, theirs: Values, message: str) -> None:
    with pytest.raises(DataError, match=message):
        pair_values(ours, theirs)


def test_a_confidence_out_of_range() -> None:
    with pytest.raises(DataError, match=r"confidence: 1\.0"):
        pair_values(np.zeros(3), np.zeros(3)).interval(1.0)


def test_holm_by_hand() -> None:
    # Limits in order: 0.05 / 4, 0.05 / 3, 0.05 / 2, 0.05.
    assert holm([0.02, 0.01, 0.03, 0.9], 0.05) == [False, True, False, False]
    assert holm([0.012, 0.001, 0.024, 0.05], 0.05) == [True, True, True, True]
    assert holm([], 0.05) == []
