"""Models side by side: a value per user, means with intervals, and a table for the terminal."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text

from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import bootstrap_means, interval, permutation_p_values, round_for_exact_sums
from recsys.evaluation.metrics import METRICS, Counts, Hits, Values
from recsys.tables import UserMetrics, check

# The name our own lists go by beside the baselines.
OURS = "ours"

# Everything that is measured per user, in the order that tables show it: the metrics, and what does not ask for hits
# alone (`TiedRanks`, `beyond_accuracy`).
MEASURES = (*METRICS, "recall_ips", "novelty", "diversity", "cold_share")

# Columns of a `MetricTable` that make a mean with its interval, and a difference with its own.
MEAN = ("mean", "low", "high")
DIFFERENCE = ("difference", "difference_low", "difference_high")

# What makes one column of numbers: a value per user.
_COLUMN = ["model", "metric", "n"]


def score_users(
    model: str, user_ids: pl.Series, hits: Hits, n_positives: Counts, n_values: Sequence[int]
) -> pl.DataFrame:
    """Measure one model's lists with every metric at every n.

    Args:
        model: the name it goes by in tables.
        user_ids: n_users different strings.
        hits: what stands in the users' lists, in the same order: `find_hits` or `TiedRanks.find_hits`; at least as
            many places as the largest n.
        n_positives: `(n_users,)` integers, how many items each user took, at least one.
        n_values: list lengths to measure; repeats count once.

    Returns:
        A `UserMetrics` frame, sorted by metric (`METRICS` order), then n, then users as given.

    Raises:
        DataError: user ids that repeat, are missing or do not match the lists; hits or counts that the metrics refuse.
    """
    return pl.concat(
        label_values(model, user_ids, name, n, measure(hits, n_positives, n))
        for name, measure in METRICS.items()
        for n in sorted(set(n_values))
    )


def label_values(model: str, user_ids: pl.Series, metric: str, n: int, values: Values) -> pl.DataFrame:
    """Return `UserMetrics` of one value per user.

    Raises:
        DataError: user ids that repeat, are missing or do not match the values.
    """
    if len(user_ids) != len(values) or user_ids.null_count() or user_ids.n_unique() != len(user_ids):
        raise DataError(
            f"user ids for '{model}': {len(user_ids):,} ids, {user_ids.n_unique():,} different, "
            f"{user_ids.null_count():,} null, expected {len(values):,} different ids; give one per list"
        )
    return pl.DataFrame({"user_id": user_ids.cast(pl.String)}).select(
        pl.lit(model).alias("model"),
        pl.col("user_id"),
        pl.lit(metric).alias("metric"),
        pl.lit(n, dtype=pl.UInt16).alias("n"),
        pl.Series("value", values),
    )


def summarise(user_metrics: pl.DataFrame, ours: str, config: EvaluationConfig, seed: int) -> pl.DataFrame:
    """Average over users, with intervals, and compare every model with ours on the same users.

    One bootstrap over users serves every model, metric and n. Users are drawn in the order of their ids, so
    the order they stand in changes nothing.

    Args:
        user_metrics: `UserMetrics` of all models, such as the `score_users` frames one below the other.
        ours: the model that the others are compared with.
        config: number of bootstrap samples and confidence.
        seed: of the bootstrap.

    Returns:
        A `MetricTable` frame: models in order of first appearance, metrics in `MEASURES` order, n rising.
        `difference` is ours minus that model, null on our own rows, and so is its `p_value`.

    Raises:
        DataError: not a `UserMetrics` frame, unknown metrics, no model `ours`, or models that do not cover
            the same users, metrics and n.
    """
    columns = _find_columns(user_metrics, ours)
    values = _lay_out(user_metrics, columns)
    models = columns["model"].unique(maintain_order=True).to_list()
    cube = values.reshape(len(values), len(models), -1)
    estimates = estimate(cube, models.index(ours), config, seed)
    return columns.with_columns(pl.lit(len(values), dtype=pl.UInt32).alias("users"), *estimates)


def estimate(cube: Values, ours: int, config: EvaluationConfig, seed: int) -> list[pl.Series]:
    """Return means and differences with their intervals and p-values.

    Args:
        cube: `(n_users, n_models, n_measures)` float64, finite.
        ours: the model that the others are compared with.
        config: bootstrap samples (as many sign flips are drawn) and confidence.
        seed: of both draws.

    Returns:
        `mean`, `low`, `high`, `difference`, `difference_low`, `difference_high`, `p_value`, each of n_models x
        n_measures values, measures changing fastest; the last four are null for our own model.
    """
    n_users, n_models, n_measures = cube.shape
    values = cube.reshape(n_users, -1)
    differences = (cube[:, [ours], :] - cube).reshape(n_users, -1)
    everything = round_for_exact_sums(np.hstack([values, differences]))
    low, high = interval(bootstrap_means(everything, config.bootstrap_samples, seed), config.confidence)
    means, half = everything.mean(axis=0), values.shape[1]
    p_values = permutation_p_values(differences, config.bootstrap_samples, seed)
    own = pl.Series(np.repeat(np.arange(n_models) == ours, n_measures))
    compared = {
        "difference": means[half:],
        "difference_low": low[half:],
        "difference_high": high[half:],
        "p_value": p_values,
    }
    return [
        *(pl.Series(name, ends[:half]) for name, ends in (("mean", means), ("low", low), ("high", high))),
        *(pl.Series(name, found).set(own, None) for name, found in compared.items()),
    ]


def flatten_metrics(metrics: pl.DataFrame, catalogue: pl.DataFrame, model: str) -> dict[str, float]:
    """Return one model's measurement as single numbers for a tracker.

    `METRIC_at_N` with `_low` and `_high`; of every model but ours also `_difference` (ours minus it) with its ends and
    `_p_value`; `coverage` and `gini`.

    Args:
        metrics: a `MetricTable`.
        catalogue: a `CatalogueTable`.
        model: one of both.
    """
    parts = ("low", "high", "difference", "difference_low", "difference_high", "p_value")
    named: dict[str, float] = {}
    for row in metrics.filter(pl.col("model") == model).iter_rows(named=True):
        name = f"{row['metric']}_at_{row['n']}"
        named |= {name: row["mean"], **{f"{name}_{part}": row[part] for part in parts if row[part] is not None}}
    shown = catalogue.row(by_predicate=pl.col("model") == model, named=True)
    return {**named, "coverage": shown["coverage"], "gini": shown["gini"]}


def render_metric_table(
    table: pl.DataFrame,
    ours: str,
    metrics: Sequence[str] = ("ndcg", "recall", "mrr", "hit_rate"),
    n: int = 10,
    *,
    confidence: float,
) -> Table:
    """Lay a metric table out for the terminal, one row per model in the table's order.

    Args:
        table: a `MetricTable` frame from `summarise`.
        ours: the model the others were compared with; its row stands out.
        metrics: the columns, left to right; the differences shown are those of the first.
        n: the list length to show.
        confidence: of the intervals, for the title.

    Raises:
        DataError: the table lacks the model, one of the metrics, or n.
    """
    shown = table.filter(pl.col("n") == n, pl.col("metric").is_in(list(metrics)))
    lacking = sorted(set(metrics) - set(shown["metric"]))
    if not metrics or lacking or ours not in shown["model"]:
        raise DataError(
            f"metric table: no {', '.join(lacking) or 'rows'} at n = {n} for model '{ours}'; found models "
            f"{table['model'].unique(maintain_order=True).to_list()}, metrics "
            f"{table['metric'].unique(maintain_order=True).to_list()}, "
            f"n {table['n'].unique().sort().to_list()}; show some of those"
        )
    title = f"n = {n}, {shown['users'][0]:,} users, {100 * confidence:.4g}% intervals"
    rendered = Table(title=title)
    rendered.add_column("model", overflow="fold")
    for name in metrics:
        rendered.add_column(name, justify="right")
    rendered.add_column(f"difference, {metrics[0]}", justify="right")
    for model in shown["model"].unique(maintain_order=True):
        rows = {row["metric"]: row for row in shown.filter(pl.col("model") == model).iter_rows(named=True)}
        means = [format_interval(rows[name], MEAN, ".3f") for name in metrics]
        # Texts, not strings: brackets in a model's name must not be read as markup.
        if model == ours:
            rendered.add_row(*map(Text, (model, *means, "(ours)")), style="bold green")
        else:
            chance = format_p_value(rows[metrics[0]]["p_value"])
            ahead = f"ours {format_interval(rows[metrics[0]], DIFFERENCE, '+.3f')} {chance}"
            rendered.add_row(*map(Text, (model, *means, ahead)))
    return rendered


def render_beyond_accuracy(table: pl.DataFrame, catalogue: pl.DataFrame, n: int, *, confidence: float) -> Table:
    """Lay out what the lists are like beside being right: a mean per model with its interval, and two shares.

    Args:
        table: a `MetricTable` with novelty, diversity and cold_share at n.
        catalogue: a `CatalogueTable`.
        n: list length.
        confidence: of the intervals, for the title.
    """
    names = ("novelty", "diversity", "cold_share")
    rendered = Table(title=f"what the lists of {n} show, {100 * confidence:.4g}% intervals")
    for name in ("model", "novelty, bits", "diversity", "cold items", "catalogue shown", "Gini of exposure"):
        rendered.add_column(name, justify="left" if name == "model" else "right", overflow="fold")
    rows = {(row["model"], row["metric"]): row for row in table.filter(pl.col("n") == n).iter_rows(named=True)}
    for shown in catalogue.iter_rows(named=True):
        means = [format_interval(rows[shown["model"], name], MEAN, ".3f") for name in names]
        rendered.add_row(*map(Text, (shown["model"], *means, f"{shown['coverage']:.1%}", f"{shown['gini']:.2f}")))
    return rendered


def format_interval(row: dict[str, Any], names: tuple[str, str, str], number: str) -> str:
    """Write a mean and its interval as `0.123 [0.110, 0.136]`."""
    middle, low, high = (format(row[name], number) for name in names)
    return f"{middle} [{low}, {high}]"


def format_p_value(value: float) -> str:
    """Write a p-value as `p 0.032`, rounded up so that none shows as 0."""
    return f"p {math.ceil(1000 * value - 1e-9) / 1000:.3f}"


def _find_columns(user_metrics: pl.DataFrame, ours: str) -> pl.DataFrame:
    """Return every (model, metric, n) in the order of the result, once each is known to have every user."""
    check(UserMetrics, user_metrics, "user metrics", "score the models again")
    models = user_metrics["model"].unique(maintain_order=True)
    if ours not in models:
        raise DataError(f"user metrics: no model '{ours}', found {models.to_list()}; name one of them or score it too")
    unknown = sorted(set(user_metrics["metric"].unique()) - set(MEASURES))
    if unknown:
        raise DataError(
            f"user metrics: unknown metrics {unknown}, expected among {', '.join(MEASURES)}; leave them out"
        )
    in_order = pl.col("metric").cast(pl.Enum(MEASURES))
    measured = user_metrics.select("metric", "n").unique().sort(in_order, "n")
    columns = models.to_frame().join(measured, how="cross", maintain_order="left_right")
    n_users = user_metrics["user_id"].n_unique()
    counts = columns.join(
        user_metrics.group_by(_COLUMN).agg(users=pl.len()), on=_COLUMN, how="left", maintain_order="left"
    ).with_columns(pl.col("users").fill_null(0))
    partial = counts.filter(pl.col("users") != n_users)
    if partial.height:
        first = partial.row(0, named=True)
        raise DataError(
            f"user metrics: model '{first['model']}' has {first['metric']} at {first['n']} for "
            f"{first['users']:,} of {n_users:,} users, expected all ({partial.height} such gaps); "
            "score all models on the same users"
        )
    return columns


def _lay_out(user_metrics: pl.DataFrame, columns: pl.DataFrame) -> NDArray[np.float64]:
    """Return the values as `(n_users, n_columns)` float64, users sorted; each cell is known to exist once."""
    cells = user_metrics.join(columns.with_row_index("column"), on=_COLUMN).sort("user_id", "column")
    return cells["value"].to_numpy().reshape(-1, columns.height)
