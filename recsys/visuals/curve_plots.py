"""Plots of learning curves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from recsys.extras import needs_extra
from recsys.visuals.curves import Curve, split_curve
from recsys.visuals.plots import BLUE, GREY, INK, remove_clutter

with needs_extra("report", "plots"):
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator


def plot_curves(curves: Mapping[str, Sequence[float]], parts: Mapping[str, Sequence[int]] | None = None) -> Figure:
    """Plot one panel per curve, value by epoch, tree or step; a curve without values is marked as such.

    Trainings that follow each other are not joined.

    Args:
        curves: name -> values.
        parts: `curve_parts` of a run's `measured`: name -> number of values of each training; None: unknown.
    """
    figure = Figure(figsize=(3.6 * max(1, len(curves)), 3.0), layout="constrained")
    for number, (name, values) in enumerate(curves.items(), 1):
        _draw_curve(figure.add_subplot(1, len(curves), number), split_curve(name, values, parts))
    remove_clutter(figure)
    return figure


def _draw_curve(axes: Axes, curve: Curve) -> None:
    dots = not curve.joined or len(curve.values) < 20
    for number, (name, points) in enumerate(curve.parts.items()):
        at, values = zip(*points, strict=True)
        line = "-" if curve.joined else "none"
        axes.plot(at, values, linestyle=line, color=BLUE, marker="o" if dots else None, markersize=3)
        if number:
            axes.axvline(at[0] - 0.5, color=GREY, linewidth=0.8)
            axes.annotate(name, (at[0] - 0.4, 1), xycoords=("data", "axes fraction"), fontsize=8, va="top", color=INK)
    axes.set_title(curve.title, fontsize=10)
    axes.set_xlabel(curve.unit)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    if not curve.values:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no steps", ha="center", va="center", transform=axes.transAxes)
