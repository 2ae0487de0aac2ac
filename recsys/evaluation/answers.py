"""The answers of the notebooks, written from the tables: a verdict follows from its interval, never from the author.

Each function returns sentences. A notebook prints them before anything else, and its tables and plots show why.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import EvaluationConfig
from recsys.evaluation.candidate_ledger import LISTED, UNION
from recsys.evaluation.comparison import OURS, summarise
from recsys.evaluation.formatting import format_interval
from recsys.evaluation.intervals import compare_paired, mean_interval
from recsys.evaluation.summaries import describe_verdict, find_best_baseline, format_difference, format_mean, select_row
from recsys.progress import format_count

# The text source in steps: what is added, the model with it, and the model without it.
_TEXT_STEPS = (
    ("fine-tuning", "text_fine_tuned", "text_zero_shot"),
    ("interest model on top", "text", "text_fine_tuned"),
    ("both together", "text", "text_zero_shot"),
)
# Where the checkpoint serves as it is.
_STEPS_WITHOUT_FINE_TUNING = (("interest model on top", "text", "text_zero_shot"),)
_EFFECTS = {"ahead of": "better", "behind": "worse", "not distinguishable from": "no clear difference"}
# So many times the users of the smallest segment that is measured can be split into segments of a tenth.
_ENOUGH_SEGMENTS = 10


def describe_data(
    positives: pl.DataFrame,
    lengths: NDArray[np.integer],
    item_users: NDArray[np.integer],
    config: EvaluationConfig,
    seed: int,
) -> list[str]:
    """Describe whether the data can carry a recommender.

    Args:
        positives: of the test window: `user_id`, and bool `without_history`, `cold` and `recommendable`.
        lengths: (n_users) items of each user before the test window.
        item_users: (n_items) users of each item before the test window.
        config: intervals, and the smallest segment that is measured.
        seed: of the bootstrap.
    """
    late, cold = ~pl.col("recommendable"), pl.col("recommendable") & pl.col("cold")
    shares = {"late": late.mean(), "cold": cold.mean(), "warm": 1 - (late | cold).mean()}
    users = positives.group_by("user_id").agg(pl.len(), pl.col("without_history").first(), **shares).sort("user_id")
    measured = users.filter(~pl.col("without_history"))
    needed = _ENOUGH_SEGMENTS * config.segments.min_users
    if measured.height >= needed:
        verdict = (
            f"There is enough data to evaluate a recommender: {format_count(measured.height, 'user')} can be measured."
        )
    else:
        verdict = (
            f"There is little data: {format_count(measured.height, 'user')} can be measured; with fewer than "
            f"{needed:,}, a segment of 10% is too small to evaluate. Use a longer test window or more data."
        )

    def share(values: pl.Series, form: str = ".1%") -> str:
        return _describe_mean(values.cast(pl.Float64).to_numpy(), form, config, seed)

    top = max(1, round(0.1 * len(item_users)))
    head = np.sort(item_users)[::-1][:top].sum() / max(1, item_users.sum())
    strength = "strong" if head > 0.5 else "weak"
    return [
        verdict,
        f"{format_count(users.height, 'user')} with positives in the test window, {share(users['len'], '.2f')} each; "
        f"{share(users['without_history'])} of them have no history, so only popular items can be recommended to them.",
        f"Of the positives of the other users, {share(measured['warm'])} had earlier events, so collaborative "
        f"filtering can find them; {share(measured['cold'])} are cold, so only text can find them; "
        f"{share(measured['late'])} "
        "were added to the catalogue too late to be recommended.",
        f"The median user has {format_count(int(np.median(lengths)), 'item')}. The most popular tenth of the items "
        f"accounts for {head:.0%} of the user-item pairs, so popularity is a {strength} baseline.",
    ]


def describe_text_steps(user_metrics: pl.DataFrame, config: EvaluationConfig, seed: int) -> list[str]:
    """Describe what each step of the text source adds to lists from text alone, paired by user.

    Args:
        user_metrics: `UserMetrics` of a run; steps that were not measured are left out.
        config: the metric and n that models are compared by.
        seed: of the bootstrap.
    """
    known = set(user_metrics["model"].unique())
    lines = []
    for step, with_it, without_it in _TEXT_STEPS if "text_fine_tuned" in known else _STEPS_WITHOUT_FINE_TUNING:
        if not {with_it, without_it} <= known:
            continue
        pair = user_metrics.filter(
            pl.col("model").is_in([with_it, without_it]),
            pl.col("metric") == config.metric,
            pl.col("n") == config.n,
        )
        row = select_row(summarise(pair, with_it, config, seed), model=without_it)
        lines.append(f"{step}: {format_difference(row)}: {_EFFECTS[describe_verdict(row)]}")
    name = f"{config.metric}@{config.n} of lists from text alone; each step is paired by user"
    return [f"{name}:", *lines] if lines else ["The text source was not measured step by step."]


def describe_neighbours(
    after: NDArray[np.float64],
    before: NDArray[np.float64],
    chance: float,
    column: str,
    config: EvaluationConfig,
    seed: int,
) -> str:
    """Describe whether fine-tuning moved items with the same value of a column closer together.

    Args:
        after: (n_items) share of each item's nearest items with its value, after fine-tuning.
        before: the same with the pretrained checkpoint.
        chance: the share that is expected by chance.
        column: name of the column.
        config: of the intervals.
        seed: of the bootstrap.
    """
    change = compare_paired(after, before, config.bootstrap_samples, config.confidence, seed)
    moved = "closer together" if change.low > 0 else "farther apart" if change.high < 0 else "about as close as before"
    return (
        f"Items of one {column} are {moved}: {after.mean():.1%} of an item's nearest items share its {column} after "
        f"fine-tuning, {before.mean():.1%} before ({chance:.1%} by chance), a change of "
        f"{format_interval(vars(change), ('mean', 'low', 'high'), '+.1%')}."
    )


def describe_cold_items(
    segments: pl.DataFrame,
    proposed: pl.DataFrame,
    outcomes: pl.DataFrame,
    metrics: pl.DataFrame,
    histories_only: Sequence[str],
    config: EvaluationConfig,
) -> str:
    """Describe who finds items without events, and where the others are lost.

    Args:
        segments: the `SegmentTable` rows of cold items.
        proposed: `compute_source_recall` of cold items.
        outcomes: `count_outcomes` of cold items.
        metrics: the `MetricTable`.
        histories_only: models that do not read texts.
        config: names n and the smallest segment that is measured.
    """
    recalls = segments.filter(pl.col("metric") == "recall").sort("mean", descending=True, maintain_order=True)
    if recalls.is_empty():
        return "Cold items: the test window has no cold positives, so they cannot be measured."
    ours = select_row(recalls, model=OURS)
    by_text = recalls.filter(pl.col("model").str.contains("text|tfidf")).row(0, named=True)
    by_history = recalls.filter(pl.col("model").is_in(list(histories_only))).row(0, named=True)
    source = proposed.filter(pl.col("source") != UNION).sort("mean", maintain_order=True).row(-1, named=True)
    lost = outcomes.filter(pl.col("outcome") != LISTED).sort("positives", maintain_order=True).row(-1, named=True)
    shown = select_row(metrics, model=OURS, metric="cold_share", n=config.n)
    return (
        f"Cold items ({format_count(ours['positives'], 'positive')} of {format_count(ours['users'], 'user')}): ours is "
        f"{describe_verdict(by_history)} the best model without texts ({by_history['model']}), with a "
        f"recall@{config.n} of {format_mean(ours, '.3f')} against {format_mean(by_history, '.3f')}; the best text-only "
        f"model ({by_text['model']}) has {format_mean(by_text, '.3f')}. {source['source']} proposes most of them: "
        f"{format_mean(source, '.1%')} of a user's. Most others are lost as '{lost['outcome']}' "
        f"({lost['share']:.0%} of all). Cold items fill {format_mean(shown, '.1%')} of lists.{_warn(ours, config)}"
    )


def describe_new_users(segments: pl.DataFrame, config: EvaluationConfig) -> str:
    """Describe how our lists compare with the best baseline on users with a short history.

    Args:
        segments: the `SegmentTable` rows of new users.
        config: names the metric, n and the smallest segment that is measured.
    """
    best = find_best_baseline(segments, config.metric, config.n)
    if best is None:
        return "New users: none has a positive in the test window."
    ours = select_row(segments, model=OURS, metric=config.metric)
    return (
        f"New users: ours is {describe_verdict(best)} the best baseline ({best['model']}): {config.metric}@{config.n} "
        f"{format_mean(ours, '.3f')} against {format_mean(best, '.3f')}, difference "
        f"{format_difference(best, '+.3f')}.{_warn(ours, config)}"
    )


def _warn(row: Mapping[str, Any], config: EvaluationConfig) -> str:
    return "" if row["enough"] else f" Fewer than {format_count(config.segments.min_users, 'user')}: not conclusive."


def _describe_mean(values: NDArray[np.float64], form: str, config: EvaluationConfig, seed: int) -> str:
    estimate = mean_interval(values, config.bootstrap_samples, config.confidence, seed)
    return format_mean(vars(estimate), form)
