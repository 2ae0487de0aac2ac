from __future__ import annotations

import dataclasses
from itertools import product
from math import fsum

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import permutation_test

from recsys.errors import DataError
from recsys.evaluation import intervals
from recsys.evaluation.intervals import (
    Estimate,
    bootstrap_means,
    compare_paired,
    interval,
    mean_interval,
    permutation_p_values,
    round_for_exact_sums,
)

SOME = np.random.default_rng(3).random((200, 4))


class TestBootstrapMeans:
    def test_is_the_mean_of_each_draw(self) -> None:
        # The same draws without counting: pick users, average.
        users = np.random.default_rng(7).integers(200, size=(50, 200))
        assert bootstrap_means(SOME, 50, 7) == pytest.approx(SOME[users].mean(axis=1), abs=1e-12)

    def test_same_seed_same_bytes(self) -> None:
        assert bootstrap_means(SOME, 100, 1).tobytes() == bootstrap_means(SOME, 100, 1).tobytes()
        assert bootstrap_means(SOME, 100, 1).tobytes() != bootstrap_means(SOME, 100, 2).tobytes()

    def test_result_does_not_depend_on_the_block_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        whole = bootstrap_means(SOME, 100, 1)
        for cells in (1, 7 * 200, 100 * 200 - 1):
            monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", cells)
            assert bootstrap_means(SOME, 100, 1).tobytes() == whole.tobytes()

    def test_a_column_does_not_depend_on_its_neighbours(self) -> None:
        wide = np.random.default_rng(4).random((997, 61)) * 10.0 ** np.arange(-30, 31)
        draws = bootstrap_means(wide, 60, 5)
        for column in (0, 17, 60):
            assert bootstrap_means(wide[:, [column]], 60, 5)[:, 0].tobytes() == draws[:, column].tobytes()

    def test_columns_are_drawn_together(self) -> None:
        draws = bootstrap_means(np.column_stack([SOME[:, 0], 1.0 - SOME[:, 0]]), 100, 1)
        assert draws.sum(axis=1) == pytest.approx(np.ones(100))
        assert draws[:, 0].std() > 0.01

    def test_spreads_like_the_standard_error(self) -> None:
        draws = bootstrap_means(SOME, 2000, 1)
        assert draws.std(axis=0) == pytest.approx(SOME.std(axis=0) / np.sqrt(200), rel=0.08)
        assert draws.mean(axis=0) == pytest.approx(SOME.mean(axis=0), abs=0.003)

    @given(st.integers(1, 40), st.sampled_from([0.0, 1.0, 0.5]), st.integers(0, 100))
    def test_constant_stays_constant(self, n_users: int, value: float, seed: int) -> None:
        assert (bootstrap_means(np.full((n_users, 2), value), 30, seed) == value).all()

    @pytest.mark.parametrize(
        ("values", "samples", "message"),
        [
            (np.empty((0, 2)), 10, "at least one user"),
            (np.ones(3), 10, "2 dimension"),
            (np.array([[1.0], [np.nan]]), 10, "1 not finite"),
            (np.ones((3, 1)), 0, "samples: 0"),
        ],
    )
    def test_refusals(self, values: np.ndarray, samples: int, message: str) -> None:
        with pytest.raises(DataError, match=message):
            bootstrap_means(values, samples, 0)


class TestRoundForExactSums:
    @given(st.integers(1, 500), st.integers(-60, 60), st.integers(0, 1000))
    def test_any_order_sums_to_the_same(self, n_users: int, exponent: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        values = generator.uniform(generator.choice([-1.0, 0.9]), 1.0, size=n_users) * 10.0**exponent
        rounded = round_for_exact_sums(values)
        drawn = rounded[generator.integers(n_users, size=n_users)]
        assert sum(drawn) == sum(sorted(drawn)) == drawn.sum() == fsum(drawn)
        assert np.abs(rounded - values).max() <= n_users * 1e-15 * np.abs(values).max()
        assert round_for_exact_sums(rounded).tobytes() == rounded.tobytes()

    def test_values_of_one_user_do_not_change(self) -> None:
        assert round_for_exact_sums(SOME[:1]).tolist() == SOME[:1].tolist()

    def test_equal_values_have_that_mean(self) -> None:
        rounded = round_for_exact_sums(np.full((1000, 1), 0.1))
        assert rounded.mean() == rounded[0, 0] == pytest.approx(0.1, abs=1e-12)
        assert set(bootstrap_means(rounded, 20, 0)[:, 0]) == {rounded[0, 0]}


class TestInterval:
    def test_cuts_both_tails_equally(self) -> None:
        # 0 … 100: 10 % below 10, 10 % above 90.
        draws = np.arange(101.0)[:, None] * [1.0, -1.0]
        low, high = interval(draws, 0.8)
        assert low == pytest.approx([10.0, -90.0])
        assert high == pytest.approx([90.0, -10.0])

    @given(st.integers(2, 60), st.integers(0, 1000))
    def test_covers_the_mean_and_widens_with_confidence(self, n_users: int, seed: int) -> None:
        values = np.random.default_rng(seed).random((n_users, 1))
        draws = bootstrap_means(values, 400, seed)
        low, high = interval(draws, 0.95)
        assert low[0] < values.mean() < high[0]
        wider_low, wider_high = interval(draws, 0.99)
        assert wider_low[0] <= low[0]
        assert high[0] <= wider_high[0]

    def test_coverage_is_near_the_confidence(self) -> None:
        # 400 samples of 100 users from an exponential distribution with mean 1, as skewed as metrics are.
        # A 90 % interval should contain 1 in 360 of them; a percentile bootstrap on skewed values in a few less.
        worlds = np.random.default_rng(11).exponential(size=(100, 400))
        low, high = interval(bootstrap_means(worlds, 500, 12), 0.9)
        assert 0.84 <= np.mean((low <= 1.0) & (high >= 1.0)) <= 0.94

    @pytest.mark.parametrize("confidence", [0.0, 1.0, 95.0, float("nan")])
    def test_rejects_a_confidence_outside_0_and_1(self, confidence: float) -> None:
        with pytest.raises(DataError, match="confidence"):
            interval(SOME, confidence)


class TestMeanInterval:
    def test_is_the_bootstrap_of_one_column(self) -> None:
        estimate = mean_interval(SOME[:, 0], 300, 0.9, 1)
        low, high = interval(bootstrap_means(SOME[:, [0]], 300, 1), 0.9)
        assert (estimate.low, estimate.high) == (low[0], high[0])
        assert estimate.mean == pytest.approx(SOME[:, 0].mean())
        assert estimate.low < estimate.mean < estimate.high

    def test_equal_values_have_no_width(self) -> None:
        assert mean_interval(np.full(3, 0.25), 50, 0.95, 1) == Estimate(0.25, 0.25, 0.25)
        estimate = mean_interval(np.full(70, 0.1), 50, 0.95, 1)
        assert estimate.low == estimate.mean == estimate.high == pytest.approx(0.1)

    def test_refusals(self) -> None:
        with pytest.raises(DataError, match="at least one user"):
            mean_interval(np.empty(0), 10, 0.95, 0)
        with pytest.raises(DataError, match="1 dimension"):
            mean_interval(SOME, 10, 0.95, 0)
        with pytest.raises(DataError, match="confidence"):
            mean_interval(SOME[:, 0], 10, 95.0, 0)


class TestComparePaired:
    def test_equal_models_differ_by_exactly_0(self) -> None:
        assert compare_paired(SOME[:, 0], SOME[:, 0].copy(), 200, 0.95, 1) == Estimate(0.0, 0.0, 0.0)

    def test_constant_lead_has_no_width(self) -> None:
        b = np.array([0.0, 0.25, 0.5])
        assert compare_paired(b + 0.5, b, 200, 0.95, 1) == Estimate(0.5, 0.5, 0.5)
        estimate = compare_paired(np.full(70, 0.1), np.zeros(70), 200, 0.95, 1)
        assert estimate.low == estimate.mean == estimate.high == pytest.approx(0.1)

    def test_pairing_makes_the_interval_narrow(self) -> None:
        # Users differ much (0 … 1), the models little: unpaired intervals would overlap.
        b = SOME[:, 0]
        a = b + 0.01 + 0.01 * SOME[:, 1]
        estimate = compare_paired(a, b, 1000, 0.95, 1)
        assert estimate.mean == pytest.approx(0.01 + 0.01 * SOME[:, 1].mean())
        assert 0.0 < estimate.low < estimate.mean < estimate.high < 0.02

    def test_swapped_models_swap_the_ends(self) -> None:
        there = compare_paired(SOME[:, 0], SOME[:, 1], 300, 0.95, 1)
        back = compare_paired(SOME[:, 1], SOME[:, 0], 300, 0.95, 1)
        assert (back.mean, back.low, back.high) == pytest.approx((-there.mean, -there.high, -there.low))

    def test_rejects_different_numbers_of_users(self) -> None:
        with pytest.raises(DataError, match="same users"):
            compare_paired(SOME[:, 0], SOME[:-1, 0], 100, 0.95, 1)

    def test_cannot_be_changed_afterwards(self) -> None:
        with pytest.raises(dataclasses.FrozenInstanceError):
            Estimate(0.0, 0.0, 0.0).mean = 1.0  # type: ignore[misc]


def enumerate_signs(differences: np.ndarray) -> float:
    """The exact p-value: the share of all sign patterns with a sum at least as far from 0. Needs integers."""
    signs = np.array(list(product([-1, 1], repeat=len(differences))))
    return float(np.mean(np.abs(signs @ differences) >= abs(differences.sum())))


class TestPermutationPValues:
    def test_no_difference_at_all_is_1(self) -> None:
        columns = np.column_stack([np.zeros(50), SOME[:50, 0]])
        p_values = permutation_p_values(columns, 99, 0)
        assert p_values.dtype == np.float64
        assert p_values.tolist() == [1.0, 1 / 100]  # every user ahead: never 0

    def test_all_signs_alike(self) -> None:
        # 3 users ahead by 1: of the 8 sign patterns +++ and --- reach |3|, so p is 2/8.
        assert permutation_p_values(np.ones((3, 1)), 20_000, 0)[0] == pytest.approx(0.25, abs=0.01)

    @given(st.integers(1, 10), st.integers(0, 1000))
    @settings(max_examples=25)
    def test_is_close_to_the_exact_p_value(self, n_users: int, seed: int) -> None:
        # Small integers, so that many patterns tie with the observed one.
        whole = np.random.default_rng(seed).integers(-4, 6, size=(n_users, 5))
        expected = [enumerate_signs(column) for column in whole.T]
        # 5 standard errors of a share of 4,000 draws. Tenths tie only mathematically, and must count as ties.
        for values in (whole * 1.0, whole * 0.1, whole / 7):
            assert permutation_p_values(values, 4_000, seed) == pytest.approx(expected, abs=0.04)

    def test_agrees_with_scipy(self) -> None:
        differences = SOME[:12] - [0.3, 0.4, 0.5, 0.7]
        peer = permutation_test(
            (differences,), lambda x, axis: x.mean(axis=axis), permutation_type="samples", n_resamples=np.inf, axis=0
        )
        assert permutation_p_values(differences, 20_000, 4) == pytest.approx(peer.pvalue, abs=0.015)
        assert peer.pvalue.min() < 0.1
        assert peer.pvalue.max() > 0.3

    def test_sums_that_differ_by_rounding_tie(self) -> None:
        # The sum is -0.1. Seven odd tenths and an even one sum to odd tenths under any signs, so no flips come
        # closer to 0; but as floats many of those sums are below 0.1 in the last digit.
        few = np.array([3, 1, -5, 1, 5, -4, -1, -1]) * 0.1
        assert permutation_p_values(few[:, None], 500, 0).tolist() == [1.0]
        # Three differences of a tenth, each rounded differently: any signs give a sum as far from 0, or farther.
        tenths = np.array([1.1 - 1.0, 0.7 - 0.6, 0.8 - 0.9])
        assert permutation_p_values(tenths[:, None], 500, 0).tolist() == [1.0]
        # The first eight again, among enough users to make the grid much coarser than the last digit.
        many = np.zeros(200_000)
        many[::25_000] = few
        assert permutation_p_values(many[:, None], 50, 0).tolist() == [1.0]

    def test_a_column_does_not_depend_on_its_neighbours(self) -> None:
        wide = np.random.default_rng(4).normal(0.02, 1.0, size=(997, 61)) * 10.0 ** np.arange(-30, 31)
        p_values = permutation_p_values(wide, 200, 5)
        assert [permutation_p_values(wide[:, [column]], 200, 5)[0] for column in range(61)] == p_values.tolist()
        assert p_values.std() > 0.1

    def test_does_not_depend_on_the_unit(self) -> None:
        differences = SOME - 0.47
        p_values = permutation_p_values(differences, 300, 1)
        assert permutation_p_values(differences * 1e-9, 300, 1).tolist() == p_values.tolist()

    def test_columns_are_flipped_together(self) -> None:
        scaled = np.repeat(SOME[:, [0]] - 0.47, 3, axis=1) * [1.0, -1.0, 8.0]
        assert len(set(permutation_p_values(scaled, 500, 3))) == 1

    def test_result_does_not_depend_on_the_block_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        differences = SOME - 0.47
        whole = permutation_p_values(differences, 100, 1)
        for cells in (1, 7 * 200, 100 * 200 - 1):
            monkeypatch.setattr(intervals, "_CELLS_AT_ONCE", cells)
            assert permutation_p_values(differences, 100, 1).tobytes() == whole.tobytes()

    def test_two_sided_and_seeded(self) -> None:
        differences = SOME[:, [0]] - 0.45
        first = permutation_p_values(differences, 500, 3)
        assert first == permutation_p_values(-differences, 500, 3) == permutation_p_values(differences, 500, 3)
        assert 0.0 < first[0] < 0.2
        assert {permutation_p_values(differences, 500, seed)[0] for seed in range(5)} != {first[0]}

    def test_is_uniform_when_nothing_differs(self) -> None:
        # The columns are independent, so their p-values are independent, too.
        p_values = permutation_p_values(np.random.default_rng(8).normal(size=(30, 600)), 499, 1)
        assert np.mean(p_values <= 0.1) == pytest.approx(0.1, abs=0.05)
        assert np.mean(p_values) == pytest.approx(0.5, abs=0.06)

    @pytest.mark.parametrize(
        ("differences", "samples", "message"),
        [
            (np.empty((0, 2)), 10, "at least one user"),
            (np.ones(3), 10, "2 dimension"),
            (np.array([[1.0], [np.inf]]), 10, "1 not finite"),
            (np.ones((3, 1)), 0, "samples: 0"),
        ],
    )
    def test_refusals(self, differences: np.ndarray, samples: int, message: str) -> None:
        with pytest.raises(DataError, match=message):
            permutation_p_values(differences, samples, 0)
