"""Alerts: what moved, how far, since when, for which segments, why probably, and what to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from fnmatch import fnmatchcase
from math import log, sqrt
from typing import Any

from recsys.monitoring.cause import Cause, Movement, Picture
from recsys.monitoring.causes import CAUSES, UNKNOWN
from recsys.monitoring.falls import measure_losses
from recsys.monitoring.figures import Figures
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.reference import Expected, Reference, find_error, measure_distance
from recsys.monitoring.watches import describe_figure, find_watch

_SEGMENTS = 3
# Figures that are 0 where they are missing tonight and were there before.
_ZERO_IF_MISSING = ("arrival.events.", "data.events.")


@dataclass(frozen=True)
class SegmentMovement:
    """A segment in which a figure moved; `before` is its level in the reference, None for a new segment."""

    segment: str
    value: float
    before: float | None


@dataclass(frozen=True)
class Alert:
    """One likely cause with the figures that it moved.

    Attributes:
        cause: name of the cause.
        sentence: what probably happened.
        advice: what to do.
        since: the first run date of the unbroken series of nights with this cause.
        figure: the figure that shows it best.
        meaning: what that figure is.
        value: of the figure.
        expected: its expected value; None if unknown.
        low: smallest normal value; None: no limit.
        high: largest normal value; None: no limit.
        segments: the three segments that moved most.
        also: the other figures that moved with it.
        retrain: whether a new training is an answer to the cause.
    """

    cause: str
    sentence: str
    advice: str
    since: str
    figure: str
    meaning: str
    value: float
    expected: float | None
    low: float | None
    high: float | None
    segments: tuple[SegmentMovement, ...]
    also: tuple[str, ...]
    retrain: bool = False

    def to_dict(self) -> dict[str, Any]:
        """Return the alert as JSON types."""
        return {**asdict(self), "segments": [asdict(part) for part in self.segments], "also": list(self.also)}


def judge(figures: Figures, reference: Reference, earlier: Sequence[Night]) -> tuple[dict[str, Expected], list[Alert]]:
    """Compare the figures of a night with its reference.

    Args:
        figures: of tonight; kinds of events that are gone get the figure 0.
        reference: the good nights.
        earlier: all nights before tonight, oldest first, for since when an alert lasts.

    Returns:
        What is normal for each judged figure, and the alerts, most important first.
    """
    for prefix in _ZERO_IF_MISSING:
        for name in reference.find_usual(prefix):
            figures.values.setdefault(name, 0.0)
    known = {name: reference.expect(name, find_error(figures.intervals, name)) for name in sorted(figures.values)}
    expected = {name: normal for name, normal in known.items() if normal is not None}
    moved = {
        name: _move(name, figures.values[name], normal)
        for name, normal in expected.items()
        if not normal.contains(figures.values[name]) and not _is_ignored(name, reference.config.ignore)
    }
    kinds = tuple(name.removeprefix("data.events.") for name in reference.find_usual("data.events."))
    return expected, _explain(moved, kinds, figures, reference, earlier)


def _is_ignored(name: str, patterns: Sequence[str]) -> bool:
    return any(name == pattern or (pattern.endswith("*") and name.startswith(pattern[:-1])) for pattern in patterns)


def _move(name: str, value: float, normal: Expected) -> Movement:
    direction = "low" if normal.low is not None and value < normal.low else "high"
    return Movement(name, value, normal, direction, measure_distance(name, value, normal))


def _explain(
    moved: Mapping[str, Movement],
    kinds: tuple[str, ...],
    figures: Figures,
    reference: Reference,
    nights: Sequence[Night],
) -> list[Alert]:
    """Return an alert per cause; each figure belongs to the first cause that explains it."""
    alerts, left = [], dict(moved)
    losses = measure_losses(figures, reference, nights)
    for cause in (*CAUSES, UNKNOWN):
        picture = Picture(left, figures.values, kinds, losses)
        if not left or not cause.holds(picture):
            continue
        explained = {name: movement for name, movement in left.items() if cause.covers(name)}
        if not explained:
            continue
        alerts.append(_describe(cause, explained, picture, figures, reference, nights))
        left = {name: movement for name, movement in left.items() if name not in explained}
    return alerts


def _describe(
    cause: Cause,
    explained: Mapping[str, Movement],
    picture: Picture,
    figures: Figures,
    reference: Reference,
    nights: Sequence[Night],
) -> Alert:
    shown, gone = _choose_figure(cause, explained), picture.find_gone()
    detail = cause.detail(picture) if cause.detail else ""
    sentence = cause.sentence.format(kinds=" and ".join(", ".join(gone).rsplit(", ", 1)))
    parts = rank_segments(shown.figure, figures.segments.get(shown.figure, {}), reference)
    return Alert(
        cause=cause.name,
        sentence=f"{sentence}; {detail}" if detail else sentence,
        advice=cause.advice,
        since=_find_start(cause.name, reference.run_date, nights),
        figure=shown.figure,
        meaning=describe_figure(shown.figure),
        value=shown.value,
        expected=shown.expected.value,
        low=shown.expected.low,
        high=shown.expected.high,
        segments=tuple(parts),
        also=tuple(sorted(set(explained) - {shown.figure})),
        retrain=cause.retrain,
    )


def _choose_figure(cause: Cause, explained: Mapping[str, Movement]) -> Movement:
    """Return the movement that shows a cause best: of the first pattern of its evidence, the farthest."""
    for pattern in (*cause.evidence, "*"):
        fitting = [movement for name, movement in explained.items() if fnmatchcase(name, pattern)]
        if fitting:
            return max(fitting, key=lambda movement: (movement.distance, movement.figure))
    raise ValueError("no figure moved")


def rank_segments(name: str, values: Mapping[str, float], reference: Reference) -> list[SegmentMovement]:
    """Return the three segments of a figure that moved most from their level in the reference.

    Counts and sizes are compared by the share of the whole change that they make, shares by their difference. Segments
    of the reference that are missing tonight count as 0.
    """
    names = set(values) | {part for night in reference.nights[-1:] for part in night.segments.get(name, {})}
    parts = [
        SegmentMovement(part, values.get(part, 0.0), reference.find_level(name, part))
        for part in sorted(names)
        if part in values or not part.startswith(("user:", "item:"))
    ]
    watch = find_watch(name)
    by_ratio = watch is not None and watch.scale in ("count", "size")

    def measure(part: SegmentMovement) -> float:
        before = part.before or 0.0
        if not by_ratio:
            return abs(part.value - before)
        # The logarithm says how far, the square root of the level how certain that is.
        return abs(log((part.value + 1.0) / (before + 1.0))) * sqrt(max(part.value, before) + 1.0)

    return sorted(parts, key=lambda part: (-measure(part), part.segment))[:_SEGMENTS]


def _find_start(cause: str, run_date: str, nights: Sequence[Night]) -> str:
    """Return the first run date of the unbroken series of nights with a cause, up to tonight."""
    start = run_date
    for night in reversed([night for night in nights if night.run_date < run_date]):
        if all(alert.get("cause") != cause for alert in night.alerts):
            break
        start = night.run_date
    return start
