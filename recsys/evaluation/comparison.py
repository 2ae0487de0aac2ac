"""Models side by side: a value per user, means with intervals, and a table for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from rich.table import Table
from rich.text import Text
from scipy.sparse import csr_array

from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import bootstrap_means, interval, round_for_exact_sums
from recsys.evaluation.metrics import METRICS, Integers, count_positives, find_hits
from recsys.tables import UserMetrics, check

# The name our own lists go by beside the baselines.
OURS = "ours"

# What makes one column of numbers: a value per user.
_COLUMN = ["model", "metric", "n"]


def score_users(
    model: str, user_ids: pl.Series, lists: Integers, positives: csr_array, n_values: Sequence[int]
) -> pl.DataFrame:
    """Measure one model's lists with every metric at every n.

    Args:
        model: the name it goes by in tables.
        user_ids: n_users different strings.
        lists: `(n_users, list_length)` int32 item indices, best first, -1 at the end of short lists; at least
            as many places as the largest n.
        positives: `(n_users, n_items)` bool or uint8, what each user took; at least one item each.
        n_values: list lengths to measure; repeats count once.

    Returns:
        A `UserMetrics` frame, sorted by metric (`METRICS` order), then n, then users as given.

    Raises:
        DataError: user ids that repeat, are missing or do not match the lists; lists or positives that
            `find_hits` or the metrics refuse.
    """
    if len(user_ids) != len(lists) or user_ids.null_count() or user_ids.n_unique() != len(user_ids):
        raise DataError(
            f"user ids for '{model}': {len(user_ids):,} ids, {user_ids.n_unique():,} different, "
            f"{user_ids.null_count():,} null, expected {len(lists):,} different ids; give one per list"
        )
    hits = find_hits(lists, positives)
    n_positives = count_positives(positives)
    users = pl.DataFrame({"user_id": user_ids.cast(pl.String)})
    return pl.concat(
        users.select(
            pl.lit(model).alias("model"),
            pl.col("user_id"),
            pl.lit(name).alias("metric"),
            pl.lit(n, dtype=pl.UInt16).alias("n"),
            pl.Series("value", measure(hits, n_positives, n)),
        )
        for name, measure in METRICS.items()
        for n in sorted(set(n_values))
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
        A `MetricTable` frame: models in order of first appearance, metrics in `METRICS` order, n rising.
        `difference` is ours minus that model, null on our own rows.

    Raises:
        DataError: not a `UserMetrics` frame, unknown metrics, no model `ours`, or models that do not cover
            the same users, metrics and n.
    """
    columns = _find_columns(user_metrics, ours)
    values = _lay_out(user_metrics, columns)
    models = columns["model"].unique(maintain_order=True)
    cube = values.reshape(len(values), len(models), -1)
    our_place = models.to_list().index(ours)
    differences = (cube[:, [our_place], :] - cube).reshape(values.shape)
    everything = round_for_exact_sums(np.hstack([values, differences]))
    low, high = interval(bootstrap_means(everything, config.bootstrap_samples, seed), config.confidence)
    means = everything.mean(axis=0)
    half = values.shape[1]
    is_other = pl.col("model") != ours
    return columns.with_columns(
        pl.lit(len(values), dtype=pl.UInt32).alias("users"),
        pl.Series("mean", means[:half]),
        pl.Series("low", low[:half]),
        pl.Series("high", high[:half]),
        pl.when(is_other).then(pl.Series(means[half:])).alias("difference"),
        pl.when(is_other).then(pl.Series(low[half:])).alias("difference_low"),
        pl.when(is_other).then(pl.Series(high[half:])).alias("difference_high"),
    )


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
        means = [_write(rows[name], ("mean", "low", "high"), ".3f") for name in metrics]
        # Texts, not strings: brackets in a model's name must not be read as markup.
        if model == ours:
            rendered.add_row(*map(Text, (model, *means, "(ours)")), style="bold green")
        else:
            ends = ("difference", "difference_low", "difference_high")
            ahead = f"ours {_write(rows[metrics[0]], ends, '+.3f')}"
            rendered.add_row(*map(Text, (model, *means, ahead)))
    return rendered


def _write(row: dict[str, Any], names: tuple[str, str, str], number: str) -> str:
    """Write a mean and its interval as `0.123 [0.110, 0.136]`."""
    middle, low, high = (format(row[name], number) for name in names)
    return f"{middle} [{low}, {high}]"


def _find_columns(user_metrics: pl.DataFrame, ours: str) -> pl.DataFrame:
    """Return every (model, metric, n) in the order of the result, once each is known to have every user."""
    check(UserMetrics, user_metrics, "user metrics", "score the models again")
    models = user_metrics["model"].unique(maintain_order=True)
    if ours not in models:
        raise DataError(f"user metrics: no model '{ours}', found {models.to_list()}; name one of them or score it too")
    unknown = sorted(set(user_metrics["metric"].unique()) - set(METRICS))
    if unknown:
        raise DataError(f"user metrics: unknown metrics {unknown}, expected among {', '.join(METRICS)}; leave them out")
    in_order = pl.col("metric").cast(pl.Enum(list(METRICS)))
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
