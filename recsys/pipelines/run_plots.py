"""The plots in the folder of a run; without the extra `report`, a training leaves them out."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import polars as pl

from recsys.config import Config
from recsys.evaluation.comparison import OURS
from recsys.extras import find_missing_report_package, format_install
from recsys.progress import logger
from recsys.training.fitting import Fitted
from recsys.training.list_measurement import BLEND


def draw_run(
    folder: Path,
    config: Config,
    evaluated: Fitted,
    tables: Mapping[str, pl.DataFrame],
    measured: Mapping[str, Any],
    curves: Mapping[str, list[float]],
    cache: Path | None = None,
) -> None:
    """Write the plots of a measurement as PNG and the embedding map as HTML.

    Where a package of the extra `report` is missing, the folder stays empty and a log line says so.

    Args:
        folder: the folder to make.
        config: all settings.
        evaluated: the evaluation model.
        tables: the tables of the run, by their names in `Run`.
        measured: results that are not tables.
        curves: losses and validation scores by name.
        cache: of the plotting library of pages.
    """
    folder.mkdir()
    if missing := find_missing_report_package():
        logger.warning(
            "plots and embedding map: not written, since the package %s is not installed; run %s",
            *(missing, format_install("report")),
        )
        return
    _draw_tables(folder, config, tables, measured, curves)
    _draw_embedding_map(folder, config, evaluated, cache)


def _draw_tables(
    folder: Path,
    config: Config,
    tables: Mapping[str, pl.DataFrame],
    measured: Mapping[str, Any],
    curves: Mapping[str, list[float]],
) -> None:
    from recsys.visuals.curve_plots import plot_curves
    from recsys.visuals.plots import plot_importance, plot_ledger, plot_metric_table, plot_segments

    metric, n = config.evaluation.metric, config.evaluation.n
    drawn = {
        "metrics": plot_metric_table(tables["metrics"], metric, n, OURS),
        "segments": plot_segments(tables["segments"], metric, n, OURS, BLEND),
        "ledger": plot_ledger(measured, tables["depths"]),
        "importance": plot_importance(tables["importance"]),
        "curves": plot_curves(curves, measured.get("curve_parts")),
    }
    for name, figure in drawn.items():
        figure.savefig(folder / f"{name}.png", dpi=120)


def _draw_embedding_map(folder: Path, config: Config, evaluated: Fitted, cache: Path | None) -> None:
    from recsys.visuals.embedding_map import group_items, render_embedding_map

    bundle = evaluated.bundle
    items = bundle.items
    columns = (*config.evaluation.segments.item_columns, "tags", *config.dataset.items.attributes)
    titles = items["title"].zip_with(items["title"].str.strip_chars() != "", items["item_id"]).to_list()
    groups = group_items(items, columns)
    page = render_embedding_map(bundle.embeddings, titles, groups, bundle.statistics.users, cache)
    (folder / "embedding_map.html").write_text(page, "utf-8")
