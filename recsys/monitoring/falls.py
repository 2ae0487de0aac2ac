"""How much of what lists got above chance is lost: ours and, on the same users and events, the baselines'.

Shares of what lists get above chance can be compared: where everybody chooses at random, all lists lose everything,
however good they were. On the scale of the figures themselves, the best lists always fall farthest.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from recsys.monitoring.figures import Figures
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.reference import Reference, find_error

# Causes whose nights belong to a fall.
OUTCOME_CAUSES = ("world_changed", "lists_worse", "outcomes_low")
LISTS = ("sample", "blend", "popularity")
# Nights that are averaged, before the fall and in it.
_WEEK = 7
# A baseline lost its part together with ours if it lost at least this share of what ours lost.
_TOGETHER = 0.5
# Standard errors between that share and what the baseline lost, so that the answer is right in 9 of 10 cases.
_CERTAIN = 1.28
# Standard errors by which lists were better than chance; of others nothing can be lost.
_ABOVE_CHANCE = 2.0


@dataclass(frozen=True)
class Loss:
    """What lists lost of their nDCG above chance.

    Attributes:
        share: 0: nothing; 1: they are no better than chance now; below 0: they gained.
        error: its standard error.
    """

    share: float
    error: float

    def follows(self, ours: Loss) -> bool | None:
        """Return whether these lists fell together with ours; None if the nights are too few to say."""
        if ours.share <= 0:
            return None
        distance = self.share - _TOGETHER * ours.share
        error = math.hypot(self.error, _TOGETHER * ours.error)
        return distance > 0 if abs(distance) > _CERTAIN * error else None


def measure_losses(figures: Figures, reference: Reference, earlier: Sequence[Night]) -> dict[str, Loss]:
    """Return what our lists (`sample`), the blend and popularity lost; without those that cannot be measured.

    Before the fall are the last seven good nights, in it are tonight and the nights before it whose alerts were about
    outcomes, at most seven in all.

    Args:
        figures: of tonight.
        reference: the good nights.
        earlier: all nights before tonight, oldest first.
    """
    tonight = (figures.values, figures.intervals)
    now = [tonight, *((night.figures, night.intervals) for night in _find_fall(earlier))]
    before = [
        (night.figures, night.intervals) for night in reference.nights if "outcomes.sample_users" in night.figures
    ]
    losses = {}
    for name in LISTS:
        level, level_error = _measure_above_chance(name, before[-_WEEK:])
        left, error = _measure_above_chance(name, now)
        if not math.isnan(left) and level > _ABOVE_CHANCE * level_error:
            kept = left / level
            losses[name] = Loss(1.0 - kept, math.hypot(error, kept * level_error) / level)
    return losses


def _find_fall(earlier: Sequence[Night]) -> list[Night]:
    """Return the unbroken series of nights with an alert about outcomes up to last night, newest first."""
    nights = []
    for night in reversed(earlier[-(_WEEK - 1) :]):
        if all(alert.get("cause") not in OUTCOME_CAUSES for alert in night.alerts):
            break
        nights.append(night)
    return nights


def _measure_above_chance(
    name: str, nights: Sequence[tuple[Mapping[str, float], Mapping[str, Mapping[str, Sequence[float]]]]]
) -> tuple[float, float]:
    """Return the mean nDCG above that of random lists over all users of some nights, and its standard error."""
    figure = f"outcomes.{name}_ndcg"
    parts = [
        (
            values["outcomes.sample_users"],
            values[figure] - values["outcomes.random_ndcg"],
            find_error(intervals, figure),
        )
        for values, intervals in nights
        if all(needed in values for needed in ("outcomes.sample_users", "outcomes.random_ndcg", figure))
    ]
    users = sum(part[0] for part in parts)
    if not users:
        return math.nan, math.nan
    mean = sum(weight * value for weight, value, _ in parts) / users
    return mean, math.sqrt(sum((weight * error) ** 2 for weight, _, error in parts)) / users
