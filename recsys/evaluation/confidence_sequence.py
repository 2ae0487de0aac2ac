"""Intervals that hold at every look: an experiment may be looked at daily and stopped as soon as zero is outside.

A fixed interval covers the truth at one look that was planned beforehand. Who looks every day and stops at the first
interval without zero is wrong far more often. A confidence sequence is wider, and covers the truth at all looks
together.
"""

from __future__ import annotations

import math

from recsys.errors import DataError


def sequence_width(observed: float, horizon: float, confidence: float) -> float:
    """Return the half-width of an asymptotic confidence sequence, in standard errors.

    With t = `observed`, alpha = 1 − `confidence` and a tuning value rho, the half-width is
    sqrt(2 (t rho² + 1) / (t rho²) · log(sqrt(t rho² + 1) / alpha)) standard errors of the estimate at t (Waudby-Smith,
    Arbour, Sinha, Kennedy & Ramdas 2024, "Time-uniform central limit theory and asymptotic confidence sequences",
    theorem 2.2). rho is chosen so that the sequence is narrowest at the horizon (their appendix B.2); at other times
    it is a little wider, and it holds beyond the horizon too.

    The theorem is about independent observations that arrive one by one. Here the users stay the same and their days
    arrive, so `observed` counts days. Days of one user are positively correlated, which makes the estimates of two
    days more alike than the theorem's; so the sequence is rather too wide than too narrow. The simulation in
    tests/benchmarks/ab_simulation.py measures it.

    Args:
        observed: days observed so far, above 0.
        horizon: days at which the sequence should be narrowest, above 0.
        confidence: such as 0.95.

    Raises:
        DataError: a number is out of range.
    """
    spread = _spread(observed, horizon, confidence)
    return math.sqrt(2 * (spread + 1) / spread * (0.5 * math.log(spread + 1) - math.log(1 - confidence)))


def sequence_p_value(statistic: float, observed: float, horizon: float, confidence: float) -> float:
    """Return the p-value that goes with `sequence_width`: it may be looked at daily, too.

    It is below 1 − `confidence` exactly where the sequence excludes 0.

    Args:
        statistic: the estimate in standard errors.
        observed: as for `sequence_width`.
        horizon: as for `sequence_width`.
        confidence: fixes rho, as for `sequence_width`.
    """
    spread = _spread(observed, horizon, confidence)
    exponent = statistic * statistic * spread / (2 * (spread + 1))
    return min(1.0, math.exp(0.5 * math.log(spread + 1) - exponent))


def _spread(observed: float, horizon: float, confidence: float) -> float:
    """Return t rho²."""
    if not 0.0 < confidence < 1.0:
        raise DataError(f"confidence: {confidence}, expected a share between 0 and 1; for example 0.95")
    if observed <= 0 or horizon <= 0:
        raise DataError(f"days of an experiment: {observed:g} of {horizon:g}, expected numbers above 0")
    twice = -2 * math.log(1 - confidence)
    return (twice + math.log(twice) + 1) * observed / horizon if twice > 1 else 2 * observed / horizon
