"""The parts of a page: panels with choices, charts and tables."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from recsys.report.chart_style import Spec
from recsys.report.grids import Grid


@dataclass(frozen=True)
class Choice:
    """A drop-down of a panel; charts and rows that have its name follow it.

    Attributes:
        name: name of the charts' parameter.
        label: text next to the drop-down.
        options: value -> text.
        chosen: initial value.
        limits: value -> the values of the panel's choice `n` that are allowed with it; missing: all.
    """

    name: str
    label: str
    options: dict[str, str]
    chosen: str
    limits: dict[str, str]


@dataclass(frozen=True)
class Stat:
    """One highlighted number, as text, with its label and a short note."""

    value: str
    label: str
    note: str


@dataclass(frozen=True)
class Figure:
    """One chart with its title, its colour key (colour, text) and a table of its numbers."""

    name: str
    title: str
    spec: Spec
    grid: Grid | None = None
    key: tuple[tuple[str, str], ...] = ()
    choices: tuple[Choice, ...] = ()
    wide: bool = True


@dataclass(frozen=True)
class Drawing:
    """A drawing that needs no script: safe markup with its title and caption."""

    title: str
    markup: Markup
    caption: str


@dataclass(frozen=True)
class Panel:
    """One question with its answer, shown from top to bottom.

    Attributes:
        name: anchor on the page.
        title: a few words.
        question: the question that the panel answers, one sentence.
        stats: highlighted numbers.
        choices: drop-downs for all figures and tables of the panel.
        drawings: above the charts.
        figures: charts.
        grids: tables that are always open.
        notes: sentences at the end.
        facts: (label, value), below everything.
    """

    name: str
    title: str
    question: str
    stats: tuple[Stat, ...] = ()
    choices: tuple[Choice, ...] = ()
    drawings: tuple[Drawing, ...] = ()
    figures: tuple[Figure, ...] = ()
    grids: tuple[Grid, ...] = ()
    notes: tuple[str, ...] = ()
    facts: tuple[tuple[str, str], ...] = ()
