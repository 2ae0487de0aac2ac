"""The outcomes of the last nights on the monitor's page: a chart of lines, and tables with intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.wording import limit_interval, write_figure

# Of the chart on a wide and on a narrow screen: its text is as large as that of the page on both.
_WIDE, _NARROW = 960.0, 330.0
_HEIGHT = 240.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 84.0, 12.0, 28.0
# Labels at the ends of lines are at least so far apart.
_APART = 15.0
_TICKS = 4
_LINES = (("ours", "sample"), ("blend", "blend"), ("popularity", "popularity"))


@dataclass(frozen=True)
class Estimate:
    """A row of a table: what it is about, its value and its interval as text, and a bar with whiskers."""

    label: str
    value: str
    interval: str
    bar: Markup


@dataclass(frozen=True)
class OutcomePanel:
    """What the page shows of outcomes.

    Attributes:
        headline: of tonight.
        chart: the weeks of ours and of the baselines.
        narrow_chart: the same for narrow screens.
        tables: caption -> rows.
    """

    headline: str
    chart: Markup
    narrow_chart: Markup
    tables: dict[str, list[Estimate]]


def make_panel(nights: Sequence[Night]) -> OutcomePanel | None:
    """Return the panel of the last of some nights; None if no night has outcomes."""
    if not any("outcomes.hit_rate" in night.figures for night in nights):
        return None
    night = nights[-1]
    wide, narrow = draw_weeks(nights, _WIDE, "wide"), draw_weeks(nights, _NARROW, "narrow")
    return OutcomePanel(_write_headline(night), wide, narrow, _list_tables(night))


def _write_headline(night: Night) -> str:
    figures = night.figures
    if "outcomes.hit_rate" not in figures:
        return "No complete outcomes tonight: no lists were replaced in the last day, or nobody chose anything."
    low, high = limit_interval("outcomes.hit_rate", night.intervals["outcomes.hit_rate"][""])
    first = figures.get("outcomes.first_rank")
    where = "" if first is None else f"; the first of them at rank {first:.1f} on average"
    return (
        f"{figures['outcomes.users']:,.0f} users chose something while the last lists were shown, "
        f"{_percent(figures['outcomes.hit_rate'])} ({_percent(low)} to {_percent(high)}) of them an item of their list"
        f"{where}."
    )


def _list_tables(night: Night) -> dict[str, list[Estimate]]:
    figures, tables = night.figures, {}
    on_same = [
        (label, f"outcomes.week.{name}_ndcg") for label, name in _LINES if f"outcomes.week.{name}_ndcg" in figures
    ]
    tables["nDCG over the last week, same users"] = [(label, name, "") for label, name in on_same]
    tables["Ours less the baseline (nDCG, week)"] = [
        (label, f"outcomes.week.over_{label}", "")
        for label, _ in _LINES[1:]
        if f"outcomes.week.over_{label}" in figures
    ]
    parts = night.segments.get("outcomes.hit_rate", {})
    tables["Hit rate by variant and users' history"] = [(part, "outcomes.hit_rate", part) for part in parts]
    ages = sorted((int(name.rpartition(".")[2]), name) for name in figures if name.startswith("outcomes.week.by_age."))
    tables["Hit rate by age of the lists (week)"] = [
        ("the lists shown" if age == 0 else f"{age} day{'s' if age > 1 else ''} older", name, "") for age, name in ages
    ]
    return {caption: _list_rows(night, rows) for caption, rows in tables.items() if rows}


def _list_rows(night: Night, rows: Sequence[tuple[str, str, str]]) -> list[Estimate]:
    """Return estimates on a common scale, from label, figure and segment."""
    found = []
    for label, name, segment in rows:
        value = night.segments[name][segment] if segment else night.figures[name]
        low, high = limit_interval(name, night.intervals.get(name, {}).get(segment, (value, value)))
        found.append((label, name, value, low, high))
    bottom, top = min(0.0, *(row[3] for row in found)), max(0.0, *(row[4] for row in found))
    return [
        Estimate(
            label,
            write_figure(name, value),
            f"{write_figure(name, low)} to {write_figure(name, high)}",
            _draw_bar(value, low, high, bottom, top or 1.0),
        )
        for label, name, value, low, high in found
    ]


def _percent(value: float) -> str:
    return write_figure("outcomes.hit_rate", value)


def _draw_bar(value: float, low: float, high: float, bottom: float, top: float) -> Markup:
    """Return a point with its interval; the line at 0 is drawn where it is inside."""

    def x(number: float) -> float:
        return round(4 + 112 * (number - bottom) / ((top - bottom) or 1.0), 1)

    return Markup(
        '<svg class="estimate" viewBox="0 0 120 16" aria-hidden="true">'
        f'<line class="zero" x1="{x(0)}" x2="{x(0)}" y1="1" y2="15"/>'
        f'<line class="interval" x1="{x(low)}" x2="{x(high)}" y1="8" y2="8"/>'
        f'<circle class="good" cx="{x(value)}" cy="8" r="3.5"/></svg>'
    )


def draw_weeks(nights: Sequence[Night], width: float, screen: str) -> Markup:
    """Return an SVG of the nDCG over a week of our lists, of the blend and of popularity, with the interval of ours.

    A vertical line marks the first night of another model version.

    Args:
        nights: oldest first.
        width: of the drawing, in pixels.
        screen: class of the drawing, for the style of the page.
    """
    series = {label: [night.figures.get(f"outcomes.week.{name}_ndcg") for night in nights] for label, name in _LINES}
    ours = [night.intervals.get("outcomes.week.sample_ndcg", {}).get("") for night in nights]
    known = [value for values in series.values() for value in values if value is not None]
    if not known:
        return Markup("")
    top = _round_up(max(known + [ends[1] for ends in ours if ends]))

    def x(index: int) -> float:
        return round(_LEFT + index * (width - _LEFT - _RIGHT) / max(1, len(nights) - 1), 1)

    def y(value: float) -> float:
        return round(_HEIGHT - _BOTTOM - max(0.0, min(value, top)) / top * (_HEIGHT - _TOP - _BOTTOM), 1)

    parts = [
        f'<line class="grid" x1="{_LEFT:g}" x2="{width - _RIGHT:g}" y1="{y(tick)}" y2="{y(tick)}"/>'
        f'<text x="{_LEFT - 8:g}" y="{y(tick) + 4:g}" text-anchor="end">{tick:.3g}</text>'
        for tick in (top * step / _TICKS for step in range(_TICKS + 1))
    ]
    for index, (before, night) in enumerate(pairwise(nights), start=1):
        if before.model_version and night.model_version != before.model_version:
            parts.append(
                f'<line class="version" x1="{x(index)}" x2="{x(index)}" y1="{_TOP:g}" y2="{_HEIGHT - _BOTTOM:g}"/>'
                f'<text x="{x(index) + 4}" y="{_TOP + 10:g}">version {escape(night.model_version)}</text>'
            )
    ends = [(x(index), y(pair[1]), y(pair[0])) for index, pair in enumerate(ours) if pair]
    outline = [f"{at},{upper}" for at, upper, _ in ends] + [f"{at},{lower}" for at, _, lower in reversed(ends)]
    parts.append(f'<polygon class="uncertain" points="{" ".join(outline)}"/>')
    for label, values in series.items():
        points = [f"{x(index)},{y(value)}" for index, value in enumerate(values) if value is not None]
        parts.append(f'<polyline class="line {label}" points="{" ".join(points)}"/>')
    parts += _draw_alerts(nights, x)
    parts += _label_ends(series, y, width)
    parts.append(
        f'<text x="{_LEFT:g}" y="{_HEIGHT - 6:g}">{escape(nights[0].run_date)}</text>'
        f'<text x="{width - _RIGHT:g}" y="{_HEIGHT - 6:g}" text-anchor="end">{escape(nights[-1].run_date)}</text>'
    )
    return Markup(
        f'<svg class="weeks {screen}" viewBox="0 0 {width:g} {_HEIGHT:g}" role="img" aria-label="nDCG over a week of '
        f'our lists, of the blend and of popularity, last nights">{"".join(parts)}</svg>'
    )


def _draw_alerts(nights: Sequence[Night], x: Callable[[int], float]) -> list[str]:
    """Return a mark at the foot of each night that had an alert."""
    return [
        f'<rect class="alerted" x="{x(index) - 2}" y="{_HEIGHT - _BOTTOM:g}" width="4" height="4">'
        f"<title>{escape(night.run_date)}: {escape(', '.join(str(part['cause']) for part in night.alerts))}</title>"
        "</rect>"
        for index, night in enumerate(nights)
        if night.alerts
    ]


def _label_ends(series: dict[str, list[float | None]], y: Callable[[float], float], width: float) -> list[str]:
    """Return the names of the lines at their right ends, moved apart where they would overlap."""
    last = [(y(values[-1]), label) for label, values in series.items() if values[-1] is not None]
    labels, above = [], -math.inf
    for at, label in sorted(last):
        above = max(at, above + _APART)
        labels.append(f'<text class="{label}" x="{width - _RIGHT + 8:g}" y="{above + 4:.1f}">{label}</text>')
    return labels


def _round_up(value: float) -> float:
    """Return the next of 1, 2, 2.5, 5 times a power of ten."""
    if value <= 0:
        return 1.0
    power = 10.0 ** math.floor(math.log10(value))
    return next(step * power for step in (1.0, 2.0, 2.5, 5.0, 10.0) if step * power >= value - 1e-12)
