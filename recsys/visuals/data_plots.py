"""Plots of the data: events and windows over time, user activity, item popularity and text lengths."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.extras import needs_extra
from recsys.progress import format_count
from recsys.visuals.palette import PALE_GREY, PALETTE, SKY
from recsys.visuals.plots import BLUE, GREY, INK, escape_mathtext, remove_clutter

with needs_extra("report", "plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter, PercentFormatter

# Pale, because their names are written on them.
_FIT_COLOUR, _LABEL_COLOUR, _TEST_COLOUR = PALE_GREY, "#f7d891", "#a9d8f4"


def plot_timeline(events: pl.DataFrame, windows: Sequence[tuple[str, datetime, datetime]]) -> Figure:
    """Plot the number of events per day by kind, above the windows of a run.

    Args:
        events: `time`, `event`, a row per event; the most frequent kind is at the bottom.
        windows: name, start and end (exclusive), newest first; the time before the oldest is `fit`.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    counts, line = figure.subplots(2, 1, height_ratios=[5, 1], sharex=True)
    first_day = _draw_daily_counts(counts, events)
    spans = [*windows, *([("fit", first_day, windows[-1][1])] if first_day is not None and windows else [])]
    for number, (name, start, end) in enumerate(reversed(spans)):
        colour = _TEST_COLOUR if name == spans[0][0] else _FIT_COLOUR if number == 0 else _LABEL_COLOUR
        line.barh([0], [end - start], left=start, color=colour, edgecolor="white")
        line.text(start + (end - start) / 2, 0, name, ha="center", va="center", fontsize=9, color=INK)
    line.set_yticks([])
    remove_clutter(figure)
    line.spines["left"].set_visible(False)
    return figure


def _draw_daily_counts(axes: Axes, events: pl.DataFrame) -> datetime | None:
    """Draw stacked bars of the events per day and kind; return the first day."""
    days = events.group_by(pl.col("time").dt.truncate("1d").alias("day"), "event").len()
    kinds = events["event"].value_counts().sort(["count", "event"], descending=[True, False])["event"].to_list()
    table = days.pivot("event", index="day", values="len").sort("day").fill_null(0)
    bottom = np.zeros(table.height)
    for number, kind in enumerate(kinds):
        height = table[kind].to_numpy().astype(np.float64)
        colour, label = PALETTE[number % len(PALETTE)], escape_mathtext(kind)
        axes.bar(table["day"].to_list(), height, 0.9, bottom=bottom, color=colour, label=label, align="edge")
        bottom += height
    axes.set_ylabel("events per day")
    axes.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    first_day = table["day"].min()
    return first_day if isinstance(first_day, datetime) else None


def plot_activity(lengths: NDArray[np.int64], new: int, heavy: int) -> Figure:
    """Plot a histogram of the number of distinct items per user, with new, light and heavy users in their colours.

    Args:
        lengths: `(n_users,)` distinct items in each history.
        new: largest number of items of a new user.
        heavy: largest number of items of a light user; users with more are heavy.
    """
    groups = {
        f"new (at most {new})": lengths[lengths <= new],
        "light": lengths[(lengths > new) & (lengths <= heavy)],
        f"heavy (more than {heavy})": lengths[lengths > heavy],
    }
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    longest = max(2, int(lengths.max(initial=1)))
    edges = np.unique(np.geomspace(1, longest + 1, 40).astype(np.int64))
    for (name, group), colour in zip(groups.items(), (GREY, SKY, BLUE), strict=True):
        share = len(group) / max(1, len(lengths))
        axes.hist(group, bins=edges.tolist(), color=colour, label=f"{name}: {share:.0%} of users", edgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(xlabel="distinct items in the history (log scale)", ylabel="users")
    axes.legend(fontsize=9, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    remove_clutter(figure)
    return figure


def plot_long_tail(item_users: NDArray[np.int64]) -> Figure:
    """Plot the popularity of the items: users by rank, and the share of all interactions of the most popular items.

    Args:
        item_users: `(n_items,)` number of users who interacted with each item.
    """
    ordered = np.sort(item_users)[::-1].astype(np.float64)
    with_users = ordered[ordered > 0]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    ranks, shares = figure.subplots(1, 2)
    ranks.loglog(np.arange(1, len(with_users) + 1), with_users, color=BLUE)
    without = format_count(len(ordered) - len(with_users), "item")
    ranks.set(xlabel=f"item by popularity ({without} without users)", ylabel="users of the item")
    for axis in (ranks.xaxis, ranks.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    items = np.arange(len(ordered) + 1) / max(1, len(ordered))
    cumulative = np.concatenate([[0.0], np.cumsum(ordered)]) / max(1.0, ordered.sum())
    shares.plot(items, cumulative, color=BLUE, label="this catalogue")
    shares.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="if all items were equally popular")
    shares.set(xlabel="share of the items, most popular first", ylabel="share of the user-item pairs")
    _format_as_shares(shares)
    shares.legend(fontsize=8, frameon=False, loc="lower right")
    remove_clutter(figure)
    return figure


def plot_lengths(lengths: NDArray[np.int64], unit: str, limit: int | None = None) -> Figure:
    """Plot a histogram of text lengths, and the length at which texts are cut.

    Args:
        lengths: `(n_texts,)` length of each.
        unit: of the lengths, such as `characters`.
        limit: length at which texts are cut; None if they are not.
    """
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    # From 0, so that texts of the same length are visible as well.
    edges = np.linspace(0, max(1, int(lengths.max(initial=0)), limit or 0), 41)
    axes.hist(lengths, bins=edges.tolist(), color=BLUE, edgecolor="white")
    if limit is not None:
        axes.axvline(limit, color=INK, linewidth=1)
        axes.text(limit, 0.95, f"cut at {limit:,} ", fontsize=9, ha="right", transform=axes.get_xaxis_transform())
    axes.set(xlabel=f"{unit} of text", ylabel="items", xlim=(0, None))
    remove_clutter(figure)
    return figure


def _format_as_shares(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
