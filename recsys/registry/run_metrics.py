"""What a training measured, as MLflow metrics.

MLflow shows metrics without a slash first, and the others in one section per group. The accuracy of our lists has no
group; everything that explains it does: `ci` (ends of intervals), `vs_blend` (ours minus the blend), `lost`, `cold`,
`lists`, `candidates`, `cost`, `ranker`, and `training` (curves). The run of a baseline has `ours_minus_this` instead of
`vs_blend`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsys.evaluation.comparison import OURS
from recsys.evaluation.metrics import METRICS

BLEND = "blend"
OURS_MINUS_THIS = "ours_minus_this"
_VS_BLEND = "vs_blend"
_COLD_ITEMS = ("items", "cold")
# Metrics per user without hits, and their group; all others are accuracy.
_GROUPS = {"novelty": "lists", "diversity": "lists", "cold_share": "cold"}
_SHORT_NAMES = {"cold_share": "share"}
_LOSSES = {"retrieval": "by_retrieval", "ranker": "by_ranking", "rules": "by_rules"}


def name_metrics(
    metrics: pl.DataFrame, segments: pl.DataFrame, catalogue: pl.DataFrame, n: int
) -> dict[str, dict[str, float]]:
    """Return the numbers of each model by their names in MLflow.

    Args:
        metrics: a `MetricTable`.
        segments: a `SegmentTable`.
        catalogue: a `CatalogueTable`; its models are returned.
        n: list length at which models are compared; intervals and differences are logged for this one only.
    """
    return {model: _name_model(metrics, segments, catalogue, model, n) for model in catalogue["model"]}


def name_measured(measured: Mapping[str, Any]) -> dict[str, float]:
    """Return what was measured of our lists without a value per model: losses and costs.

    Args:
        measured: `Run.measured`.
    """
    losses = measured["losses"]
    unit = f"{losses['metric']}_at_{losses['n']}"
    lost = {f"lost/{name}_{unit}": losses[part][0] for part, name in _LOSSES.items() if part in losses}
    return {
        **lost,
        "candidates/union_recall": measured["union_recall"],
        "lists/fallback_share": measured["fallback_share"],
        "cost/bytes_per_1000_users": measured["bytes_per_1000_users"],
    }


def name_curves(curves: Mapping[str, Sequence[float]]) -> dict[str, list[float]]:
    """Return the curves of a training by their names in MLflow."""
    return {f"training/{name}": list(values) for name, values in curves.items()}


def _name_model(
    metrics: pl.DataFrame, segments: pl.DataFrame, catalogue: pl.DataFrame, model: str, n: int
) -> dict[str, float]:
    numbers: dict[str, float] = {}
    for row in metrics.filter(pl.col("model") == model).iter_rows(named=True):
        group = _GROUPS.get(row["metric"])
        name = f"{_SHORT_NAMES.get(row['metric'], row['metric'])}_at_{row['n']}"
        numbers[f"{group}/{name}" if group else name] = row["mean"]
        if group is None and row["n"] == n:
            numbers |= {f"ci/{name}_{end}": row[end] for end in ("low", "high")}
    numbers |= _name_differences(metrics, model, n) | _name_cold(segments, model)
    shown = catalogue.row(by_predicate=pl.col("model") == model, named=True)
    return numbers | {f"lists/{name}": shown[name] for name in ("coverage", "gini")}


def _name_differences(metrics: pl.DataFrame, model: str, n: int) -> dict[str, float]:
    """Return ours minus the model; for our own model, ours minus the blend."""
    group, rival = (_VS_BLEND, BLEND) if model == OURS else (OURS_MINUS_THIS, model)
    rows = metrics.filter(pl.col("model") == rival, pl.col("n") == n, pl.col("metric").is_in(list(METRICS)))
    numbers: dict[str, float] = {}
    for row in rows.iter_rows(named=True):
        name = f"{group}/{row['metric']}_at_{n}"
        numbers[name] = row["difference"]
        numbers |= {f"{name}_{end}": row[f"difference_{end}"] for end in ("low", "high")}
        numbers[f"{name}_p_value"] = row["p_value"]
    return numbers


def _name_cold(segments: pl.DataFrame, model: str) -> dict[str, float]:
    """Return the recall of cold items with its interval; nothing where the test window has none."""
    dimension, segment = _COLD_ITEMS
    rows = segments.filter(
        pl.col("model") == model,
        pl.col("dimension") == dimension,
        pl.col("segment") == segment,
        pl.col("metric") == "recall",
    )
    numbers: dict[str, float] = {}
    for row in rows.iter_rows(named=True):
        name = f"cold/recall_at_{row['n']}"
        numbers |= {name: row["mean"], f"{name}_low": row["low"], f"{name}_high": row["high"]}
    return numbers
