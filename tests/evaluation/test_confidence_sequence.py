import math

import numpy as np
import pytest

from recsys.errors import DataError
from recsys.evaluation.confidence_sequence import sequence_p_value, sequence_width


def test_the_formula_of_the_paper() -> None:
    # rho squared of appendix B.2 for a horizon of 28 and alpha = 0.05.
    rho2 = (-2 * math.log(0.05) + math.log(-2 * math.log(0.05)) + 1) / 28
    for t in (1, 7, 28, 100):
        half_width = math.sqrt(2 * (t * rho2 + 1) / (t**2 * rho2) * math.log(math.sqrt(t * rho2 + 1) / 0.05))
        assert sequence_width(t, 28, 0.95) == pytest.approx(half_width * math.sqrt(t))


def test_it_is_narrowest_at_the_horizon_and_always_wider_than_a_fixed_interval() -> None:
    widths = np.array([sequence_width(days, 28, 0.95) for days in range(1, 200)])
    horizons = np.array([sequence_width(28, horizon, 0.95) for horizon in range(1, 200)])
    assert widths.min() > 2.5
    assert abs(int(horizons.argmin()) + 1 - 28) <= 3
    # The interval itself, width over the root of time, shrinks all the time.
    assert (np.diff(widths / np.sqrt(np.arange(1, 200))) < 0).all()


def test_the_p_value_fits_the_interval() -> None:
    for days in (1, 28, 300):
        width = sequence_width(days, 28, 0.9)
        assert sequence_p_value(width, days, 28, 0.9) == pytest.approx(0.1)
        assert sequence_p_value(-width * 1.01, days, 28, 0.9) < 0.1
        assert sequence_p_value(0.0, days, 28, 0.9) == 1.0


def test_a_walk_leaves_it_rarely_however_often_it_is_looked_at() -> None:
    walks = np.random.default_rng(0).standard_normal((2000, 200)).cumsum(axis=1) / np.sqrt(np.arange(1, 201))
    widths = np.array([sequence_width(days, 28, 0.95) for days in range(1, 201)])
    assert (np.abs(walks) > widths).any(axis=1).mean() < 0.05
    assert (np.abs(walks) > 1.96).any(axis=1).mean() > 0.3


@pytest.mark.parametrize(("days", "horizon", "confidence"), [(0, 28, 0.95), (1, 0, 0.95), (1, 1, 1.0), (1, 1, 0.0)])
def test_bad_numbers(days: float, horizon: float, confidence: float) -> None:
    with pytest.raises(DataError, match="expected"):
        sequence_width(days, horizon, confidence)
