"""Plots that every training logs and the notebooks show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

_INK, _OURS, _OTHER = "#1f2937", "#2563eb", "#9ca3af"


def plot_metric_table(table: pl.DataFrame, metric: str, n: int, ours: str) -> Figure:
    """Draw one bar per model with its interval, the best on top, ours in colour.

    Args:
        table: a `MetricTable` frame.
        metric: a metric of the table.
        n: a list length of the table.
        ours: the model that stands out.
    """
    rows = table.filter((pl.col("metric") == metric) & (pl.col("n") == n)).sort("mean")
    figure = Figure(figsize=(7, 0.45 * rows.height + 1.2), layout="constrained")
    axes = figure.add_subplot()
    spread = [(rows["mean"] - rows["low"]).to_list(), (rows["high"] - rows["mean"]).to_list()]
    colours = [_OURS if model == ours else _OTHER for model in rows["model"]]
    axes.barh(rows["model"].to_list(), rows["mean"].to_list(), xerr=spread, color=colours, ecolor=_INK, capsize=3)
    axes.set_xlabel(f"{metric}@{n}, mean over {rows['users'][0]:,} users with interval")
    _tidy(figure)
    return figure


def plot_importance(importance: pl.DataFrame, at_most: int = 20) -> Figure:
    """Draw the largest total gains of the ranker's features.

    Args:
        importance: `feature`, `gain`, largest first.
        at_most: features shown.
    """
    rows = importance.head(at_most).reverse()
    figure = Figure(figsize=(7, 0.28 * rows.height + 1.2), layout="constrained")
    axes = figure.add_subplot()
    total = max(float(importance["gain"].sum()), 1e-12)
    axes.barh(rows["feature"].to_list(), (rows["gain"] / total).to_list(), color=_OURS)
    axes.set_xlabel("share of the trees' total gain")
    _tidy(figure)
    return figure


def plot_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draw one panel per curve, value by step; a curve without values says so.

    Args:
        curves: name -> values.
    """
    figure = Figure(figsize=(3.6 * max(1, len(curves)), 3.0), layout="constrained")
    for place, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        axes.plot(
            range(1, len(values) + 1), values, color=_OURS, marker="o" if len(values) < 20 else None, markersize=3
        )
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        if not values:
            axes.text(0.5, 0.5, "no steps", ha="center", va="center", transform=axes.transAxes)
    _tidy(figure)
    return figure


def _tidy(figure: Figure) -> None:
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
