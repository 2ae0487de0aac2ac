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
from recsys.monitoring.reference import Reference, pool_means, read_mean

# Causes whose nights belong to a fall.
_OUTCOME_CAUSES = ("world_changed", "lists_worse", "outcomes_low")
_LISTS = ("sample", "blend", "popularity")
_CHANCE = "outcomes.random_ndcg"
# Nights that are averaged, before the fall and in it.
_WEEK = 7
# A baseline lost its part together with ours if it lost at least this share of what ours lost.
_TOGETHER = 0.5
# Standard errors between that share and what the baseline lost, so that the answer is right in 9 of 10 cases.
_CERTAIN = 1.28
# Lists that were not this many standard errors better than chance have nothing to lose.
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

    The last seven good nights give the level before the fall. The fall is tonight and the unbroken series of nights
    before it with an alert about outcomes, at most seven in all.

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
    for name in _LISTS:
        normal, fallen = _measure_above_chance(name, before[-_WEEK:]), _measure_above_chance(name, now)
        if normal is None or fallen is None:
            continue
        (level, level_error), (left, error) = normal, fallen
        if level > _ABOVE_CHANCE * level_error:
            kept = left / level
            losses[name] = Loss(1.0 - kept, math.hypot(error, kept * level_error) / level)
    return losses


def _find_fall(earlier: Sequence[Night]) -> list[Night]:
    """Return the unbroken series of nights with an alert about outcomes up to last night, newest first."""
    nights = []
    for night in reversed(earlier[-(_WEEK - 1) :]):
        if all(alert.get("cause") not in _OUTCOME_CAUSES for alert in night.alerts):
            break
        nights.append(night)
    return nights


def _measure_above_chance(
    name: str, nights: Sequence[tuple[Mapping[str, float], Mapping[str, Mapping[str, Sequence[float]]]]]
) -> tuple[float, float] | None:
    """Return the mean nDCG above that of random lists over all users of some nights, and its standard error."""
    parts = []
    for values, intervals in nights:
        part = read_mean(f"outcomes.{name}_ndcg", "outcomes.sample_users", values, intervals)
        if part is not None and _CHANCE in values:
            users, mean, error = part
            parts.append((users, mean - values[_CHANCE], error))
    return pool_means(parts)
