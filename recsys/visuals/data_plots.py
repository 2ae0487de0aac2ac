"""Plots of the data itself: events and windows in time, how active users are, how long the tail, how long the texts."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

import numpy as np
import polars as pl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray

from recsys.visuals.plots import BLUE, GREY, INK, PALETTE, escape_mathtext, remove_clutter

_WINDOWS = ("#e5e7eb", "#fde68a", "#bfdbfe")


def plot_timeline(events: pl.DataFrame, windows: Sequence[tuple[str, datetime, datetime]]) -> Figure:
    """Draw how many events each day had, by kind, above the windows that a run cuts the time into.

    Args:
        events: `time`, `event`: a row per event; the most frequent kind at the bottom.
        windows: name, start and end (the first instant after it), newest first; what lies before the oldest is `fit`.
    """
    figure = Figure(figsize=(9, 4), layout="constrained")
    counts, line = figure.subplots(2, 1, height_ratios=[5, 1], sharex=True)
    days = events.group_by(pl.col("time").dt.truncate("1d").alias("day"), "event").len()
    kinds = events["event"].value_counts().sort(["count", "event"], descending=[True, False])["event"].to_list()
    table = days.pivot("event", index="day", values="len").sort("day").fill_null(0)
    below = np.zeros(table.height)
    for number, kind in enumerate(kinds):
        height = table[kind].to_numpy().astype(np.float64)
        colour = PALETTE[number % len(PALETTE)]
        counts.bar(
            table["day"].to_list(), height, 0.9, bottom=below, color=colour, label=escape_mathtext(kind), align="edge"
        )
        below += height
    counts.set_ylabel("events a day")
    counts.legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
    first = table["day"].min()
    spans = [*windows, *([("fit", first, windows[-1][1])] if isinstance(first, datetime) and windows else [])]
    for number, (name, start, end) in enumerate(reversed(spans)):
        colour = _WINDOWS[min(number, 1)] if name != spans[0][0] else _WINDOWS[2]
        line.barh([0], [end - start], left=start, color=colour, edgecolor="white")
        line.text(start + (end - start) / 2, 0, name, ha="center", va="center", fontsize=9, color=INK)
    line.set_yticks([])
    remove_clutter(figure)
    line.spines["left"].set_visible(False)
    return figure


def plot_activity(lengths: NDArray[np.int64], new: int, heavy: int) -> Figure:
    """Draw how many distinct items users have, new, light and heavy users in their colours.

    Args:
        lengths: `(n_users,)` distinct items in each history.
        new: a user with at most so many is new.
        heavy: a user with more than so many is heavy.
    """
    parts = {
        f"new (at most {new})": lengths[lengths <= new],
        "light": lengths[(lengths > new) & (lengths <= heavy)],
        f"heavy (more than {heavy})": lengths[lengths > heavy],
    }
    figure = Figure(figsize=(7.5, 3.4), layout="constrained")
    axes = figure.add_subplot()
    longest = max(2, int(lengths.max(initial=1)))
    edges = np.unique(np.geomspace(1, longest + 1, 40).astype(np.int64))
    for (name, some), colour in zip(parts.items(), (GREY, "#93c5fd", BLUE), strict=True):
        share = len(some) / max(1, len(lengths))
        axes.hist(some, bins=edges.tolist(), color=colour, label=f"{name}: {share:.0%} of users", edgecolor="white")
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.set(xlabel="distinct items in the history (log scale)", ylabel="users")
    axes.legend(fontsize=9, frameon=False, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0))
    remove_clutter(figure)
    return figure


def plot_long_tail(item_users: NDArray[np.int64]) -> Figure:
    """Draw how the users spread over the items: by rank, and as the share that the most popular items hold.

    Args:
        item_users: `(n_items,)` users who touched each item, 0 where nobody did.
    """
    ordered = np.sort(item_users)[::-1].astype(np.float64)
    touched = ordered[ordered > 0]
    figure = Figure(figsize=(9, 3.2), layout="constrained")
    ranks, shares = figure.subplots(1, 2)
    ranks.loglog(np.arange(1, len(touched) + 1), touched, color=BLUE)
    ranks.set(xlabel=f"item by popularity ({len(ordered) - len(touched):,} touched by nobody)", ylabel="users")
    for axis in (ranks.xaxis, ranks.yaxis):
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    items = np.arange(len(ordered) + 1) / max(1, len(ordered))
    held = np.concatenate([[0.0], np.cumsum(ordered)]) / max(1.0, ordered.sum())
    shares.plot(items, held, color=BLUE, label="these items")
    shares.plot([0, 1], [0, 1], color=GREY, linestyle="--", label="if all were the same")
    shares.set(xlabel="share of the items, most popular first", ylabel="share of the touches")
    _as_shares(shares)
    shares.legend(fontsize=8, frameon=False, loc="lower right")
    remove_clutter(figure)
    return figure


def plot_lengths(lengths: NDArray[np.int64], unit: str, limit: int | None = None) -> Figure:
    """Draw how long the texts are, and where they would be cut.

    Args:
        lengths: `(n_texts,)` length of each.
        unit: what was counted, such as `characters`.
        limit: texts are cut here; None: nowhere.
    """
    figure = Figure(figsize=(7, 2.8), layout="constrained")
    axes = figure.add_subplot()
    # From 0, so that texts of one length are seen as well.
    edges = np.linspace(0, max(1, int(lengths.max(initial=0)), limit or 0), 41)
    axes.hist(lengths, bins=edges.tolist(), color=BLUE, edgecolor="white")
    if limit is not None:
        axes.axvline(limit, color=INK, linestyle="--", linewidth=1)
        axes.text(limit, 0.95, f"cut at {limit:,} ", fontsize=9, ha="right", transform=axes.get_xaxis_transform())
    axes.set(xlabel=f"{unit} of text", ylabel="items", xlim=(0, None))
    remove_clutter(figure)
    return figure


def _as_shares(axes: Axes) -> None:
    axes.set(xlim=(0, 1), ylim=(0, 1))
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0, decimals=0))
