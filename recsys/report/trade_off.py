"""Accuracy against what else lists should be: one dot per model, and the models that no other beats in both."""

from __future__ import annotations

import math

import polars as pl

from recsys.artifacts.runs import Run
from recsys.evaluation.comparison import OURS
from recsys.evaluation.formatting import name_metric
from recsys.report.chart_style import (
    ACCENT,
    AXIS,
    INK,
    MUTED,
    Spec,
    category,
    choose,
    finish,
    layer,
    mark,
    quantities,
    quantity,
    when,
)
from recsys.report.layout import Choice, Figure

_HEIGHT = 320
# Higher is worse for these.
_LOWER = ("gini",)
# Names of dots are joined where these shares of the ranges are between them.
_NEAR = (0.12, 0.05)
_MEASURES = ("coverage", "novelty", "diversity", "cold_share", "gini")


def gather_trade_off(run: Run) -> pl.DataFrame:
    """Return `model`, `measure`, `accuracy`, `value`, `best`, `label`, a row per model and measure.

    `best`: no other model is at least as good in both and better in one. `label`: the name of ours and of these models;
    models in the same place share the label of the first, and the others have none.
    """
    evaluation = run.config.evaluation
    own = run.metrics.filter(pl.col("n") == evaluation.n).select("model", "metric", "mean")
    accuracy = own.filter(pl.col("metric") == evaluation.metric).select("model", pl.col("mean").alias("accuracy"))
    whole = run.catalogue.unpivot(["coverage", "gini"], index="model", variable_name="metric", value_name="mean")
    measures = pl.concat([whole, own]).filter(pl.col("metric").is_in(_MEASURES))
    rows = measures.rename({"metric": "measure", "mean": "value"}).join(accuracy, on="model")
    order = pl.col("measure").cast(pl.Enum(_MEASURES))
    ours_first = pl.col("model") != OURS
    ordered = rows.sort(order, ours_first, "model").group_by("measure", maintain_order=True)
    return pl.concat([_name_dots(_mark_best(part)) for _, part in ordered])


def _mark_best(rows: pl.DataFrame) -> pl.DataFrame:
    sign = -1.0 if rows["measure"][0] in _LOWER else 1.0
    points = list(zip(rows["accuracy"], rows["value"] * sign, strict=True))

    def beaten(x: float, y: float) -> bool:
        return any(a >= x and b >= y and (a > x or b > y) for a, b in points)

    return rows.with_columns(best=pl.Series([not beaten(*point) for point in points], dtype=pl.Boolean))


def _name_dots(rows: pl.DataFrame) -> pl.DataFrame:
    """Add `label`; names that would be written over each other are joined."""
    spans = [float(rows[name].to_numpy().max() - rows[name].to_numpy().min()) or 1.0 for name in ("value", "accuracy")]
    places: list[tuple[float, float]] = []
    labels: list[str | None] = []
    for model, best, x, y in rows.select("model", "best", "value", "accuracy").iter_rows():
        if not best and model != OURS:
            places.append((math.inf, math.inf))
            labels.append(None)
            continue
        near = (
            number
            for number, (a, b) in enumerate(places)
            if abs(a - x) < _NEAR[0] * spans[0] and abs(b - y) < _NEAR[1] * spans[1]
        )
        other = next(near, None)
        if other is None:
            places.append((x, y))
            labels.append(model)
        else:
            labels[other] = f"{labels[other]}, {model}"
            places.append((math.inf, math.inf))
            labels.append(None)
    return rows.with_columns(label=pl.Series(labels, dtype=pl.String))


def show_trade_off(run: Run) -> Figure:
    """Return the scatter plot with its choice of the measure."""
    rows, evaluation = gather_trade_off(run), run.config.evaluation
    measures = rows["measure"].unique(maintain_order=True).to_list()
    metric = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    return Figure(
        "trade-off",
        f"{metric} against what else the lists should be",
        draw_trade_off(rows, metric),
        key=(
            ("var(--accent)", "ours"),
            ("var(--muted)", "other models; named where no other is at least as good in both"),
        ),
        choices=(Choice("measure", "Against", {name: name_metric(name) for name in measures}, "coverage", {}),),
    )


def draw_trade_off(rows: pl.DataFrame, metric: str) -> Spec:
    """Draw a dot per model; ours and the models that no other beats are named.

    Args:
        rows: from `gather_trade_off`.
        metric: name of the accuracy.
    """
    shown = {
        "x": quantity("value", title=None, axis=AXIS, scale={"zero": False, "padding": 24}),
        "y": quantity("accuracy", title=metric, axis={"tickCount": 5}, scale={"zero": False, "padding": 14}),
        "tooltip": [category("model"), *quantities("accuracy", "value", pattern=".4f")],
    }
    dots = mark(
        "point",
        {"filled": True, "opacity": 1},
        size=when("model", OURS, 150, 70),
        color=when("model", OURS, ACCENT, MUTED),
        **shown,
    )
    style = {"align": "right", "dx": -7, "dy": -9, "fontSize": 12, "color": INK, "limit": 220}
    names = mark("text", style, text=category("label"), **shown) | {"transform": [{"filter": "datum.label != null"}]}
    chart = choose(layer(rows, dots, names), measure="coverage")
    return finish(chart, f"{metric} of each model against the chosen property of its lists", _HEIGHT)
