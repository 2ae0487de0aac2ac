"""What all charts share: colours, axes and how a specification is put together.

Colours are the CSS variables of `visuals.palette`, so the page's light, dark and print themes apply to the marks.
"""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any

import polars as pl
from polars import selectors as cs

from recsys.extras import needs_extra

with needs_extra("report", "HTML report"):
    import altair as alt
    from altair.utils.schemapi import debug_mode

Spec = dict[str, Any]

ACCENT, MUTED, FAINT, SURFACE, WORSE, INK = (
    f"var(--{name})" for name in ("accent", "muted", "faint", "surface", "worse", "ink")
)
# Room for the names at the ends of lines.
LABELLED = {"left": 5, "top": 5, "bottom": 5, "right": 104}
# Few grid lines and labels; a label without room is dropped.
AXIS = alt.Axis(grid=True, tickCount=5, labelOverlap="greedy")
SIGNED_AXIS = alt.Axis(
    grid=True, tickCount=5, labelOverlap="greedy", format="+", labelExpr="datum.value == 0 ? '0' : datum.label"
)

# Settings of every chart; the page passes them to each chart that it draws.
CONFIG: Spec = {
    "background": "transparent",
    "font": "system-ui, sans-serif",
    "view": {"stroke": None},
    "axis": {
        "domain": False,
        "ticks": False,
        "gridColor": "var(--rule)",
        "labelColor": "var(--soft-ink)",
        "titleColor": "var(--soft-ink)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "labelLimit": 150,
        "labelPadding": 6,
        "titlePadding": 10,
    },
    "axisY": {"grid": False},
    "axisYQuantitative": {"grid": True},
}


def unchecked() -> AbstractContextManager[None]:
    """Return a context in which altair does not check charts against its schema, which takes most of a page's time.

    Tests draw every chart in a browser instead.
    """
    return debug_mode(False)


def layer(rows: pl.DataFrame, *charts: alt.Chart) -> alt.LayerChart:
    """Put charts of the same rows on top of each other, the last one in front."""
    return alt.LayerChart(data=put_inline(rows), layer=list(charts))


@dataclass(frozen=True)
class _Rows:
    """Rows that altair does not copy each time that it changes a chart, which would take most of a page's time."""

    rows: list[dict[str, Any]]


def put_inline(frame: pl.DataFrame) -> alt.InlineData:
    """Put rows inside the specification; NaN becomes null, because JSON has no NaN."""
    rows: Any = _Rows(frame.with_columns(cs.float().fill_nan(None).round(6)).to_dicts())
    with unchecked():
        return alt.InlineData(values=rows)


def when(field: str, value: str, then: str, otherwise: str) -> alt.ColorValue:
    """Return a colour for the rows with a value, and another for all others."""
    return alt.ColorValue(otherwise, condition=match(field, value, then))


def match(field: str, value: str, then: str | int) -> dict[str, Any]:
    """Return the condition that a mark has something for the rows with a value; values are known names, not data."""
    return {"test": f"datum.{field} === '{value}'", "value": then}


def choose(chart: alt.LayerChart, **chosen: str | int) -> alt.LayerChart:
    """Show only rows with the chosen values; the page changes the parameters by these names."""
    for name, value in chosen.items():
        chart = chart.add_params(alt.param(name=name, value=value)).transform_filter(f"datum.{name} == {name}")
    return chart


def finish(chart: alt.Chart | alt.LayerChart, description: str, height: int) -> Spec:
    """Return the specification: as wide as its container, with a description for screen readers."""
    sized = chart.properties(
        width="container",
        height=height,
        autosize=alt.AutoSizeParams(type="fit-x", contains="padding"),
        description=description,
    )
    content: Spec = _put_rows(sized.to_dict(validate=False))
    # The schema is a URL; the page must not contain anything that looks like a request.
    content.pop("$schema", None)
    content.pop("config", None)
    return content


def _put_rows(part: Any) -> Any:
    """Return a part of a specification with its rows in place."""
    if isinstance(part, _Rows):
        return part.rows
    if isinstance(part, dict):
        return {name: _put_rows(value) for name, value in part.items()}
    return [_put_rows(value) for value in part] if isinstance(part, list) else part
