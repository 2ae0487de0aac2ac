"""Plots of a measurement, which every training logs and the notebooks show."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.candidate_ledger import UNION, select_outcomes
from recsys.extras import needs_extra
from recsys.progress import format_count
from recsys.visuals.curves import space_labels
from recsys.visuals.palette import LIGHT, OUTCOME_ROLES, PALETTE, colour_sources

with needs_extra("report", "plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import PercentFormatter

Matrix = NDArray[np.float64]

# Ours is blue, what ours is compared with grey, and where ours is worse vermillion.
INK, BLUE, GREY, WORSE = (LIGHT[name] for name in ("ink", "accent", "muted", "worse"))
_OUTCOME_COLOURS = {outcome: LIGHT[role] for outcome, role in OUTCOME_ROLES.items()}


def plot_metric_table(table: pl.DataFrame, metric: str, n: int, ours: str) -> Figure:
    """Plot one bar per model with its interval, the best at the top, ours in colour.

    Args:
        table: a `MetricTable` frame.
        metric: a metric of the table.
        n: a list length of the table.
        ours: the model to highlight.
    """
    rows = table.filter((pl.col("metric") == metric) & (pl.col("n") == n)).sort("mean")
    if rows.is_empty():
        return plot_message(f"no {metric}@{n} to show")
    figure = Figure(figsize=(7, 0.36 * rows.height + 1.0), layout="constrained")
    axes = figure.add_subplot()
    errors = [(rows["mean"] - rows["low"]).to_list(), (rows["high"] - rows["mean"]).to_list()]
    colours = [BLUE if model == ours else GREY for model in rows["model"]]
    names = [escape_mathtext(model) for model in rows["model"]]
    axes.barh(names, rows["mean"].to_list(), xerr=errors, color=colours, ecolor=INK, capsize=3)
    axes.margins(y=0.02)
    axes.set_xlabel(f"{metric}@{n}, mean and interval over {format_count(rows['users'][0], 'user')}")
    remove_clutter(figure)
    return figure


def plot_segments(table: pl.DataFrame, metric: str, n: int, ours: str, rival: str) -> Figure:
    """Plot ours minus a rival with its interval, one row per segment.

    Blue: ours is better; vermillion: worse; grey: the interval includes 0, or there are too few users (hollow).

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
    figure = Figure(figsize=(7, 0.26 * rows.height + 1.4), layout="constrained")
    axes = figure.add_subplot()
    labels = rows.select(pl.concat_str("dimension", pl.lit(": "), "segment")).to_series()
    names = [f"{_ellipsize(label)} ({users:,})" for label, users in zip(labels, rows["users"], strict=True)]
    for y, row in enumerate(rows.iter_rows(named=True)):
        sure = row["enough"] and not row["difference_low"] <= 0 <= row["difference_high"]
        colour = (BLUE if row["difference"] > 0 else WORSE) if sure else GREY
        axes.plot([row["difference_low"], row["difference_high"]], [y, y], color=colour, linewidth=2)
        fill = colour if row["enough"] else "white"
        axes.plot(row["difference"], y, "o", color=colour, markerfacecolor=fill, markersize=5)
    axes.axvline(0.0, color=INK, linewidth=0.8)
    axes.set_yticks(range(len(names)), [escape_mathtext(name) for name in names])
    axes.margins(y=0.02)
    few = "" if rows["enough"].all() else "; hollow: too few users"
    # Centred below the whole figure: below the plot alone, long names of segments would push it off the edge.
    figure.supxlabel(
        f"{metric}@{n}: {escape_mathtext(ours)} minus {escape_mathtext(rival)}, with interval\n"
        f"(number of users in brackets{few})",
        fontsize=10,
    )
    remove_clutter(figure)
    return figure


def plot_ledger(measured: Mapping[str, Any], depths: pl.DataFrame) -> Figure:
    """Plot what became of the positives, and the recall of each source and of the union by depth.

    Args:
        measured: `positives`: pairs of outcome and count, in the order of the pipeline.
        depths: a `LedgerDepths`.
    """
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    bar, lines = figure.subplots(2, 1, height_ratios=[1, 5])
    total, left = max(1, sum(count for _, count in measured["positives"])), 0.0
    for outcome, count in select_outcomes(measured["positives"]):
        share = count / total
        bar.barh([0], [share], left=left, color=_OUTCOME_COLOURS[outcome], label=f"{outcome} {share:.1%}")
        left += share
    bar.set(yticks=[], xlim=(0, 1), xlabel="share of the positives")
    bar.xaxis.set_major_formatter(PercentFormatter(1.0))
    _add_legend_above(bar)
    _draw_depths(lines, depths)
    remove_clutter(figure)
    return figure


def _draw_depths(axes: Axes, depths: pl.DataFrame) -> None:
    """Draw a line per source, named at its end."""
    ends = depths.group_by("source", maintain_order=True).agg(pl.col("depth", "recall").last())
    top = max(float(depths["recall"].to_numpy().max(initial=0.0)), 1e-9)
    for source, role in colour_sources(ends["source"]).items():
        rows = depths.filter(pl.col("source") == source)
        colour, width = (INK, 2.5) if source == UNION else (LIGHT[role], 1.6)
        axes.plot(
            rows["depth"].to_list(), rows["recall"].to_list(), marker="o", markersize=3, color=colour, linewidth=width
        )
    places = space_labels(ends["recall"].to_list(), top / 18)
    for (source, depth, recall), place in zip(ends.iter_rows(), places, strict=True):
        name = "any source" if source == UNION else escape_mathtext(source)
        axes.annotate(
            name,
            (depth, recall),
            xytext=(1.01, place),
            textcoords=axes.get_yaxis_transform(),
            fontsize=8,
            va="center",
            annotation_clip=False,
            fontweight="bold" if source == UNION else "normal",
        )
    axes.set(xlabel="items per user and source", ylabel="share of the positives proposed", ylim=(0, 1.06 * top))
    axes.margins(x=0.01)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))


def plot_outcomes(counts: pl.DataFrame) -> Figure:
    """Plot what became of the positives of several segments, one bar of length 1 per segment.

    Args:
        counts: from `count_outcomes`: `segment`, `outcome`, `positives`, `share`, the same outcomes per segment.
    """
    if counts.is_empty():
        return plot_message("no positives to show")
    segments = counts["segment"].unique(maintain_order=True).reverse().to_list()
    figure = Figure(figsize=(9, 0.36 * len(segments) + 1.6), layout="constrained")
    axes = figure.add_subplot()
    left = dict.fromkeys(segments, 0.0)
    for (outcome,), rows in counts.group_by("outcome", maintain_order=True):
        for segment, share in rows.select("segment", "share").iter_rows():
            label = str(outcome) if segment == segments[-1] else None
            colour, y = _OUTCOME_COLOURS[str(outcome)], segments.index(segment)
            axes.barh(y, share, left=left[segment], color=colour, label=label)
            if share >= 0.04:
                ink, middle = "white" if colour == BLUE else INK, left[segment] + share / 2
                axes.text(middle, y, f"{share:.0%}", ha="center", va="center", color=ink, fontsize=9)
            left[segment] += share
    totals = dict(counts.group_by("segment").agg(pl.col("positives").sum()).iter_rows())
    axes.set_yticks(range(len(segments)), [f"{escape_mathtext(segment)} ({totals[segment]:,})" for segment in segments])
    axes.margins(y=0.02)
    axes.set(xlim=(0, 1), xlabel="share of the positives (their number in brackets)")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _add_legend_above(axes)
    remove_clutter(figure)
    return figure


def plot_source_recall(recall: pl.DataFrame) -> Figure:
    """Plot the share of the positives that each source proposes, with interval, segments side by side.

    Args:
        recall: from `compute_source_recall`: `segment`, `source`, `mean`, `low`, `high`.
    """
    if recall.is_empty():
        return plot_message("no positives to show")
    sources = recall["source"].unique(maintain_order=True).reverse().to_list()
    segments = recall["segment"].unique(maintain_order=True).to_list()
    figure = Figure(figsize=(7, 0.42 * len(sources) + 1.4), layout="constrained")
    axes = figure.add_subplot()
    for number, segment in enumerate(segments):
        rows = recall.filter(pl.col("segment") == segment)
        offset = 0.18 * (len(segments) / 2 - 0.5 - number)
        axes.errorbar(
            rows["mean"].to_list(),
            [sources.index(source) + offset for source in rows["source"]],
            xerr=[(rows["mean"] - rows["low"]).to_list(), (rows["high"] - rows["mean"]).to_list()],
            fmt="o",
            color=PALETTE[number % len(PALETTE)],
            label=escape_mathtext(segment),
            capsize=3,
        )
    names = ["any source" if source == UNION else escape_mathtext(source) for source in sources]
    axes.set_yticks(range(len(sources)), names)
    axes.set(xlabel="share of a user's positives that the source proposes, with interval", xlim=(0, None))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    _add_legend_above(axes)
    remove_clutter(figure)
    return figure


def plot_matrix(
    rows: Sequence[str], columns: Sequence[str], values: Matrix, titles: tuple[str, str], number_format: str
) -> Figure:
    """Plot a table of numbers as a heat map, darker for larger numbers; NaN is blank.

    Args:
        rows: their names.
        columns: their names.
        values: `(n_rows, n_columns)`.
        titles: of the rows and of the columns.
        number_format: of each number, such as `.0%`.
    """
    figure = Figure(figsize=(1.9 + 0.85 * len(columns), 1.5 + 0.42 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    cells = np.asarray(values, dtype=np.float64)
    largest = max(float(np.nanmax(cells, initial=0.0)), 1e-12)
    axes.imshow(cells, cmap="Blues", vmin=0.0, vmax=1.2 * largest, aspect="auto")
    for (row, column), value in np.ndenumerate(cells):
        if not np.isnan(value):
            colour = "white" if value > 0.75 * largest else INK
            text = format(value, number_format)
            axes.text(column, row, text, ha="center", va="center", fontsize=9, color=colour)
    axes.set_xticks(range(len(columns)), [escape_mathtext(name) for name in columns], rotation=30, ha="right")
    axes.set_yticks(range(len(rows)), [escape_mathtext(name) for name in rows])
    axes.set(ylabel=titles[0], xlabel=titles[1])
    axes.spines[:].set_visible(False)
    axes.tick_params(labelsize=9, length=0)
    return figure


def plot_maps(maps: Mapping[str, Matrix], labels: Sequence[str], max_labels: int = 7) -> Figure:
    """Plot maps of the same items side by side, coloured by label; all but the most frequent labels are grey.

    Args:
        maps: title -> `(n_items, 2)`.
        labels: of each item; empty labels are grey.
        max_labels: number of labels with a colour.
    """
    figure = Figure(figsize=(4.6 * max(1, len(maps)), 4.4), layout="constrained")
    counts = pl.DataFrame({"label": labels}, schema={"label": pl.String}).filter(pl.col("label") != "")
    ordered = counts.group_by("label").len().sort(["len", "label"], descending=[True, False])["label"]
    coloured = dict(zip(ordered.head(max_labels), PALETTE, strict=False))
    names = np.array(labels, dtype=object)
    is_other = np.array([name not in coloured for name in labels], dtype=bool)
    for number, (title, points) in enumerate(maps.items(), 1):
        axes = figure.add_subplot(1, len(maps), number)
        if is_other.any():
            axes.scatter(points[is_other, 0], points[is_other, 1], s=6, color="#d1d5db", linewidths=0, label="other")
        for label, colour in coloured.items():
            x, y = points[names == label].T
            axes.scatter(x, y, s=9, color=colour, alpha=0.7, linewidths=0, label=escape_mathtext(label))
        axes.set_title(title, fontsize=10)
        axes.set(xticks=[], yticks=[])
        axes.spines[:].set_color("#d1d5db")
    if maps:
        figure.legend(*axes.get_legend_handles_labels(), ncols=4, fontsize=9, frameon=False, loc="outside lower center")
    return figure


def plot_importance(importance: pl.DataFrame, max_features: int = 20) -> Figure:
    """Plot the features with the largest total gain in the ranker's trees.

    Args:
        importance: `feature`, `gain`, largest first.
        max_features: number of features shown.
    """
    if importance.is_empty():
        return plot_message("no features to show")
    rows = importance.head(max_features).reverse()
    figure = Figure(figsize=(7, 0.28 * rows.height + 1.2), layout="constrained")
    axes = figure.add_subplot()
    total = max(float(importance["gain"].sum()), 1e-12)
    axes.barh([escape_mathtext(name) for name in rows["feature"]], (rows["gain"] / total).to_list(), color=BLUE)
    axes.margins(y=0.02)
    more = importance.height - rows.height
    hidden = f" ({format_count(more, 'smaller feature')} not shown)" if more else ""
    axes.set_xlabel(f"share of the trees' total gain{hidden}")
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    remove_clutter(figure)
    return figure


def plot_message(text: str) -> Figure:
    """Return a figure that only holds a text, where there is nothing to plot."""
    figure = Figure(figsize=(7, 0.8), layout="constrained")
    figure.text(0.5, 0.5, escape_mathtext(text), ha="center", va="center", color=INK)
    return figure


def escape_mathtext(name: str) -> str:
    """Escape dollar signs in catalogue text: matplotlib reads the text between two of them as mathematics."""
    return name.replace("$", r"\$")


def remove_clutter(figure: Figure) -> None:
    """Remove the top and right frame lines of every plot and make the tick labels smaller."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
        axes.tick_params(labelsize=9)


def _ellipsize(name: str, max_characters: int = 40) -> str:
    return name if len(name) <= max_characters else name[: max_characters - 1] + "…"


def _add_legend_above(axes: Axes) -> None:
    axes.legend(ncols=3, fontsize=8, frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1.0))
