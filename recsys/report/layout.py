"""What a page is made of: panels with choices, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass

from recsys.report.charts import Spec
from recsys.report.grids import Grid


@dataclass(frozen=True)
class Choice:
    """One thing to choose in a panel; charts and rows that know its name follow.

    Attributes:
        name: of the charts' parameter.
        label: beside it.
        options: value -> text.
        chosen: the value at first.
        limits: value -> the values of the panel's choice `n` that go with it; empty: all.
    """

    name: str
    label: str
    options: dict[str, str]
    chosen: str
    limits: dict[str, str]


@dataclass(frozen=True)
class Stat:
    """One number that stands alone, as text, with what it is and a few more words."""

    value: str
    label: str
    note: str


@dataclass(frozen=True)
class Figure:
    """One chart with its title, the key of its colours (colour, text) and its numbers."""

    name: str
    title: str
    spec: Spec
    grid: Grid | None = None
    key: tuple[tuple[str, str], ...] = ()
    choices: tuple[Choice, ...] = ()
    wide: bool = True


@dataclass(frozen=True)
class Panel:
    """One question and what answers it, shown from top to bottom.

    Attributes:
        name: of its place on the page.
        title: a few words.
        question: one sentence: what it answers.
        stats: single numbers.
        choices: for all figures and tables of the panel.
        figures: charts.
        grids: tables that are always open.
        notes: sentences at the end.
    """

    name: str
    title: str
    question: str
    stats: tuple[Stat, ...] = ()
    choices: tuple[Choice, ...] = ()
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
