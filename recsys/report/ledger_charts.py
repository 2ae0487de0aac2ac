"""Charts of the candidate ledger: outcomes of the positives, recall by depth, overlap of the sources."""

from __future__ import annotations

from collections.abc import Mapping

import polars as pl

from recsys.evaluation.candidate_ledger import LISTED, UNION
from recsys.extras import needs_extra
from recsys.report.chart_style import (
    ACCENT,
    INK,
    LABELLED,
    SURFACE,
    Spec,
    choose,
    finish,
    layer,
    match,
    put_inline,
    when,
)
from recsys.visuals.curves import space_labels

with needs_extra("report", "HTML report"):
    import altair as alt

_DEPTHS_HEIGHT, _LABEL_HEIGHT = 300, 14


def draw_outcomes(outcomes: pl.DataFrame, colours: Mapping[str, str]) -> Spec:
    """Draw the outcomes of the positives as one stacked bar.

    Args:
        outcomes: `outcome`, `positives`, `share`, in pipeline order.
        colours: outcome -> colour.
    """
    ends = outcomes.with_columns(pl.col("share").cum_sum().alias("end")).with_columns(
        (pl.col("end") - pl.col("share")).alias("start")
    )
    parts = ends.with_columns(((pl.col("start") + pl.col("end")) / 2).alias("middle"))
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    axis = alt.Axis(format="%", grid=False, tickCount=5)
    tooltip = [alt.Tooltip("outcome:N"), alt.Tooltip("positives:Q", format=","), alt.Tooltip("share:Q", format=".1%")]
    bars = (
        alt.Chart()
        .mark_bar(stroke=SURFACE, strokeWidth=2, cornerRadius=3)
        .encode(
            x=alt.X("start:Q", title=None, axis=axis, scale=alt.Scale(domain=[0, 1])),
            x2=alt.X2("end:Q"),
            color=alt.Color("outcome:N", scale=scale, legend=None),
            tooltip=tooltip,
        )
    )
    # A segment too narrow for its number has it in the key only.
    numbers = (
        alt.Chart()
        .mark_text(fontSize=12, fontWeight="bold")
        .encode(
            x=alt.X("middle:Q"),
            text=alt.Text("share:Q", format=".0%"),
            color=when("outcome", LISTED, "var(--on-accent)", "var(--on-outcome)"),
            tooltip=tooltip,
        )
        .transform_filter("datum.share >= 0.08")
    )
    return finish(layer(parts, bars, numbers), "What became of the test positives, as one stacked bar", 46)


def draw_depths(depths: pl.DataFrame, colours: Mapping[str, str]) -> Spec:
    """Draw recall over depth, one line per source, named at its end.

    Args:
        depths: `LedgerDepths`.
        colours: source -> colour.
    """
    top = max(float(depths["recall"].to_numpy().max(initial=0.0)), 1e-9)
    scale = alt.Scale(domain=list(colours), range=list(colours.values()))
    x = alt.X(
        "depth:Q",
        title="items proposed per user",
        axis=alt.Axis(grid=False, values=depths["depth"].unique().sort().to_list(), labelOverlap="greedy"),
        scale=alt.Scale(type="log", nice=False),
    )
    y_scale = alt.Scale(domain=[0, 1.05 * top], nice=False)
    lines = (
        alt.Chart(put_inline(depths))
        .mark_line(point=alt.OverlayMarkDef(size=22), clip=False)
        .encode(
            x=x,
            y=alt.Y("recall:Q", title="recall", axis=alt.Axis(format="%", tickCount=5), scale=y_scale),
            color=alt.Color("source:N", scale=scale, legend=None),
            strokeWidth=alt.StrokeWidthValue(2, condition=match("source", UNION, 3)),
            tooltip=[alt.Tooltip("source:N"), alt.Tooltip("depth:Q"), alt.Tooltip("recall:Q", format=".1%")],
        )
    )
    ends = depths.group_by("source", maintain_order=True).agg(pl.col("depth", "recall").last())
    places = space_labels(ends["recall"].to_list(), 1.05 * top * _LABEL_HEIGHT / _DEPTHS_HEIGHT)
    labels = ends.with_columns(
        pl.Series("place", places, dtype=pl.Float64),
        pl.col("source").replace(UNION, "any source").alias("name"),
        pl.lit(depths["depth"].to_numpy().max(initial=1)).alias("depth"),
    )
    names = (
        alt.Chart(put_inline(labels))
        .mark_text(align="left", dx=8, color=INK, fontSize=11, clip=False, limit=96)
        .encode(x=x, y=alt.Y("place:Q", scale=y_scale), text=alt.Text("name:N"))
    )
    described = "Recall of each source, by the number of items that it proposes"
    return {**finish(lines + names, described, _DEPTHS_HEIGHT), "padding": LABELLED}


def draw_overlap(overlap: pl.DataFrame) -> Spec:
    """Draw a heat map: the share of the row source's items (or positives) that the column source also proposes.

    Args:
        overlap: `LedgerOverlap`.
    """
    pairs = overlap.unpivot(
        ["found_share", "proposed_share"], index=["source", "other"], variable_name="share", value_name="value"
    )
    names = pairs["source"].unique(maintain_order=True).to_list()
    x = alt.X("other:N", title=None, sort=names, axis=alt.Axis(labelAngle=-40, orient="top", grid=False))
    y = alt.Y("source:N", title=None, sort=names)
    tooltip = [alt.Tooltip("source:N"), alt.Tooltip("other:N"), alt.Tooltip("value:Q", format=".1%")]
    cells = (
        alt.Chart()
        .mark_rect(color=ACCENT, cornerRadius=3, stroke=SURFACE, strokeWidth=2)
        .encode(
            x=x,
            y=y,
            fillOpacity=alt.FillOpacity("value:Q", legend=None, scale=alt.Scale(domain=[0, 1], range=[0.05, 0.5])),
            tooltip=tooltip,
        )
    )
    numbers = (
        alt.Chart()
        .mark_text(fontSize=11, color=INK)
        .encode(x=x, y=y, text=alt.Text("value:Q", format=".0%"), tooltip=tooltip)
    )
    chart = choose(layer(pairs, cells, numbers), share="found_share")
    return finish(
        chart,
        "Overlap of the sources as a heat map: share of the row's items that the column also has",
        34 * len(names),
    )
