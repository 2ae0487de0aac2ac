"""How long a test takes: the days after which a wished effect would show, at the pace of the days so far."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

# Looks that show a pace; with fewer, days are taken to be independent.
_ENOUGH_LOOKS = 4
# Longer than three years is no plan.
_MOST_DAYS = 1100.0


def predict_days(days: Sequence[float], lifts: Sequence[float], wished: float) -> float | None:
    """Return after how many days in all the smallest lift that shows is as small as wished.

    The square of the smallest lift is taken to be a + b / days, fitted to the second half of the looks: b is what more
    days average out, a is what they do not, because users differ from one another. Where more users join every day,
    a may be below 0.

    Args:
        days: since the start, at each look, growing.
        lifts: the smallest lift that shows, at each look.
        wished: the lift, above 0.

    Returns:
        The days; None where more days would not help.
    """
    if lifts[-1] <= wished:
        return next(day for day, lift in zip(days, lifts, strict=True) if lift <= wished)
    constant, falling = 0.0, days[-1] * lifts[-1] ** 2
    if len(lifts) >= _ENOUGH_LOOKS:
        half = len(lifts) // 2
        falling, constant = map(float, np.polyfit(1.0 / np.array(days[half:]), np.square(lifts[half:]), 1))
    left = wished * wished - constant
    if left <= 0 or falling <= 0 or falling / left > _MOST_DAYS:
        return None
    return max(days[-1], falling / left)
