"""Charts of the page: Vega-Lite specifications made with altair.

Ours always has the accent colour. A chart with choices has parameters named `metric`, `n` or `model`, which the
page sets.
"""

from __future__ import annotations

from typing import Any

import polars as pl

from recsys.evaluation.comparison import DIFFERENCE, OURS
from recsys.extras import needs_extra
from recsys.report.chart_style import (
    ACCENT,
    AXIS,
    FAINT,
    INK,
    MUTED,
    SIGNED_AXIS,
    SURFACE,
    WORSE,
    Spec,
    choose,
    finish,
    layer,
    put_inline,
    when,
)
from recsys.visuals.curves import Curve

with needs_extra("report", "HTML report"):
    import altair as alt

# What the interval of a difference supports, and how it is drawn.
VERDICTS = ("ours is better", "cannot tell", "ours is worse", "too few users")
_VERDICT_COLOURS = [ACCENT, MUTED, WORSE, FAINT]
_VERDICT_FILLS = [ACCENT, SURFACE, WORSE, SURFACE]
_DIFFERENCE = (*DIFFERENCE, "p_value")


def draw_means(rows: pl.DataFrame, metric: str, n: int) -> Spec:
    """Draw a point with its interval per model, the best on top.

    Args:
        rows: `model`, `metric`, `n`, `mean`, `low`, `high`; the ends are null if there is no interval.
        metric: initial metric.
        n: initial list length.
    """
    # Without an interval, both ends are the mean.
    ends = pl.col("low", "high").fill_null(pl.col("mean"))
    rows = rows.select("model", "metric", "n", "mean", ends)
    y = alt.Y("model:N", title=None, sort=alt.EncodingSortField("mean", op="max", order="descending"))
    colour = when("model", OURS, ACCENT, MUTED)
    tooltip = [alt.Tooltip("model:N"), *(alt.Tooltip(f"{name}:Q", format=".4f") for name in ("mean", "low", "high"))]
    spread = (
        alt.Chart()
        .mark_rule(strokeWidth=3, strokeCap="round", opacity=0.55)
        .encode(
            y=y,
            x=alt.X("low:Q", title=None, axis=AXIS, scale=alt.Scale(zero=True)),
            x2=alt.X2("high:Q"),
            color=colour,
            tooltip=tooltip,
        )
    )
    point = (
        alt.Chart()
        .mark_point(size=70, filled=True, opacity=1)
        .encode(y=y, x=alt.X("mean:Q", title=None, axis=AXIS), color=colour, tooltip=tooltip)
    )
    chart = choose(layer(rows, spread, point), metric=metric, n=n)
    return finish(
        chart,
        "Mean of the chosen metric with its interval, one row per model, best on top",
        28 * rows["model"].n_unique(),
    )


def draw_differences(rows: pl.DataFrame, metric: str, n: int) -> Spec:
    """Draw ours minus each other model with its interval around a line at 0, in the order of `draw_means`.

    Args:
        rows: `MetricTable` rows.
        metric: initial metric.
        n: initial list length.
    """
    others = rows.filter(pl.col("model") != OURS).select("model", "metric", "n", *_DIFFERENCE, judge().alias("verdict"))
    y = alt.Y("model:N", title=None, sort=alt.EncodingSortField("difference", op="max", order="ascending"))
    chart = choose(_spread_around_zero(others, y, [alt.Tooltip("model:N")]), metric=metric, n=n)
    return finish(
        chart,
        "Ours minus each other model with its interval; right of 0, ours is better",
        28 * others["model"].n_unique(),
    )


def draw_segments(rows: pl.DataFrame, metric: str, model: str) -> Spec:
    """Draw ours minus one model by segment, in the order of the rows.

    Args:
        rows: `SegmentTable` rows of one n with `label`, the name of the row's segment.
        metric: initial metric.
        model: initial model to compare with.
    """
    verdict = pl.when("enough").then(judge()).otherwise(pl.lit(VERDICTS[3])).alias("verdict")
    columns = ("label", "model", "metric", "users", "positives", *_DIFFERENCE)
    others = rows.filter(pl.col("model") != OURS).select(*columns, verdict)
    labels = others["label"].unique(maintain_order=True).to_list()
    y = alt.Y("label:N", title=None, sort=labels)
    tooltip = [alt.Tooltip("label:N"), alt.Tooltip("users:Q", format=","), alt.Tooltip("positives:Q", format=",")]
    chart = choose(_spread_around_zero(others, y, tooltip), metric=metric, model=model)
    return finish(
        chart, "Ours minus the chosen model by segment with its interval; right of 0, ours is better", 26 * len(labels)
    )


def judge() -> pl.Expr:
    """Return which of `VERDICTS` the interval of a difference supports."""
    better, unsure, worse, _ = map(pl.lit, VERDICTS)
    return (
        pl.when(pl.col("difference_low") > 0)
        .then(better)
        .when(pl.col("difference_high") < 0)
        .then(worse)
        .otherwise(unsure)
    )


def draw_curve(curve: Curve) -> Spec:
    """Draw one learning curve; trainings that follow each other are not joined, and the later ones are named."""
    values = curve.values
    schema = {"part": pl.String, "at": pl.Int64, "value": pl.Float64}
    rows = pl.DataFrame(values, schema=schema, orient="row")
    first, last = values[0][1], values[-1][1]
    ticks = sorted({first + round(part * (last - first) / 4) for part in range(5)})
    x = alt.X("at:Q", title=curve.unit, axis=alt.Axis(grid=False, values=ticks, format="d"))
    y = alt.Y("value:Q", title=None, scale=alt.Scale(zero=False), axis=alt.Axis(tickCount=5))
    shown = {
        "x": x,
        "y": y,
        "detail": alt.Detail("part:N"),
        "tooltip": [alt.Tooltip("part:N"), alt.Tooltip("at:Q"), alt.Tooltip("value:Q", format=".4f")],
    }
    layers = [alt.Chart().mark_line(color=ACCENT, strokeWidth=2).encode(**shown)] if curve.joined else []
    if not curve.joined or len(values) < 20:
        layers.append(alt.Chart().mark_point(color=ACCENT, filled=True, size=24, opacity=1).encode(**shown))
    chart = layer(rows, *layers)
    starts = [{"at": points[0][0] - 0.5, "name": name} for name, points in list(curve.parts.items())[1:]]
    if starts:
        data = alt.InlineData(values=starts)
        edges = alt.Chart(data).mark_rule(color=MUTED).encode(x=alt.X("at:Q"))
        names = alt.Chart(data).mark_text(align="left", dx=4, color=INK, fontSize=11, baseline="top")
        chart += edges + names.encode(x=alt.X("at:Q"), y=alt.value(0), text=alt.Text("name:N"))
    return finish(chart, f"Learning curve of {curve.title}, value by {curve.unit}", 180)


def draw_importance(importance: pl.DataFrame) -> Spec:
    """Draw each feature's share of the ranker's total gain, in the order of the rows.

    Args:
        importance: `feature`, `share`.
    """
    bars = (
        alt.Chart(put_inline(importance))
        .mark_bar(color=ACCENT, cornerRadiusEnd=2, height={"band": 0.65})
        .encode(
            x=alt.X("share:Q", title="share of the trees' total gain", axis=alt.Axis(format="%", tickCount=5)),
            y=alt.Y("feature:N", title=None, sort=None, axis=alt.Axis(labelLimit=190)),
            tooltip=[alt.Tooltip("feature:N"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return finish(bars, "Share of the ranker's total gain by feature, largest on top", 22 * importance.height)


def draw_scores(bins: pl.DataFrame) -> Spec:
    """Draw the share of the scores in each bin, now and before.

    Args:
        bins: `bin`, `night` (`now` or `before`), `share`, bins in order.
    """
    colour = when("night", "now", ACCENT, MUTED)
    bars = (
        alt.Chart(put_inline(bins))
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            x=alt.X("bin:N", title="score", sort=None, axis=alt.Axis(labelAngle=-40)),
            xOffset=alt.XOffset("night:N", sort=["before", "now"]),
            y=alt.Y("share:Q", title="share of the scores", axis=alt.Axis(format="%", tickCount=4)),
            color=colour,
            tooltip=[alt.Tooltip("bin:N"), alt.Tooltip("night:N"), alt.Tooltip("share:Q", format=".1%")],
        )
    )
    return finish(bars, "Share of the scores in each bin, this night and the one before", 200)


def _spread_around_zero(rows: pl.DataFrame, y: alt.Y, tooltip: list[Any]) -> alt.LayerChart:
    """Draw points, intervals and a line at 0; colour and fill show what the interval supports."""
    ends = [alt.Tooltip(f"{name}:Q", format="+.4f") for name in _DIFFERENCE[:3]]
    shown = [*tooltip, *ends, alt.Tooltip("p_value:Q", format=".3f"), alt.Tooltip("verdict:N")]
    stroke = alt.Color("verdict:N", legend=None, scale=alt.Scale(domain=list(VERDICTS), range=_VERDICT_COLOURS))
    fill = alt.Fill("verdict:N", legend=None, scale=alt.Scale(domain=list(VERDICTS), range=_VERDICT_FILLS))
    zero = (
        alt.Chart(alt.InlineData(values=[{}]))
        .mark_rule(color=INK, strokeWidth=1)
        .encode(x=alt.XDatum(0, type="quantitative", axis=SIGNED_AXIS, title=None))
    )
    spread = (
        alt.Chart()
        .mark_rule(strokeWidth=3, strokeCap="round", opacity=0.55)
        .encode(
            y=y,
            x=alt.X("difference_low:Q", title=None, axis=SIGNED_AXIS),
            x2=alt.X2("difference_high:Q"),
            color=stroke,
            tooltip=shown,
        )
    )
    point = (
        alt.Chart()
        .mark_point(size=70, strokeWidth=2, opacity=1)
        .encode(
            y=y,
            x=alt.X("difference:Q", title=None, axis=SIGNED_AXIS),
            stroke=stroke,
            fill=fill,
            tooltip=shown,
        )
    )
    return layer(rows, zero, spread, point)
