"""Plots that every training logs and the notebooks show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from recsys.evaluation.candidate_ledger import UNION

Matrix = NDArray[np.float64]

INK, BLUE, GREY = "#1f2937", "#2563eb", "#9ca3af"
# Groups side by side, told apart in light and dark and by most colour-blind eyes (Okabe and Ito 2008).
PALETTE = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442", "#4b5563")
# One per outcome of the ledger: losses of retrieval in warm colours, the ranker's in violet, what was listed in ours.
_FATES = ("#d6d3d1", "#f97316", "#fbbf24", "#a78bfa", BLUE)


def plot_metric_table(table: pl.DataFrame, metric: str, n: int, ours: str) -> Figure:
    """Draw one bar per model with its interval, the best on top, ours in colour.

    Args:
        table: a `MetricTable` frame.
        metric: a metric of the table.
        n: a list length of the table.
        ours: the model that stands out.
    """
    rows = table.filter((pl.col("metric") == metric) & (pl.col("n") == n)).sort("mean")
    if rows.is_empty():
        return plot_message(f"no {metric}@{n} to show")
    figure = Figure(figsize=(7, 0.45 * rows.height + 1.2), layout="constrained")
    axes = figure.add_subplot()
    spread = [(rows["mean"] - rows["low"]).to_list(), (rows["high"] - rows["mean"]).to_list()]
    colours = [BLUE if model == ours else GREY for model in rows["model"]]
    axes.barh(rows["model"].to_list(), rows["mean"].to_list(), xerr=spread, color=colours, ecolor=INK, capsize=3)
    axes.margins(y=0.02)
    axes.set_xlabel(f"{metric}@{n}, mean over {rows['users'][0]:,} users with interval")
    remove_clutter(figure)
    return figure


def plot_segments(table: pl.DataFrame, metric: str, n: int, ours: str, rival: str) -> Figure:
    """Draw ours minus a rival with its interval, one row per segment; segments of too few users stand pale.

    Args:
        table: a `SegmentTable`.
        metric: a metric of the table.
        n: a list length of the table.
        ours: our model.
        rival: the model compared with.
    """
    rows = table.filter(pl.col("metric") == metric, pl.col("n") == n, pl.col("model") == rival).reverse()
    if rows.is_empty():
        return plot_message(f"no segment with {metric}@{n} of {rival} to show")
    figure = Figure(figsize=(7, 0.3 * rows.height + 1.2), layout="constrained")
    axes = figure.add_subplot()
    names = [f"{row['dimension']}: {row['segment']} ({row['users']:,})" for row in rows.iter_rows(named=True)]
    for place, row in enumerate(rows.iter_rows(named=True)):
        colour = BLUE if row["enough"] else GREY
        axes.plot([row["difference_low"], row["difference_high"]], [place, place], color=colour, linewidth=2)
        axes.plot(row["difference"], place, "o", color=colour, markersize=5)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), [escape_mathtext(name) for name in names])
    axes.set_xlabel(f"{metric}@{n}: {ours} minus {rival}, with interval (users in brackets)")
    remove_clutter(figure)
    return figure


def plot_ledger(measured: Mapping[str, Any], depths: pl.DataFrame) -> Figure:
    """Draw where the positives went, and each source's recall by depth under that of the union.

    Args:
        measured: `positives`: pairs of outcome and count, in the order of the pipeline.
        depths: a `LedgerDepths`.
    """
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    bar, lines = figure.subplots(2, 1, height_ratios=[1, 4.5])
    total, left = max(1, sum(count for _, count in measured["positives"])), 0.0
    for (outcome, count), colour in zip(measured["positives"], _FATES, strict=True):
        bar.barh([0], [count / total], left=left, color=colour, label=f"{outcome} {count / total:.1%}")
        left += count / total
    bar.set(yticks=[], xlim=(0, 1), xlabel="share of the positives")
    bar.legend(ncols=3, fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    for (source,), rows in depths.group_by("source", maintain_order=True):
        style = {"color": INK, "linewidth": 2.5} if source == UNION else {"linewidth": 1.4}
        lines.plot(rows["depth"].to_list(), rows["recall"].to_list(), marker="o", markersize=3, label=source, **style)
    lines.set(xlabel="items per user and source", ylabel="share of the positives found", ylim=(0, None))
    lines.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    remove_clutter(figure)
    return figure


def plot_outcomes(counts: pl.DataFrame) -> Figure:
    """Draw what became of the positives of several segments, one bar each, all of the same length.

    Args:
        counts: from `count_outcomes`: `segment`, `outcome`, `positives`, `share`, all outcomes per segment.
    """
    if counts.is_empty():
        return plot_message("no positives to show")
    segments = counts["segment"].unique(maintain_order=True).reverse().to_list()
    figure = Figure(figsize=(9, 0.36 * len(segments) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    left = dict.fromkeys(segments, 0.0)
    for ((outcome,), rows), colour in zip(counts.group_by("outcome", maintain_order=True), _FATES, strict=False):
        for segment, share in rows.select("segment", "share").iter_rows():
            label = str(outcome) if segment == segments[-1] else None
            axes.barh(segments.index(segment), share, left=left[segment], color=colour, label=label)
            if share >= 0.04:
                middle = left[segment] + share / 2
                ink = "white" if colour == BLUE else INK
                axes.text(
                    middle, segments.index(segment), f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9
                )
            left[segment] += share
    totals = dict(counts.group_by("segment").agg(pl.col("positives").sum()).iter_rows())
    axes.set_yticks(range(len(segments)), [f"{escape_mathtext(segment)} ({totals[segment]:,})" for segment in segments])
    axes.margins(y=0.02)
    axes.set(xlim=(0, 1), xlabel="share of the positives (their number in brackets)")
    axes.legend(ncols=3, fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    remove_clutter(figure)
    return figure


def plot_source_recall(found: pl.DataFrame) -> Figure:
    """Draw what share of the positives each source finds, with interval, segments side by side.

    Args:
        found: from `compute_source_recall`: `segment`, `source`, `mean`, `low`, `high`.
    """
    if found.is_empty():
        return plot_message("no positives to show")
    sources = found["source"].unique(maintain_order=True).reverse().to_list()
    segments = found["segment"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(7, 0.42 * len(sources) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for number, segment in enumerate(segments):
        rows = found.filter(pl.col("segment") == segment)
        places = [sources.index(source) + 0.18 * (len(segments) / 2 - 0.5 - number) for source in rows["source"]]
        spread = [(rows["mean"] - rows["low"]).to_list(), (rows["high"] - rows["mean"]).to_list()]
        colour = PALETTE[number % len(PALETTE)]
        axes.errorbar(
            rows["mean"].to_list(),
            places,
            xerr=spread,
            fmt="o",
            color=colour,
            label=escape_mathtext(segment),
            capsize=3,
        )
    axes.set_yticks(range(len(sources)), sources)
    axes.set(xlabel="share of a user's positives that the source proposes, with interval", xlim=(0, None))
    axes.legend(fontsize=9, frameon=False)
    remove_clutter(figure)
    return figure


def plot_matrix(
    rows: Sequence[str], columns: Sequence[str], values: Matrix, titles: tuple[str, str], form: str
) -> Figure:
    """Draw a table of numbers whose cells are the darker the larger they are; NaN stays blank.

    Args:
        rows: their names.
        columns: their names.
        values: `(n_rows, n_columns)`.
        titles: what the rows are, and the columns.
        form: how a number is written, such as `.0%`.
    """
    figure = Figure(figsize=(1.9 + 0.85 * len(columns), 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    shown = np.asarray(values, dtype=np.float64)
    most = max(float(np.nanmax(shown, initial=0.0)), 1e-12)
    axes.imshow(shown, cmap="Blues", vmin=0.0, vmax=1.2 * most, aspect="auto")
    for (row, column), value in np.ndenumerate(shown):
        if not np.isnan(value):
            colour = "white" if value > 0.75 * most else INK
            axes.text(column, row, format(value, form), ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), [escape_mathtext(name) for name in columns], rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [escape_mathtext(name) for name in rows])
    axes.set(ylabel=titles[0], xlabel=titles[1])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=9, length=0)
    return figure


def plot_maps(maps: Mapping[str, Matrix], labels: Sequence[str], at_most: int = 7) -> Figure:
    """Draw maps of the same items side by side, coloured by label; all but the most frequent labels are grey.

    Args:
        maps: title -> `(n_items, 2)`.
        labels: one per item; an empty one is grey.
        at_most: labels that get a colour.
    """
    figure = Figure(figsize=(4.6 * max(1, len(maps)), 4.4), layout="constrained")
    counts = pl.DataFrame({"label": labels}, schema={"label": pl.String}).filter(pl.col("label") != "")
    ordered = counts.group_by("label").len().sort(["len", "label"], descending=[True, False])["label"]
    coloured = dict(zip(ordered.head(at_most), PALETTE, strict=False))
    names = np.array(labels, dtype=object)
    for place, (title, points) in enumerate(maps.items()):
        axes = figure.add_subplot(1, len(maps), place + 1)
        rest = np.array([name not in coloured for name in labels], dtype=bool)
        if rest.any():
            axes.scatter(points[rest, 0], points[rest, 1], s=6, color="#d1d5db", linewidths=0, label="other")
        for label, colour in coloured.items():
            x, y = points[names == label].T
            axes.scatter(x, y, s=9, color=colour, alpha=0.7, linewidths=0, label=escape_mathtext(label))
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#d1d5db")
    if maps:
        figure.legend(*axes.get_legend_handles_labels(), ncols=4, fontsize=9, frameon=False, loc="outside lower center")
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
    axes.barh(rows["feature"].to_list(), (rows["gain"] / total).to_list(), color=BLUE)
    axes.margins(y=0.02)
    axes.set_xlabel("share of the trees' total gain")
    remove_clutter(figure)
    return figure


def plot_curves(curves: Mapping[str, Sequence[float]]) -> Figure:
    """Draw one panel per curve, value by step; a curve without values says so.

    Args:
        curves: name -> values.
    """
    figure = Figure(figsize=(3.6 * max(1, len(curves)), 3.0), layout="constrained")
    for place, (name, values) in enumerate(curves.items()):
        axes = figure.add_subplot(1, len(curves), place + 1)
        axes.plot(range(1, len(values) + 1), values, color=BLUE, marker="o" if len(values) < 20 else None, markersize=3)
        axes.set_title(name.replace("_", " "), fontsize=10)
        axes.set_xlabel("step")
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.set_xlim(0.5, max(1, len(values)) + 0.5)
        if not values:
            axes.set(xticks=[], yticks=[])
            axes.text(0.5, 0.5, "no steps", ha="center", va="center", transform=axes.transAxes)
    remove_clutter(figure)
    return figure


def plot_message(text: str) -> Figure:
    """Return a figure of words, where there is nothing to draw."""
    figure = Figure(figsize=(7, 0.8), layout="constrained")
    figure.text(0.5, 0.5, escape_mathtext(text), ha="center", va="center", color=INK)
    return figure


def escape_mathtext(name: str) -> str:
    """Catalogue text as text: matplotlib would read what stands between dollar signs as mathematics."""
    return name.replace("$", r"\$")


def remove_clutter(figure: Figure) -> None:
    """Take away what a plot does not need."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)
