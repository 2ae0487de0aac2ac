"""How long a test takes: the days after which a wished effect would show, at the pace of the days so far."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

# Looks that show a pace; with fewer, every day is taken to add as much as the first.
_ENOUGH_LOOKS = 4
# The smallest lift cannot shrink faster than with independent days.
_FASTEST = 0.5
# Below it, more days add nothing.
_SLOWEST = 0.02


def predict_days(days: Sequence[float], lifts: Sequence[float], wished: float) -> float | None:
    """Return after how many days in all the smallest lift that shows is as small as wished.

    The smallest lift falls as a power of the days: by the square root where days and users are independent, more slowly
    where a user does the same every day, as more users join too. The power is fitted to the second half of the days.

    Args:
        days: since the start, at each look, growing.
        lifts: the smallest lift that shows, at each look.
        wished: the lift, above 0.

    Returns:
        The days; None where more days would not help.
    """
    if lifts[-1] <= wished:
        reached = next(number for number, lift in enumerate(lifts) if lift <= wished)
        return days[reached]
    power = _FASTEST
    if len(lifts) >= _ENOUGH_LOOKS:
        half = len(lifts) // 2
        slope = float(np.polyfit(np.log(days[half:]), np.log(lifts[half:]), 1)[0])
        power = min(-slope, _FASTEST)
    if power < _SLOWEST:
        return None
    needed = math.log(days[-1]) + math.log(lifts[-1] / wished) / power
    # Beyond three years it is no plan.
    return math.exp(needed) if needed < math.log(1100) else None
