"""Learning curves as they are drawn: a line for each training, never joined, over epochs, trees or steps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise

_UNITS = {
    "interest_loss": "epoch",
    "sequence_loss": "epoch",
    "validation_recall": "epoch",
    "ranker_validation_ndcg": "trees",
}
# Values before the first epoch are measured too.
_FROM_ZERO = frozenset({"validation_recall"})
# Curves of several trainings; where the lengths are unknown, the values are dots without a line.
_SEVERAL = frozenset({"interest_loss", "sequence_loss"})


@dataclass(frozen=True)
class Curve:
    """One learning curve.

    Attributes:
        title: for people.
        unit: of the horizontal axis.
        parts: name of a training -> its points (position, value); each is a line of its own.
        joined: False: it is unknown where one training ends, so the values are not joined.
    """

    title: str
    unit: str
    parts: dict[str, list[tuple[int, float]]]
    joined: bool = True

    @property
    def values(self) -> list[tuple[str, int, float]]:
        """All points as (training, position, value)."""
        return [(name, at, value) for name, points in self.parts.items() for at, value in points]


def split_curve(name: str, values: Sequence[float], parts: Mapping[str, Sequence[int]] | None = None) -> Curve:
    """Return a curve of a run, split where another training begins.

    Positions count on from training to training: a refreshed model continues the one before.

    Args:
        name: of the curve in `Run.curves`.
        values: in order.
        parts: `curve_parts` of a run: name -> number of values of each training; None: unknown.
    """
    first = 0 if name in _FROM_ZERO else 1
    points = list(enumerate(map(float, values), first))
    lengths = (parts or {}).get(name)
    known = lengths is not None and sum(lengths) == len(points)
    ends = [0, *accumulate(lengths)] if known and lengths is not None else [0, len(points)]
    found = [points[start:stop] for start, stop in pairwise(ends) if stop > start]
    names = ["training", *(f"refresh {number}" for number in range(1, len(found)))]
    title = name.replace("_", " ").replace("fine tuning", "fine-tuning").replace("ndcg", "nDCG")
    return Curve(
        title[:1].upper() + title[1:],
        _UNITS.get(name, "step"),
        dict(zip(names, found, strict=False)),
        joined=known or name not in _SEVERAL,
    )


def space_labels(values: Sequence[float], least: float) -> list[float]:
    """Return positions for labels, at least so far apart, each as close to its value as its neighbours allow.

    Args:
        values: where the lines end, in any order.
        least: smallest distance of two labels, in the unit of the values.
    """
    order = sorted(range(len(values)), key=lambda index: values[index])
    placed = [0.0] * len(values)
    groups: list[list[int]] = []
    for index in order:
        groups.append([index])
        # A group that would overlap the one below joins it; the labels of a group are centred on their lines.
        while len(groups) > 1 and _overlap(groups[-2], groups[-1], values, least):
            groups[-2:] = [groups[-2] + groups[-1]]
    for group in groups:
        start = _start(group, values, least)
        for number, index in enumerate(group):
            placed[index] = start + number * least
    return placed


def _start(group: Sequence[int], values: Sequence[float], least: float) -> float:
    return sum(values[index] for index in group) / len(group) - least * (len(group) - 1) / 2


def _overlap(below: Sequence[int], above: Sequence[int], values: Sequence[float], least: float) -> bool:
    return _start(above, values, least) < _start(below, values, least) + least * len(below)
