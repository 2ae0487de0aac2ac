"""The reference: the last good nights, and which values of each figure they make normal."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median

import numpy as np
from numpy.typing import NDArray

from recsys.config.monitoring import MonitoringConfig
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.watches import Watch, find_watch

# Nights whose median is the level of a figure: one of each weekday.
_WEEK = 7
# From two weeks on, each weekday has its own level.
_SEASONS = 14
# A rule that no row broke, or a language that no title has, leaves no figure.
_ZERO_IF_MISSING = ("data.rejected.", "data.language.", "arrival.events.", "data.events.")
# A size of 0 counts as this, so that it has a logarithm.
_SMALLEST = 1e-6
# Half of a 95 % interval, in standard errors.
STANDARD_ERRORS = 1.96
# Median absolute deviation -> standard deviation of a normal distribution.
_MAD = 1.4826

Numbers = NDArray[np.float64]


@dataclass(frozen=True)
class Expected:
    """What is normal for a figure.

    Attributes:
        value: expected value; None where only fixed limits are known.
        low: smallest normal value; None: no lower limit.
        high: largest normal value.
        nights: number of reference nights behind it; 0 for fixed and configured limits.
    """

    value: float | None
    low: float | None
    high: float | None
    nights: int

    def contains(self, value: float) -> bool:
        """Return whether a value is normal."""
        return (self.low is None or value >= self.low) and (self.high is None or value <= self.high)


@dataclass(frozen=True)
class Reference:
    """The last good nights before a run date, oldest first.

    Attributes:
        nights: at most `monitoring.reference_nights`.
        run_date: of the night that is judged.
        config: tolerance and limits.
        version: model version of the night that is judged; None: nights of all versions make every figure normal.
    """

    nights: tuple[Night, ...]
    run_date: str
    config: MonitoringConfig
    version: str | None = None

    def expect(self, name: str, noise: float = 0.0) -> Expected | None:
        """Return what is normal for a figure tonight; None if nothing is known, or the figure is only recorded.

        Args:
            name: of the figure.
            noise: standard error of tonight's value, from its interval; 0: it is not a sample.
        """
        if name in self.config.limits:
            limit = self.config.limits[name]
            return Expected(self.find_level(name), limit.low, limit.high, 0)
        watch = find_watch(name)
        if watch is None:
            return None
        same = self.version if watch.by_version else None
        nights = [night for night in self.nights if same is None or night.model_version == same]
        values = [(night.weekday, value) for night in nights if (value := _read(night, name)) is not None]
        if len(values) < self.config.min_reference_nights:
            fixed = Expected(self.find_level(name), watch.low, watch.high, 0)
            return fixed if (watch.low, watch.high) != (None, None) else None
        usual = [find_error(night.intervals, name) for night in nights[-_WEEK:] if name in night.figures]
        noise = max(noise, median(usual) if usual else 0.0)
        return learn(values, date.fromisoformat(self.run_date).weekday(), watch, self.config.tolerance, noise)

    def find_level(self, name: str, segment: str | None = None) -> float | None:
        """Return the median of a figure, or of one of its segments, over the last week of the reference."""
        values = [
            night.figures.get(name) if segment is None else night.segments.get(name, {}).get(segment)
            for night in self.nights[-_WEEK:]
        ]
        given = [value for value in values if value is not None]
        return median(given) if given else None

    def find_usual(self, prefix: str) -> list[str]:
        """Return the figures that start so and that the last good night has, sorted."""
        return sorted(name for name in (self.nights[-1].figures if self.nights else ()) if name.startswith(prefix))


def select_reference(nights: Sequence[Night], run_date: str, config: MonitoringConfig) -> Reference:
    """Choose the reference of a run date: the last good nights before it.

    A night with an alert is not good, so bad nights never make each other normal. A night that somebody accepted is
    good, and earlier nights no longer count.
    """
    earlier = [night for night in nights if night.run_date < run_date and night.good]
    accepted = [index for index, night in enumerate(earlier) if night.accepted]
    since = accepted[-1] if accepted else 0
    return Reference(tuple(earlier[since:][-config.reference_nights :]), run_date, config)


def _read(night: Night, name: str) -> float | None:
    """Return a night's figure; 0 for one of those that are left out where they are 0."""
    if name in night.figures:
        return night.figures[name]
    prefix = next((prefix for prefix in _ZERO_IF_MISSING if name.startswith(prefix)), None)
    return 0.0 if prefix and any(other.startswith(prefix) for other in night.figures) else None


def find_error(intervals: Mapping[str, Mapping[str, Sequence[float]]], name: str) -> float:
    """Return the standard error of a figure by its 95 % interval; 0 without one."""
    ends = intervals.get(name, {}).get("")
    return 0.0 if not ends else (ends[1] - ends[0]) / (2 * STANDARD_ERRORS)


def read_mean(
    figure: str, counted_by: str, values: Mapping[str, float], intervals: Mapping[str, Mapping[str, Sequence[float]]]
) -> tuple[float, float, float] | None:
    """Return users, value and standard error of a night's figure; None where it has none."""
    if figure not in values or counted_by not in values or "" not in intervals.get(figure, {}):
        return None
    return values[counted_by], values[figure], find_error(intervals, figure)


def pool_means(parts: Sequence[tuple[float, float, float]]) -> tuple[float, float] | None:
    """Return the mean over the users of several nights and its standard error, as if no user came twice.

    Args:
        parts: users, mean and standard error of each night.

    Returns:
        None without users.
    """
    total = sum(users for users, _, _ in parts)
    if not total:
        return None
    mean = sum(users * value for users, value, _ in parts) / total
    return mean, math.sqrt(sum((users * error) ** 2 for users, _, error in parts)) / total


def learn(
    nights: Sequence[tuple[int, float]], weekday: int, watch: Watch, tolerance: float, noise: float = 0.0
) -> Expected:
    """Learn the normal range of a figure from the weekdays and values of good nights.

    The level is the median of the last week. A seasonal figure has an effect for each weekday, the median distance of
    its nights from the week around them, once there are two weeks. The range reaches `tolerance` robust standard
    deviations (median absolute deviation) to both sides, at least `watch.least` and, for counts, at least as many
    standard deviations of a Poisson count; for the mean of a sample, as many standard errors (`noise`). It includes
    every value that a good night had (for seasonal figures, on this weekday).
    """
    into, back = _SCALES[watch.scale]
    values = into(np.array([value for _, value in nights], dtype=np.float64))
    weekdays = np.array([day for day, _ in nights])
    seasonal = watch.seasonal and len(values) >= _SEASONS
    effects = _learn_effects(values, weekdays) if seasonal else np.zeros(_WEEK)
    level = values - effects[weekdays]
    center = float(np.median(level[-_WEEK:])) + effects[weekday]
    spread = _MAD * float(np.median(np.abs(level - _average_locally(level))))
    level_now = float(back(np.array(center)))
    half = max(tolerance * max(spread, noise), watch.least * (level_now if watch.scale == "rate" else 1.0))
    if watch.scale == "count":
        half = max(half, tolerance / math.sqrt(float(back(np.array(center))) + 1.0))
    had = values[weekdays == weekday] if seasonal and (weekdays == weekday).any() else values
    low, high = min(center - half, float(had.min())), max(center + half, float(had.max()))
    return Expected(
        value=level_now,
        low=None if watch.directions == "high" else _floor(float(back(np.array(low))), watch),
        high=None if watch.directions == "low" else float(back(np.array(high))),
        nights=len(nights),
    )


def measure_distance(name: str, value: float, expected: Expected) -> float:
    """Return how far a value is outside its range, in half widths of the range: 1 at its end, more beyond it."""
    watch = find_watch(name)
    into = _SCALES[watch.scale if watch else "number"][0]
    end = expected.low if expected.low is not None and value < expected.low else expected.high
    if end is None:
        return 0.0
    middle = expected.value if expected.value is not None else end
    x, limit, center = (float(into(np.array(_floor(part, watch)))) for part in (value, end, middle))
    return 1.0 + abs(x - limit) / max(abs(limit - center), 1e-3)


def _floor(value: float, watch: Watch | None) -> float:
    """Return a value that the scale allows: only numbers, such as differences, may be below 0."""
    return value if watch is None or watch.scale == "number" else max(0.0, value)


def _learn_effects(values: Numbers, weekdays: NDArray[np.int64]) -> Numbers:
    distances = values - _average_locally(values)
    return np.array([np.median(distances[weekdays == day]) if (weekdays == day).any() else 0.0 for day in range(_WEEK)])


def _average_locally(values: Numbers) -> Numbers:
    """Return the mean of the seven values around each value, fewer at the ends.

    With nights of all weekdays, each of them has the same weight.
    """
    half = _WEEK // 2
    return np.array([values[max(0, index - half) : index + half + 1].mean() for index in range(len(values))])


_SCALES: dict[str, tuple[Callable[[Numbers], Numbers], Callable[[Numbers], Numbers]]] = {
    "count": (np.log1p, lambda x: np.maximum(np.expm1(x), 0.0)),
    "size": (lambda x: np.log(np.maximum(x, _SMALLEST)), np.exp),
    "rate": (lambda x: x, lambda x: x),
    "share": (lambda x: x, lambda x: x),
    "number": (lambda x: x, lambda x: x),
}
