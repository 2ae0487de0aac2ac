"""Paired comparisons of two models on the same users, with an interval that also holds where hits are rare.

The interval is Student's t over the users' differences plus two pseudo-users, one at each end of the metric's range.
It generalises the adjusted Wald interval for the difference of two paired proportions (Bonett & Price 2012, after
Agresti & Min 2005) to any metric between 0 and 1. It is deterministic, has a closed form and never has zero width:
where no user differs, it states how large a difference that many users could hide. docs/explanation/gate.md compares
its coverage with that of six other intervals.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError
from recsys.evaluation.intervals import Estimate

# The chance of finding a difference that `smallest_difference` asks for.
POWER = 0.8
# One pseudo-user gains the whole range of the metric, and one loses it.
_PSEUDO_USERS = 2


@dataclass(frozen=True)
class Pairs:
    """What a comparison needs to know about the values of two models for the same users.

    Attributes:
        users: number of users with a value of both models.
        ours: mean of the first model.
        theirs: mean of the second.
        squares: sum of the squared differences over users.
        users_with_hit: users whose value is above 0 with either model.
        users_differing: users whose two values differ.
    """

    users: int
    ours: float
    theirs: float
    squares: float
    users_with_hit: int
    users_differing: int

    @property
    def difference(self) -> float:
        """Mean difference, first minus second."""
        return self.ours - self.theirs

    @cached_property
    def standard_error(self) -> float:
        """Standard error of the mean difference, pseudo-users included; never 0."""
        users = self.users + _PSEUDO_USERS
        variance = (self.squares + _PSEUDO_USERS) / users - self.centre**2
        return float(np.sqrt(max(variance, 0.0) / (users - 1)))

    @property
    def centre(self) -> float:
        """Mean difference, pseudo-users included: the middle of the interval."""
        return self.users * self.difference / (self.users + _PSEUDO_USERS)

    def interval(self, confidence: float, widening: float = 1.0) -> Estimate:
        """Return the mean difference with the ends of its two-sided interval.

        Args:
            confidence: of the interval, such as 0.95.
            widening: factor of the interval's half-width, 1 or more.
        """
        half = self.half_width(confidence, widening)
        return Estimate(self.difference, self.centre - half, self.centre + half)

    def half_width(self, confidence: float, widening: float = 1.0) -> float:
        """Return half the width of the interval."""
        return quantile(confidence, self.users + _PSEUDO_USERS - 1) * self.standard_error * widening

    def p_value(self) -> float:
        """Return the two-sided p-value of no difference, from the same t distribution as the interval."""
        # Here, not at the top: the import takes a second, and a night needs none of it.
        from scipy.stats import t

        return float(2.0 * t.sf(abs(self.centre) / self.standard_error, self.users + _PSEUDO_USERS - 1))

    def smallest_difference(self, confidence: float, widening: float = 1.0) -> float:
        """Return the smallest true difference that this many users would show in four of five windows.

        To show a difference is to have it outside the interval; the power is `POWER`.
        """
        from scipy.stats import norm

        return self.half_width(confidence, widening) + float(norm.ppf(POWER)) * self.standard_error


def pair_values(
    ours: NDArray[np.float64], theirs: NDArray[np.float64], counts: NDArray[np.int64] | None = None
) -> Pairs:
    """Summarise the values of two models for the same users.

    Args:
        ours: `(n,)` float64 between 0 and 1, one metric of the first model.
        theirs: `(n,)` float64, the same metric of the second model for the same users, in the same order.
        counts: `(n,)` number of users with each pair of values; None: one user each.

    Raises:
        DataError: the shapes differ, there is no user, or a value is not between 0 and 1.
    """
    if ours.shape != theirs.shape or ours.ndim != 1:
        raise DataError(
            f"paired values: shapes {ours.shape} and {theirs.shape}, expected equal one-dimensional shapes; "
            "score both models on the same users"
        )
    weights = np.ones(len(ours), dtype=np.int64) if counts is None else counts
    users = int(weights.sum())
    if not users:
        raise DataError("paired values: no user, expected at least one; score users before comparing them")
    for values in (ours, theirs):
        # A sum of discounts may exceed 1 by rounding.
        if not (values.min() >= 0.0 and values.max() <= 1.0 + 1e-9):
            raise DataError(
                f"paired values: between {values.min()} and {values.max()}, expected metrics between 0 and 1; "
                "choose a metric between 0 and 1"
            )
    differences = ours - theirs
    return Pairs(
        users=users,
        ours=float(weights @ ours) / users,
        theirs=float(weights @ theirs) / users,
        squares=float(weights @ differences**2),
        users_with_hit=int(weights[(ours > 0) | (theirs > 0)].sum()),
        users_differing=int(weights[differences != 0].sum()),
    )


@lru_cache(maxsize=4096)
def quantile(confidence: float, freedom: int) -> float:
    """Return the two-sided critical value of Student's t; cached, because simulations ask for the same many times."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence: {confidence}, expected a share between 0 and 1; for example 0.95")
    from scipy.stats import t

    return float(t.isf((1.0 - confidence) / 2.0, freedom))


def holm(p_values: list[float], alpha: float) -> list[bool]:
    """Return which hypotheses Holm's step-down procedure rejects at a family-wise error of alpha (Holm 1979).

    Args:
        p_values: one per hypothesis, in any order.
        alpha: chance of a false rejection among all hypotheses, such as 0.05.
    """
    rejected = [False] * len(p_values)
    order = sorted(range(len(p_values)), key=lambda index: p_values[index])
    for step, index in enumerate(order):
        if p_values[index] > alpha / (len(p_values) - step):
            break
        rejected[index] = True
    return rejected
