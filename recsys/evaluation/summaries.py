"""Sentences written from the tables, so that the conclusion of a notebook changes with the data."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS, WITHOUT_RULES
from recsys.evaluation.formatting import format_interval, format_p_value, name_metric, write_number
from recsys.progress import format_count

_AHEAD, _BEHIND, _UNCLEAR = "ahead of", "behind", "not distinguishable from"


def select_row(table: pl.DataFrame, **values: Any) -> dict[str, Any]:
    """Return the only row of a table that has these values, such as `model="als", metric="ndcg", n=10`."""
    return table.row(
        by_predicate=pl.all_horizontal(pl.col(name) == value for name, value in values.items()), named=True
    )


def format_mean(row: Mapping[str, Any], number_format: str = ".4f") -> str:
    """Format a row's mean with its interval, as `0.149 [0.135, 0.163]`."""
    return format_interval(row, MEAN, number_format)


def format_difference(row: Mapping[str, Any], number_format: str = "+.4f") -> str:
    """Format a row's difference with its interval, its p-value and the number of users behind it."""
    interval = format_interval(row, DIFFERENCE, number_format)
    return f"{interval}, {format_p_value(row['p_value'])}, {format_count(row['users'], 'user')}"


def describe_verdict(row: Mapping[str, Any]) -> str:
    """Return how the first model compares: `ahead of`, `behind` or, with 0 inside, `not distinguishable from`."""
    if row["difference_low"] > 0:
        return _AHEAD
    return _BEHIND if row["difference_high"] < 0 else _UNCLEAR


def find_best_baseline(metrics: pl.DataFrame, metric: str, n: int) -> dict[str, Any] | None:
    """Return the `MetricTable` row of the best other model; None if ours was measured alone."""
    others = metrics.filter(
        ~pl.col("model").is_in([OURS, WITHOUT_RULES]), pl.col("metric") == metric, pl.col("n") == n
    ).sort("mean", descending=True, maintain_order=True)
    return others.row(0, named=True) if others.height else None


@dataclass(frozen=True)
class Gain:
    """How our lists compare with a baseline.

    Attributes:
        verdict: from `describe_verdict`.
        relative: in per cent of the baseline, such as `31% better` or `2% worse, within chance`; empty where the
            baseline scores 0.
        numbers: both means, their difference with its interval, and the p-value.
        users: number of users behind them.
    """

    verdict: str
    relative: str
    numbers: str
    users: str


def measure_gain(metrics: pl.DataFrame, baseline: Mapping[str, Any], confidence: float) -> Gain:
    """Return how our lists compare with a baseline; everything that states this comparison uses these words.

    Args:
        metrics: a `MetricTable` that has our model.
        baseline: the other model's row of it; names the metric and n.
        confidence: of the intervals.
    """
    ours = select_row(metrics, model=OURS, metric=baseline["metric"], n=baseline["n"])
    verdict = describe_verdict(baseline)
    difference, low, high = (write_number(baseline[name], 3, signed=True) for name in DIFFERENCE)
    numbers = (
        f"{name_metric(baseline['metric'])}@{baseline['n']} {write_number(ours['mean'], 3)} vs "
        f"{write_number(baseline['mean'], 3)}, difference {difference} ({100 * confidence:.4g}% CI {low} to {high}), "
        f"{format_p_value(baseline['p_value'])}"
    )
    return Gain(verdict, _describe_relative(baseline, verdict), numbers, format_count(baseline["users"], "user"))


def _describe_relative(baseline: Mapping[str, Any], verdict: str) -> str:
    """Return `31% better`, with a warning where the interval holds 0; nothing where the baseline scores 0."""
    if baseline["mean"] <= 0:
        return ""
    gain = baseline["difference"] / baseline["mean"]
    if not gain:
        return "no difference"
    size = f"{abs(gain):.0%}" if abs(gain) >= 0.005 else "under 1%"
    better = verdict == _AHEAD or (verdict == _UNCLEAR and gain > 0)
    return f"{size} {'better' if better else 'worse'}{', within chance' if verdict == _UNCLEAR else ''}"


def describe_gain(metrics: pl.DataFrame, baseline: Mapping[str, Any], confidence: float) -> str:
    """Describe how our lists compare with a baseline, as `31% better than blend: …`; arguments as `measure_gain`."""
    gain, model = measure_gain(metrics, baseline, confidence), baseline["model"]
    numbers = f"{gain.numbers}, {gain.users}"
    if gain.verdict == _UNCLEAR:
        return f"{_UNCLEAR} {model}: {f'{gain.relative}; ' if gain.relative else ''}{numbers}"
    return f"{f'{gain.relative} than' if gain.relative else gain.verdict} {model}: {numbers}"


def describe_segments(segments: pl.DataFrame, metric: str, first: str, second: str) -> str:
    """Describe in which segments the first model is ahead of the second, behind it, or not distinguishable from it.

    Args:
        segments: a `SegmentTable` whose differences are the first model minus the others; only segments with enough
            users count.
        metric: a metric of the table.
        first: the model in question.
        second: the model that it is compared with.
    """
    rows = segments.filter(pl.col("metric") == metric, pl.col("model") == second, "enough")
    if rows.is_empty():
        return "no segment has enough users for a comparison"
    by_verdict: dict[str, list[dict[str, Any]]] = {_AHEAD: [], _BEHIND: [], _UNCLEAR: []}
    for row in rows.sort("difference", maintain_order=True).iter_rows(named=True):
        by_verdict[describe_verdict(row)].append(row)
    enough = format_count(rows.height, "segment")
    parts = [f"{first} is ahead of {second} in {len(by_verdict[_AHEAD])} of {enough} with enough users"]
    for verdict in (_BEHIND, _UNCLEAR):
        if by_verdict[verdict]:
            names = [
                f"{row['dimension']}: {row['segment']} {format_interval(row, DIFFERENCE, '+.3f')}"
                for row in by_verdict[verdict]
            ]
            parts.append(f"{verdict.removesuffix(' from')} in {format_names(names)}")
    return "; ".join(parts)


def format_names(names: Sequence[str], max_names: int = 5) -> str:
    """Join names with commas; of more than `max_names`, only count the rest."""
    more = len(names) - max_names
    return ", ".join(names[:max_names]) + (f" and {more} more" if more > 0 else "")
