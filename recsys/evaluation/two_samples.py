"""Two groups of different users: the difference of their means with its interval, and what it could have shown.

The statistics are those of tea-tasting: Welch's t-interval, the relative difference by the delta method, variance
reduction by a covariate (CUPED), the sample-ratio check and power. Only this module imports it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from recsys.errors import DataError
from recsys.extras import needs_extra

with needs_extra("ab", "recsys ab"):
    import tea_tasting as tt
    from tea_tasting.aggr import Aggregates

Values = NDArray[np.float64]

# A covariate that leaves more of the variance is not used.
_LARGEST_VARIANCE_LEFT = 0.99
_VALUE, _BEFORE = "value", "before"


@dataclass(frozen=True)
class Effect:
    """Treatment minus control.

    Attributes:
        users: users of control and treatment.
        means: plain means of control and treatment.
        difference: of the means; adjusted for the covariate where one is used, as everything below.
        low: low end of its interval; None where no interval exists, because no user differs from another.
        high: high end; None likewise.
        lift: difference relative to control; None where a mean is not above 0.
        lift_low: low end of its interval; None likewise.
        lift_high: high end; None likewise.
        p_value: two-sided, of no difference; None where no interval exists.
        standard_error: of the difference; 0 where no interval exists.
        variance_left: share of the variance that the covariate leaves; None where none is used.
        smallest_lift: smallest true lift, in either direction, that as many users show with the wished power; None
            where no interval exists or control's mean is not above 0.
    """

    users: tuple[int, int]
    means: tuple[float, float]
    difference: float
    low: float | None = None
    high: float | None = None
    lift: float | None = None
    lift_low: float | None = None
    lift_high: float | None = None
    p_value: float | None = None
    standard_error: float = 0.0
    variance_left: float | None = None
    smallest_lift: float | None = None

    @property
    def statistic(self) -> float:
        """The difference in standard errors; 0 where no interval exists."""
        return self.difference / self.standard_error if self.standard_error else 0.0


@dataclass(frozen=True)
class Sample:
    """One number per user of two groups.

    Attributes:
        values: (n_users) float64, finite.
        treated: (n_users) bool, the users of the treatment.
        before: (n_users) float64, a covariate from before the treatment; None: there is none.
    """

    values: Values
    treated: NDArray[np.bool_]
    before: Values | None = None

    def __post_init__(self) -> None:
        """Check the form.

        Raises:
            DataError: the arrays differ in length, hold numbers that are not finite, or a group has no two users.
        """
        columns = [self.values] if self.before is None else [self.values, self.before]
        if any(column.shape != self.treated.shape or not np.isfinite(column).all() for column in columns):
            raise DataError("values of two groups: expected one finite number per user; exclude users without one")
        treated = int(self.treated.sum())
        if min(treated, len(self.treated) - treated) < 2:
            raise DataError(
                f"users of the two groups: {len(self.treated) - treated:,} and {treated:,}, expected at least 2 each"
            )

    def select(self, users: NDArray[np.bool_]) -> Sample:
        """Return some users."""
        return Sample(self.values[users], self.treated[users], None if self.before is None else self.before[users])

    @cached_property
    def variance_left(self) -> float:
        """Share of the variance inside the groups that the covariate leaves; 1 without one."""
        if self.before is None:
            return 1.0
        both = np.stack([self._centre(self.values), self._centre(self.before)])
        (own, shared), (_, other) = both @ both.T
        return float(1.0 - shared * shared / (own * other)) if own > 0 and other > 0 else 1.0

    def without_useless_covariate(self) -> Sample:
        """Return the same values, without the covariate where it removes less than 1 % of the variance."""
        return self if self.variance_left <= _LARGEST_VARIANCE_LEFT else replace(self, before=None)

    def _centre(self, column: Values) -> Values:
        centred = column.copy()
        for group in (self.treated, ~self.treated):
            centred[group] -= column[group].mean()
        return centred


def compare(sample: Sample, confidence: float, power: float | None = 0.8) -> Effect:
    """Return the difference of the two groups with the interval for a single planned look.

    Args:
        sample: the users; with a covariate the means are adjusted by it (CUPED: Deng, Xu, Kohavi & Walker 2013).
        confidence: of the interval, such as 0.95.
        power: chance to show the smallest lift; None: it is not computed.

    Returns:
        The effect; where no user differs from another it has no interval, because such data support none.
    """
    treated = sample.treated
    control, treatment = _aggregate(sample, ~treated), _aggregate(sample, treated)
    users = (control.count(), treatment.count())
    means = (float(control.mean(_VALUE)), float(treatment.mean(_VALUE)))
    if not any(np.ptp(sample.values[group]) for group in (treated, ~treated)):
        return Effect(users, means, means[1] - means[0])
    covariate = None if sample.before is None else _BEFORE
    settings = {"covariate": covariate, "alternative": "two-sided", "confidence_level": confidence, "equal_var": False}
    result = tt.Mean(_VALUE, use_t=True, **settings).analyze_aggregates(control, treatment)
    by_normal = tt.Mean(_VALUE, use_t=False, **settings).analyze_aggregates(control, treatment)
    lift, lift_low, lift_high = (
        float(number) if min(*means, result.control, result.treatment) > 0 else None
        for number in (result.rel_effect_size, result.rel_effect_size_ci_lower, result.rel_effect_size_ci_upper)
    )
    return Effect(
        users,
        means,
        float(result.effect_size),
        float(result.effect_size_ci_lower),
        float(result.effect_size_ci_upper),
        lift,
        lift_low,
        lift_high,
        p_value=float(result.pvalue),
        standard_error=float(by_normal.effect_size_ci_upper - by_normal.effect_size_ci_lower)
        / (2 * float(stats.norm.ppf((1 + confidence) / 2))),
        variance_left=None if covariate is None else sample.variance_left,
        smallest_lift=None if power is None else _smallest_lift(sample, users, covariate, 1 - confidence, power),
    )


def widen(effect: Effect, standard_errors: float) -> Effect:
    """Return an effect whose intervals are some standard errors wide on each side, without a p-value.

    The interval of the lift keeps its form, on the scale of logarithms.
    """
    if effect.low is None or effect.high is None:
        return effect
    half = standard_errors * effect.standard_error
    widened = replace(effect, low=effect.difference - half, high=effect.difference + half, p_value=None)
    if effect.lift is None or effect.lift_low is None or effect.lift_high is None:
        return widened
    factor = 2 * half / (effect.high - effect.low)
    ratio = 1 + effect.lift
    low, high = (ratio * ((1 + end) / ratio) ** factor - 1 for end in (effect.lift_low, effect.lift_high))
    return replace(widened, lift_low=low, lift_high=high)


def check_sample_ratio(control: int, treatment: int, share: float) -> float:
    """Return the p-value of the planned shares of users: tiny where users were lost or added on one side only.

    Below 1,000 users the binomial test is exact, above it is the chi-square test of one degree of freedom.

    Args:
        control: users of the control.
        treatment: users of the treatment.
        share: planned share of the treatment, between 0 and 1.

    Raises:
        DataError: the share is not between 0 and 1, or there is no user.
    """
    if not 0.0 < share < 1.0:
        raise DataError(f"planned share of the treatment: {share}, expected a share between 0 and 1, such as 0.05")
    if control + treatment < 1:
        raise DataError("sample ratio: no users; compare groups with users")
    counts = {name: Aggregates(count_=count) for name, count in (("control", control), ("treatment", treatment))}
    metric = tt.SampleRatio(share / (1 - share), method="auto", correction=False)
    return float(metric.analyze(counts, "control", "treatment").pvalue)


def count_users_needed(sample: Sample, lift: float, confidence: float, power: float = 0.8) -> int | None:
    """Return how many users of both groups together show a lift with the wished power; None where none could.

    Args:
        sample: users whose values vary as those to come; the groups keep their shares.
        lift: relative to the mean, such as 0.02.
        confidence: of the interval.
        power: chance that the interval excludes 0.
    """
    if lift == 0 or sample.values.mean() <= 0 or np.ptp(sample.values) == 0:
        return None
    covariate = None if sample.before is None else _BEFORE
    treated = int(sample.treated.sum())
    metric = tt.Mean(
        _VALUE,
        covariate,
        rel_effect_size=lift,
        alpha=1 - confidence,
        power=power,
        ratio=treated / (len(sample.treated) - treated),
        use_t=False,
        equal_var=False,
        alternative="two-sided",
    )
    everybody = _aggregate(sample, np.ones(len(sample.treated), dtype=np.bool_))
    return int(metric.solve_power_from_aggregates(everybody, "n_obs")[0].n_obs)


def _smallest_lift(
    sample: Sample, users: tuple[int, int], covariate: str | None, alpha: float, power: float
) -> float | None:
    if sample.values.mean() <= 0:
        return None
    metric = tt.Mean(
        _VALUE,
        covariate,
        alpha=alpha,
        power=power,
        ratio=users[1] / users[0],
        use_t=False,
        equal_var=False,
        alternative="two-sided",
    )
    everybody = _aggregate(sample, np.ones(len(sample.treated), dtype=np.bool_))
    return float(metric.solve_power_from_aggregates(everybody, "rel_effect_size")[0].rel_effect_size)


def _aggregate(sample: Sample, users: NDArray[np.bool_]) -> Aggregates:
    """Return count, mean, variance and covariance of some users, as tea-tasting takes them."""
    columns = {_VALUE: sample.values[users]}
    if sample.before is not None:
        columns[_BEFORE] = sample.before[users]
    covariance = np.atleast_2d(np.cov(np.stack(list(columns.values())), ddof=1))
    names = list(columns)
    return Aggregates(
        count_=int(users.sum()),
        mean_={name: float(column.mean()) for name, column in columns.items()},
        var_={name: float(covariance[index, index]) for index, name in enumerate(names)},
        cov_={} if len(names) == 1 else {(_BEFORE, _VALUE): float(covariance[0, 1])},
    )
