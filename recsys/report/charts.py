"""Charts of the page: Vega-Lite specifications.

Ours always has the accent colour. A chart with choices has parameters named `metric`, `n` or `model`, which the
page sets.
"""

from __future__ import annotations

import polars as pl

from recsys.evaluation.comparison import DIFFERENCE, OURS
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
    category,
    choose,
    colours,
    finish,
    layer,
    mark,
    quantities,
    quantity,
    when,
)
from recsys.visuals.curves import Curve

# What the interval of a difference supports, and how it is drawn.
VERDICTS = ("ours is better", "cannot tell", "ours is worse", "too few users")
_VERDICT_COLOURS = dict(zip(VERDICTS, (ACCENT, MUTED, WORSE, FAINT), strict=True))
_VERDICT_FILLS = dict(zip(VERDICTS, (ACCENT, SURFACE, WORSE, SURFACE), strict=True))
_DIFFERENCE = (*DIFFERENCE, "p_value")
_INTERVAL: Spec = {"strokeWidth": 3, "strokeCap": "round", "opacity": 0.55}
_POINT: Spec = {"size": 70, "opacity": 1}


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
    shown = {
        "y": category("model", title=None, sort={"field": "mean", "op": "max", "order": "descending"}),
        "color": when("model", OURS, ACCENT, MUTED),
        "tooltip": [category("model"), *quantities("mean", "low", "high", pattern=".4f")],
    }
    low = quantity("low", title=None, axis=AXIS, scale={"zero": True})
    spread = mark("rule", _INTERVAL, x=low, x2={"field": "high"}, **shown)
    point = mark("point", _POINT | {"filled": True}, x=quantity("mean", title=None, axis=AXIS), **shown)
    return finish(
        choose(layer(rows, spread, point), metric=metric, n=n),
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
    y = category("model", title=None, sort={"field": "difference", "op": "max", "order": "ascending"})
    return finish(
        choose(_spread_around_zero(others, y, [category("model")]), metric=metric, n=n),
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
    tooltip = [category("label"), *quantities("users", "positives", pattern=",")]
    chart = _spread_around_zero(others, category("label", title=None, sort=labels), tooltip)
    return finish(
        choose(chart, metric=metric, model=model),
        "Ours minus the chosen model by segment with its interval; right of 0, ours is better",
        26 * len(labels),
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
    shown = {
        "x": quantity("at", title=curve.unit, axis={"grid": False, "values": ticks, "format": "d"}),
        "y": quantity("value", title=None, scale={"zero": False}, axis={"tickCount": 5}),
        "detail": category("part"),
        "tooltip": [category("part"), quantity("at"), quantity("value", format=".4f")],
    }
    layers = [mark("line", {"color": ACCENT, "strokeWidth": 2}, **shown)] if curve.joined else []
    if not curve.joined or len(values) < 20:
        layers.append(mark("point", {"color": ACCENT, "filled": True, "size": 24, "opacity": 1}, **shown))
    starts = [{"at": points[0][0] - 0.5, "name": name} for name, points in list(curve.parts.items())[1:]]
    if starts:
        edges = mark("rule", {"color": MUTED}, x=quantity("at"))
        style = {"align": "left", "dx": 4, "color": INK, "fontSize": 11, "baseline": "top"}
        names = mark("text", style, x=quantity("at"), y={"value": 0}, text=category("name"))
        layers.append({"data": {"values": starts}, "layer": [edges, names]})
    return finish(layer(rows, *layers), f"Learning curve of {curve.title}, value by {curve.unit}", 180)


def draw_importance(importance: pl.DataFrame) -> Spec:
    """Draw each feature's share of the ranker's total gain, in the order of the rows.

    Args:
        importance: `feature`, `share`.
    """
    bars = mark(
        "bar",
        {"color": ACCENT, "cornerRadiusEnd": 2, "height": {"band": 0.65}},
        x=quantity("share", title="share of the trees' total gain", axis={"format": "%", "tickCount": 5}),
        y=category("feature", title=None, sort=None, axis={"labelLimit": 190}),
        tooltip=[category("feature"), quantity("share", format=".1%")],
    )
    description = "Share of the ranker's total gain by feature, largest on top"
    return finish(layer(importance.select("feature", "share"), bars), description, 22 * importance.height)


def draw_scores(bins: pl.DataFrame) -> Spec:
    """Draw the share of the scores in each bin, now and before.

    Args:
        bins: `bin`, `night` (`now` or `before`), `share`, bins in order.
    """
    bars = mark(
        "bar",
        {"cornerRadiusEnd": 2},
        x=category("bin", title="score", sort=None, axis={"labelAngle": -40}),
        xOffset=category("night", sort=["before", "now"]),
        y=quantity("share", title="share of the scores", axis={"format": "%", "tickCount": 4}),
        color=when("night", "now", ACCENT, MUTED),
        tooltip=[category("bin"), category("night"), quantity("share", format=".1%")],
    )
    return finish(layer(bins, bars), "Share of the scores in each bin, this night and the one before", 200)


def _spread_around_zero(rows: pl.DataFrame, y: Spec, tooltip: list[Spec]) -> Spec:
    """Draw points, intervals and a line at 0; colour and fill show what the interval supports."""
    lines = [*tooltip, *quantities(*_DIFFERENCE[:3], pattern="+.4f"), quantity("p_value", format=".3f")]
    shown = {"y": y, "tooltip": [*lines, category("verdict")]}
    stroke, fill = colours("verdict", _VERDICT_COLOURS), colours("verdict", _VERDICT_FILLS)
    at_zero = {"datum": 0, "type": "quantitative", "axis": SIGNED_AXIS, "title": None}
    zero = {"data": {"values": [{}]}, **mark("rule", {"color": INK, "strokeWidth": 1}, x=at_zero)}
    low = quantity("difference_low", title=None, axis=SIGNED_AXIS)
    spread = mark("rule", _INTERVAL, x=low, x2={"field": "difference_high"}, color=stroke, **shown)
    middle = quantity("difference", title=None, axis=SIGNED_AXIS)
    point = mark("point", _POINT | {"strokeWidth": 2}, x=middle, stroke=stroke, fill=fill, **shown)
    return layer(rows, zero, spread, point)
