"""Charts of the candidate ledger: outcomes of the positives, recall by depth, overlap of the sources."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.evaluation.candidate_ledger import LISTED, UNION
from recsys.report.chart_style import (
    ACCENT,
    INK,
    SURFACE,
    Spec,
    category,
    choose,
    colours,
    finish,
    layer,
    mark,
    put_inline,
    quantity,
    when,
)
from recsys.visuals.curves import space_labels

_DEPTHS_HEIGHT, _LABEL_HEIGHT = 300, 14
# The page is as narrow as a phone.
_NARROW = "width < 260"


def draw_outcomes(outcomes: pl.DataFrame, palette: Mapping[str, str]) -> Spec:
    """Draw the outcomes of the positives as one stacked bar.

    Args:
        outcomes: `outcome`, `positives`, `share`, in pipeline order.
        palette: outcome -> colour.
    """
    ends = outcomes.with_columns(pl.col("share").cum_sum().alias("end")).with_columns(
        (pl.col("end") - pl.col("share")).alias("start")
    )
    parts = ends.with_columns(((pl.col("start") + pl.col("end")) / 2).alias("middle"))
    tooltip = [category("outcome"), quantity("positives", format=","), quantity("share", format=".1%")]
    axis = {"format": "%", "grid": False, "tickCount": 5}
    bars = mark(
        "bar",
        {"stroke": SURFACE, "strokeWidth": 2, "cornerRadius": 3},
        x=quantity("start", title=None, axis=axis, scale={"domain": [0, 1]}),
        x2={"field": "end"},
        color=colours("outcome", palette),
        tooltip=tooltip,
    )
    # A segment too narrow for its number has it in the key only.
    numbers = mark(
        "text",
        {"fontSize": 12, "fontWeight": "bold"},
        x=quantity("middle"),
        text=quantity("share", format=".0%"),
        color=when("outcome", LISTED, "var(--on-accent)", "var(--on-outcome)"),
        tooltip=tooltip,
    ) | {"transform": [{"filter": "datum.share >= 0.08"}]}
    return finish(layer(parts, bars, numbers), "What became of the test positives, as one stacked bar", 46)


def draw_depths(depths: pl.DataFrame, palette: Mapping[str, str]) -> Spec:
    """Draw recall over depth, one line per source, named at its end.

    Args:
        depths: `LedgerDepths`.
        palette: source -> colour.
    """
    top = max(float(depths["recall"].to_numpy().max(initial=0.0)), 1e-9)
    axis = {"grid": False, "values": depths["depth"].unique().sort().to_list(), "labelOverlap": "greedy"}
    x = quantity("depth", title="items proposed per user", axis=axis, scale={"type": "log", "nice": False})
    y_scale = {"domain": [0, 1.05 * top], "nice": False}
    lines = mark(
        "line",
        {"point": {"size": 22}, "clip": False},
        x=x,
        y=quantity("recall", title="recall", axis={"format": "%", "tickCount": 5}, scale=y_scale),
        color=colours("source", palette),
        strokeWidth=when("source", UNION, 3, 2),
        tooltip=[category("source"), quantity("depth"), quantity("recall", format=".1%")],
    )
    ends = depths.group_by("source", maintain_order=True).agg(pl.col("depth", "recall").last())
    places = space_labels(ends["recall"].to_list(), 1.05 * top * _LABEL_HEIGHT / _DEPTHS_HEIGHT)
    labels = ends.with_columns(
        pl.Series("place", places, dtype=pl.Float64),
        pl.col("source").replace(UNION, "any source").alias("name"),
        pl.lit(depths["depth"].to_numpy().max(initial=1)).alias("depth"),
    ).rename({"source": "series"})
    names = _name_ends(labels, x, quantity("place", scale=y_scale), palette)
    chart = {"layer": [{"data": put_inline(depths), **lines}, names]}
    described = "Recall of each source, by the number of items that it proposes"
    return finish(chart, described, _DEPTHS_HEIGHT)


def _name_ends(labels: pl.DataFrame, x: Spec, y: Spec, palette: Mapping[str, str]) -> Spec:
    """Write the names of lines at their right ends, each after a dot in the colour of its line.

    Args:
        labels: `name`, `series` (the source), `depth` and `place`.
        x: the encoding of the lines.
        y: of the positions of the names, far enough from each other.
        palette: source -> colour.
    """
    style = {"align": "left", "dx": 18, "color": INK, "fontSize": 11, "clip": False, "limit": 110}
    dot = {"filled": True, "size": 36, "opacity": 1, "xOffset": 10, "clip": False}
    dots = mark("point", dot, x=x, y=y, color=colours("series", palette))
    return {"data": put_inline(labels), "layer": [dots, mark("text", style, x=x, y=y, text=category("name"))]}


def draw_overlap(overlap: pl.DataFrame) -> Spec:
    """Draw a heat map: the share of the row source's items (or positives) that the column source also proposes.

    Args:
        overlap: `LedgerOverlap`.
    """
    pairs = overlap.unpivot(
        ["found_share", "proposed_share"], index=["source", "other"], variable_name="share", value_name="value"
    )
    names = pairs["source"].unique(maintain_order=True).to_list()
    axis: Spec = {"orient": "top", "grid": False}
    axis |= {"labelAngle": {"expr": f"{_NARROW} ? -90 : -40"}, "minExtent": {"expr": f"{_NARROW} ? 100 : 0"}}
    axis["labelFontSize"] = {"expr": f"{_NARROW} ? 10 : 12"}
    shown = {
        "x": category("other", title=None, sort=names, axis=axis),
        "y": category("source", title=None, sort=names),
        "tooltip": [category("source"), category("other"), quantity("value", format=".1%")],
    }
    opacity = quantity("value", legend=None, scale={"domain": [0, 1], "range": [0.05, 0.5]})
    style = {"color": ACCENT, "cornerRadius": 3, "stroke": SURFACE, "strokeWidth": 2}
    cells = mark("rect", style, fillOpacity=opacity, **shown)
    size = {"expr": f"{_NARROW} ? 8 : 11"}
    numbers = mark("text", {"fontSize": size, "color": INK}, text=quantity("value", format=".0%"), **shown)
    description = "Overlap of the sources as a heat map: share of the row's items that the column also has"
    chart = finish(choose(layer(pairs, cells, numbers), share="found_share"), description, 34 * len(names))
    # The browser reserves too little for turned names.
    return chart | {"padding": {"left": 5, "top": 20, "bottom": 5, "right": 5}}
