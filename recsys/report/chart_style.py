"""What all charts share: colours, axes and how a Vega-Lite specification is put together.

A specification is plain data, as Vega-Lite documents it: a library that builds and checks such data would take most of
a page's time, and tests draw every chart in a browser instead. Colours are the CSS variables of `visuals.palette`, so
the page's light, dark and print themes apply to the marks.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import polars as pl
from polars import selectors as cs

Spec = dict[str, Any]

ACCENT, MUTED, FAINT, SURFACE, WORSE, INK = (
    f"var(--{name})" for name in ("accent", "muted", "faint", "surface", "worse", "ink")
)
# Few grid lines and labels; a label without room is dropped.
AXIS: Spec = {"grid": True, "tickCount": 5, "labelOverlap": "greedy"}
SIGNED_AXIS: Spec = {**AXIS, "format": "+", "labelExpr": "datum.value == 0 ? '0' : datum.label"}

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


def quantity(field: str, **settings: Any) -> Spec:
    """Return the encoding of a column of numbers."""
    return {"field": field, "type": "quantitative", **settings}


def category(field: str, **settings: Any) -> Spec:
    """Return the encoding of a column of names."""
    return {"field": field, "type": "nominal", **settings}


def quantities(*fields: str, pattern: str) -> list[Spec]:
    """Return columns of numbers as lines of a tooltip, written after a pattern of d3-format."""
    return [quantity(field, format=pattern) for field in fields]


def colours(field: str, palette: Mapping[str, str]) -> Spec:
    """Return a colour for each name of a column; the page has the key."""
    scale = {"domain": list(palette), "range": list(palette.values())}
    return category(field, legend=None, scale=scale)


def mark(kind: str, style: Spec, **encoding: Any) -> Spec:
    """Return one layer of a chart: a kind of mark, its style, and what its position and colour encode."""
    return {"mark": {"type": kind, **style}, "encoding": encoding}


def put_inline(frame: pl.DataFrame) -> Spec:
    """Put rows inside the specification; NaN becomes null, because JSON has no NaN."""
    return {"values": frame.with_columns(cs.float().fill_nan(None).round(6)).to_dicts()}


def layer(rows: pl.DataFrame, *marks: Spec) -> Spec:
    """Put marks of the same rows on top of each other, the last one in front."""
    return {"data": put_inline(rows), "layer": list(marks)}


def when(field: str, value: str, then: str | int, otherwise: str | int) -> Spec:
    """Return a value for the rows with a name, and another for all others; the names are known, not data."""
    return {"value": otherwise, "condition": {"test": f"datum.{field} === '{value}'", "value": then}}


def choose(chart: Spec, **chosen: str | int) -> Spec:
    """Show only rows with the chosen values; the page changes the parameters by these names."""
    return {
        **chart,
        "params": [{"name": name, "value": value} for name, value in chosen.items()],
        "transform": [{"filter": f"datum.{name} == {name}"} for name in chosen],
    }


def finish(chart: Spec, description: str, height: int) -> Spec:
    """Return the specification: as wide as its container, with a description for screen readers."""
    size = {"width": "container", "height": height, "autosize": {"type": "fit-x", "contains": "padding"}}
    return {**chart, **size, "description": description}
