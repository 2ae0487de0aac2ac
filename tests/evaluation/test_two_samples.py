import numpy as np
import pytest
from scipy import stats

from recsys.errors import DataError
from recsys.evaluation.two_samples import (
    Sample,
    check_sample_ratio,
    compare,
    count_users_needed,
    widen,
)


def draw(users: int = 4000, lift: float = 0.1, seed: int = 0, *, before: bool = True) -> Sample:
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < 0.4
    taste = rng.gamma(2.0, 2.0, users)
    values = rng.poisson(taste * np.where(treated, 1 + lift, 1.0)).astype(float)
    return Sample(values, treated, rng.poisson(taste).astype(float) if before else None)


def test_without_a_covariate_it_is_the_test_of_welch() -> None:
    sample = draw(before=False)
    effect = compare(sample, 0.9)
    control, treatment = sample.values[~sample.treated], sample.values[sample.treated]
    expected = stats.ttest_ind(treatment, control, equal_var=False)
    low, high = expected.confidence_interval(0.9)
    assert (effect.low, effect.high, effect.p_value) == pytest.approx((low, high, expected.pvalue))
    assert effect.users == (len(control), len(treatment))
    assert effect.means == (control.mean(), treatment.mean())
    assert effect.standard_error == pytest.approx(
        np.sqrt(control.var(ddof=1) / len(control) + treatment.var(ddof=1) / len(treatment))
    )
    assert effect.statistic == pytest.approx(expected.statistic)
    assert effect.lift == pytest.approx(treatment.mean() / control.mean() - 1)
    assert effect.lift_low < effect.lift < effect.lift_high
    assert effect.variance_left is None


def test_a_covariate_is_used_where_it_helps() -> None:
    sample = draw()
    assert sample.without_useless_covariate() is sample
    adjusted, plain = compare(sample, 0.95), compare(draw(before=False), 0.95)
    correlation = np.corrcoef(sample.values, sample.before)[0, 1]
    assert adjusted.variance_left == pytest.approx(1 - correlation**2, abs=0.02)
    assert adjusted.standard_error == pytest.approx(plain.standard_error * np.sqrt(adjusted.variance_left), rel=0.02)
    assert adjusted.smallest_lift < plain.smallest_lift
    noise = Sample(sample.values, sample.treated, np.random.default_rng(1).random(len(sample.values)))
    assert noise.without_useless_covariate().before is None
    constant = Sample(sample.values, sample.treated, np.ones(len(sample.values)))
    assert constant.variance_left == 1.0
    assert constant.without_useless_covariate().before is None


def test_equal_values_support_no_interval() -> None:
    treated = np.arange(100) < 50
    for value in (0.0, 3.0):
        effect = compare(Sample(np.full(100, value), treated), 0.95)
        assert (effect.difference, effect.low, effect.p_value, effect.smallest_lift) == (0.0, None, None, None)
        assert widen(effect, 3.0) == effect
        assert effect.statistic == 0.0
    # All of one variant, none of the other: an interval of the difference, but no lift on nothing.
    effect = compare(Sample((np.arange(100) >= 75).astype(float), treated), 0.95)
    assert effect.difference == -0.5
    assert effect.high < 0
    assert effect.lift is None


def test_widening_scales_both_intervals() -> None:
    effect = compare(draw(before=False), 0.95)
    quantile = (effect.high - effect.difference) / effect.standard_error
    same, twice = widen(effect, quantile), widen(effect, 2 * quantile)
    assert (same.low, same.high, same.lift_low, same.lift_high) == pytest.approx(
        (effect.low, effect.high, effect.lift_low, effect.lift_high)
    )
    assert twice.high - twice.low == pytest.approx(2 * (effect.high - effect.low))
    assert np.log((1 + twice.lift_high) / (1 + twice.lift_low)) == pytest.approx(
        2 * np.log((1 + effect.lift_high) / (1 + effect.lift_low))
    )
    assert twice.p_value is None


def test_the_sample_ratio() -> None:
    chi_square = stats.chisquare([13_900, 6_100], [14_000, 6_000]).pvalue
    assert check_sample_ratio(13_900, 6_100, 0.3) == pytest.approx(chi_square)
    assert check_sample_ratio(70, 30, 0.3) == 1.0
    assert check_sample_ratio(60, 40, 0.3) == pytest.approx(stats.binomtest(40, 100, 0.3).pvalue)
    for share in (0.0, 1.0, 50.0):
        with pytest.raises(DataError, match="expected a share between 0 and 1"):
            check_sample_ratio(1, 1, share)
    with pytest.raises(DataError, match="no users"):
        check_sample_ratio(0, 0, 0.5)


def test_users_needed_show_the_lift_with_the_power() -> None:
    sample = draw(lift=0.0, before=False)
    needed = count_users_needed(sample, 0.05, 0.95)
    smallest = compare(sample, 0.95).smallest_lift
    # The smallest lift falls with the root of the users.
    assert needed == pytest.approx(len(sample.values) * (smallest / 0.05) ** 2, rel=0.02)
    assert count_users_needed(sample, 0.05, 0.95, power=0.9) > needed
    assert count_users_needed(Sample(np.zeros(10), np.arange(10) < 5), 0.05, 0.95) is None


def test_bad_samples() -> None:
    with pytest.raises(DataError, match="9 and 1, expected at least 2 each"):
        Sample(np.zeros(10), np.arange(10) < 1)
    for values in (np.array([1.0, np.nan, 1.0, 1.0]), np.zeros(3)):
        with pytest.raises(DataError, match="one finite number per user"):
            Sample(values, np.arange(4) < 2)
