"""Plots for notebooks: each takes a table of a run or of a comparison and returns a matplotlib figure."""

from recsys.visuals.curve_plots import plot_curves
from recsys.visuals.data_plots import plot_activity, plot_lengths, plot_long_tail, plot_timeline
from recsys.visuals.plots import (
    plot_importance,
    plot_ledger,
    plot_maps,
    plot_matrix,
    plot_message,
    plot_metric_table,
    plot_outcomes,
    plot_segments,
    plot_source_recall,
)

__all__ = [
    "plot_activity",
    "plot_curves",
    "plot_importance",
    "plot_ledger",
    "plot_lengths",
    "plot_long_tail",
    "plot_maps",
    "plot_matrix",
    "plot_message",
    "plot_metric_table",
    "plot_outcomes",
    "plot_segments",
    "plot_source_recall",
    "plot_timeline",
]
