"""What a likely cause is, and what it is recognized by."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from recsys.monitoring.falls import Loss
from recsys.monitoring.reference import Expected

# Below this share, next to nothing is left.
_ALMOST_NOTHING = 0.2
# So many expected events of a kind do not all fail to come by chance.
_MANY = 30


@dataclass(frozen=True)
class Movement:
    """A figure outside its normal range.

    Attributes:
        figure: its name.
        value: tonight.
        expected: what is normal.
        direction: `low` or `high`.
        distance: how far outside, in half widths of the range; 1 at its end.
    """

    figure: str
    value: float
    expected: Expected
    direction: str
    distance: float


@dataclass(frozen=True)
class Picture:
    """All that a cause is recognized by.

    Attributes:
        moved: figure -> movement, of the figures that no earlier cause explains.
        figures: all figures of the night.
        kinds: event kinds of the last good night.
        losses: what our lists (`sample`), the blend and popularity lost, from `measure_losses`.
    """

    moved: Mapping[str, Movement]
    figures: Mapping[str, float]
    kinds: tuple[str, ...]
    losses: Mapping[str, Loss] = field(default_factory=dict)

    def low(self, pattern: str) -> bool:
        """Return whether a figure that fits the pattern is too low."""
        return self._any(pattern, "low")

    def high(self, pattern: str) -> bool:
        """Return whether a figure that fits the pattern is too high."""
        return self._any(pattern, "high")

    def get(self, name: str, default: float) -> float:
        """Return a figure's value, or the default without it."""
        return self.figures.get(name, default)

    def find_gone(self) -> tuple[str, ...]:
        """Return the event kinds that vanished from the history or, unexpectedly, from the last day."""
        return tuple(kind for kind in self.kinds if self._has_left_the_history(kind) or self._has_stopped(kind))

    def _has_left_the_history(self, kind: str) -> bool:
        kept = self.moved.get(f"data.history_kept.{kind}")
        return kept is not None and kept.value < _ALMOST_NOTHING

    def _has_stopped(self, kind: str) -> bool:
        """Return whether a kind is missing on the last day, and not by chance because all events are few."""
        day = self.moved.get(f"arrival.events.{kind}")
        if day is None or day.value > 0:
            return False
        return "arrival.events" not in self.moved or (day.expected.value or 0.0) >= _MANY

    def _any(self, pattern: str, direction: str) -> bool:
        return any(
            fnmatchcase(name, pattern) and movement.direction == direction for name, movement in self.moved.items()
        )


@dataclass(frozen=True)
class Cause:
    """A likely cause of movements.

    Attributes:
        name: short and stable, for scripts.
        sentence: what probably happened; {kinds} are the event kinds that are gone.
        advice: what to do.
        holds: whether the movements of a night look like this.
        evidence: patterns of the figures that show it best, most telling first.
        explains: patterns of the figures that move with it; they need no other cause.
        retrain: whether a new training is an answer to it.
        detail: a further sentence about this night; "" without one.
    """

    name: str
    sentence: str
    advice: str
    holds: Callable[[Picture], bool]
    evidence: tuple[str, ...]
    explains: tuple[str, ...] = ()
    retrain: bool = False
    detail: Callable[[Picture], str] | None = None

    def covers(self, figure: str) -> bool:
        """Return whether the cause explains that a figure moved."""
        return any(fnmatchcase(figure, pattern) for pattern in (*self.evidence, *self.explains))


# Figures that follow from others, by what moves them.
OUTPUT = ("model.*", "lists.churn", "lists.coverage", "lists.gini", "lists.cold_share", "lists.top_item_share")
VOLUME = (
    "arrival.events*",
    "arrival.hour_share*",
    "data.active_users",
    "data.new_users",
    "data.events_per_user",
    "outcomes.users",
)
# What a day's events show, and what users did with the lists that day.
DAY = ("abuse.*", "outcomes.*")
SIZES = ("data.events*", "data.users", "data.median_history")
DOWNSTREAM = (*SIZES, *VOLUME, "arrival.*", *DAY, "lists.*", "model.*")
