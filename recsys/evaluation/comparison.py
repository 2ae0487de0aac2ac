"""Models side by side: one value per user, means with intervals, and the tables for the terminal."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import EvaluationConfig
from recsys.errors import DataError
from recsys.evaluation.intervals import bootstrap_means, interval, permutation_p_values, round_for_exact_sums
from recsys.evaluation.metrics import METRICS, Counts, Hits, Values
from recsys.progress import format_count
from recsys.tables import UserMetrics, check

# The name of our own lists among the models.
OURS = "ours"
# Our lists without rules and block lists; measured if either is set.
WITHOUT_RULES = "ours_without_rules"

# Everything that is measured per user, in the order of the tables: the metrics, and what is computed from more than
# hits (`TiedRanks`, `beyond_accuracy`).
MEASURES = (*METRICS, "recall_ips", "novelty", "diversity", "cold_share")

# The columns of a `MetricTable` that hold a mean with its interval, and a difference with its interval.
MEAN = ("mean", "low", "high")
DIFFERENCE = ("difference", "difference_low", "difference_high")

# The key of one value per user.
_MEASURE_KEY = ["model", "metric", "n"]


def score_users(
    model: str, user_ids: pl.Series, hits: Hits, n_positives: Counts, n_values: Sequence[int]
) -> pl.DataFrame:
    """Measure one model's lists with every metric at every n.

    Args:
        model: its name in the tables.
        user_ids: n_users different strings.
        hits: hits in the users' lists, in the same order, from `find_hits` or `TiedRanks.find_hits`; the lists are at
            least as long as the largest n.
        n_positives: `(n_users,)` integers, the number of positives of each user, at least one.
        n_values: list lengths to measure; repeats count once.

    Returns:
        A `UserMetrics` frame, sorted by metric (`METRICS` order), then n, then users as given.

    Raises:
        DataError: user ids that repeat, are missing or do not match the lists; hits or counts that the metrics refuse.
    """
    return pl.concat(
        label_values(model, user_ids, name, n, compute(hits, n_positives, n))
        for name, compute in METRICS.items()
        for n in sorted(set(n_values))
    )


def label_values(model: str, user_ids: pl.Series, metric: str, n: int, values: Values) -> pl.DataFrame:
    """Return one value per user as `UserMetrics`.

    Raises:
        DataError: user ids that repeat, are missing or do not match the values.
    """
    if len(user_ids) != len(values) or user_ids.null_count() or user_ids.n_unique() != len(user_ids):
        raise DataError(
            f"user ids for '{model}': {format_count(len(user_ids), 'id')}, {user_ids.n_unique():,} different, "
            f"{user_ids.null_count():,} null, expected {format_count(len(values), 'different id')}; pass one id per "
            "list"
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

    One bootstrap over users serves every model, metric and n. Users are drawn in the order of their ids, so the order
    of the rows does not matter.

    Args:
        user_metrics: `UserMetrics` of all models, for example the concatenated results of `score_users`.
        ours: the model that the others are compared with.
        config: number of bootstrap samples and confidence.
        seed: of the bootstrap.

    Returns:
        A `MetricTable` frame: models in order of first appearance, metrics in `MEASURES` order, n ascending.
        `difference` is ours minus that model; it and its `p_value` are null in our own rows.

    Raises:
        DataError: not a `UserMetrics` frame, unknown metrics, no model `ours`, or models that do not cover the same
            users, metrics and n.
    """
    columns = _list_columns(user_metrics, ours)
    values = _pivot(user_metrics, columns)
    models = columns["model"].unique(maintain_order=True).to_list()
    cube = values.reshape(len(values), len(models), -1)
    estimates = estimate(cube, models.index(ours), config, seed)
    return columns.with_columns(pl.lit(len(values), dtype=pl.UInt32).alias("users"), *estimates)


def estimate(cube: Values, ours: int, config: EvaluationConfig, seed: int) -> list[pl.Series]:
    """Return means and differences with their intervals and p-values.

    Args:
        cube: `(n_users, n_models, n_measures)` float64, finite.
        ours: index of the model that the others are compared with.
        config: number of bootstrap samples (and of random sign flips) and confidence.
        seed: of both draws.

    Returns:
        `mean`, `low`, `high`, `difference`, `difference_low`, `difference_high`, `p_value`, each of n_models x
        n_measures values, measures changing fastest; the last four are null for our own model.
    """
    n_users, n_models, n_measures = cube.shape
    values = cube.reshape(n_users, -1)
    differences = (cube[:, [ours], :] - cube).reshape(n_users, -1)
    both = round_for_exact_sums(np.hstack([values, differences]))
    low, high = interval(bootstrap_means(both, config.bootstrap_samples, seed), config.confidence)
    means, half = both.mean(axis=0), values.shape[1]
    p_values = permutation_p_values(differences, config.bootstrap_samples, seed)
    is_ours = pl.Series(np.repeat(np.arange(n_models) == ours, n_measures))
    compared = {
        "difference": means[half:],
        "difference_low": low[half:],
        "difference_high": high[half:],
        "p_value": p_values,
    }
    return [
        *(pl.Series(name, ends[:half]) for name, ends in (("mean", means), ("low", low), ("high", high))),
        *(pl.Series(name, numbers).set(is_ours, None) for name, numbers in compared.items()),
    ]


def _list_columns(user_metrics: pl.DataFrame, ours: str) -> pl.DataFrame:
    """Return every (model, metric, n) in the order of the result; raise unless each covers every user."""
    check(UserMetrics, user_metrics, "user metrics", "score the models again")
    models = user_metrics["model"].unique(maintain_order=True)
    if ours not in models:
        raise DataError(f"user metrics: no model '{ours}', found {models.to_list()}; name one of them or score it too")
    unknown = sorted(set(user_metrics["metric"].unique()) - set(MEASURES))
    if unknown:
        raise DataError(
            f"user metrics: unknown metrics {unknown}, expected only {', '.join(MEASURES)}; remove the others"
        )
    in_order = pl.col("metric").cast(pl.Enum(MEASURES))
    measured = user_metrics.select("metric", "n").unique().sort(in_order, "n")
    columns = models.to_frame().join(measured, how="cross", maintain_order="left_right")
    _check_complete(user_metrics, columns)
    return columns


def _check_complete(user_metrics: pl.DataFrame, columns: pl.DataFrame) -> None:
    n_users = user_metrics["user_id"].n_unique()
    users = user_metrics.group_by(_MEASURE_KEY).agg(users=pl.len())
    counts = columns.join(users, on=_MEASURE_KEY, how="left", maintain_order="left")
    partial = counts.with_columns(pl.col("users").fill_null(0)).filter(pl.col("users") != n_users)
    if partial.height:
        first = partial.row(0, named=True)
        raise DataError(
            f"user metrics: model '{first['model']}' has {first['metric']} at {first['n']} for "
            f"{first['users']:,} of {format_count(n_users, 'user')}, expected all "
            f"({format_count(partial.height, 'such gap')}); "
            "score all models on the same users"
        )


def _pivot(user_metrics: pl.DataFrame, columns: pl.DataFrame) -> NDArray[np.float64]:
    """Return the values as `(n_users, n_columns)` float64, users sorted by id; every cell exists exactly once."""
    cells = user_metrics.join(columns.with_row_index("column"), on=_MEASURE_KEY).sort("user_id", "column")
    return cells["value"].to_numpy().reshape(-1, columns.height)
