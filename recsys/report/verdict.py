"""Whether our lists are better than the best baseline, in one word and one sentence."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.config import EvaluationConfig
from recsys.evaluation.comparison import MEAN, OURS
from recsys.evaluation.summaries import describe_verdict, find_best_baseline, select_row
from recsys.progress import format_count
from recsys.report.grids import name_metric, write_number, write_p, write_spread

# The answer to "is it better?" that a difference with its interval supports.
_ANSWERS = {"ahead of": "Yes", "not distinguishable from": "Cannot tell", "behind": "No"}


@dataclass(frozen=True)
class Verdict:
    """The answer of one evaluation.

    Attributes:
        question: names the best baseline.
        answer: Yes, No, Cannot tell, or Nothing to compare with.
        sentence: the numbers.
        relative: difference in per cent of the baseline, such as `31% better`; empty where there is none.
    """

    question: str
    answer: str
    sentence: str
    relative: str = ""

    @property
    def line(self) -> str:
        """All of it in one line, for the terminal."""
        return f"{self.question} {self.answer}. {self.sentence}"

    @property
    def headline(self) -> str:
        """The answer with the difference in per cent."""
        return f"{self.answer}: {self.relative}" if self.relative else self.answer

    @property
    def numbers(self) -> str:
        """The sentence without what the headline has."""
        return self.sentence.removeprefix(f"{self.relative}: ")


def judge_metrics(metrics: pl.DataFrame, evaluation: EvaluationConfig) -> Verdict:
    """Compare our lists with the best baseline, by the paired interval of their difference.

    Args:
        metrics: a `MetricTable` that has our model.
        evaluation: names the metric, the list length and the confidence.
    """
    name = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    ours = select_row(metrics, model=OURS, metric=evaluation.metric, n=evaluation.n)
    measured = f"measured on {format_count(ours['users'], 'user')}"
    baseline = find_best_baseline(metrics, evaluation.metric, evaluation.n)
    if baseline is None:
        return Verdict(
            "Better than the baselines?",
            "Nothing to compare with",
            f"{name} {write_spread(ours, MEAN, 3)}, {measured}.",
        )
    difference, low, high = (
        write_number(baseline[part], 3, signed=True) for part in ("difference", "difference_low", "difference_high")
    )
    p = write_p(baseline["p_value"])
    numbers = (
        f"{name} {write_number(ours['mean'], 3)} vs {write_number(baseline['mean'], 3)}, difference {difference} "
        f"({100 * evaluation.confidence:.4g}% CI {low} to {high}), p {p if p.startswith('≤') else f'= {p}'}"
    )
    relative = _relative(baseline)
    return Verdict(
        f"Better than the best baseline ({baseline['model']})?",
        _ANSWERS[describe_verdict(baseline)],
        f"{f'{relative}: ' if relative else ''}{numbers}, {measured}.",
        relative,
    )


def _relative(baseline: dict[str, Any]) -> str:
    """Return `31% better`, with a warning where the interval holds 0; nothing where the baseline scores 0."""
    if baseline["mean"] <= 0:
        return ""
    gain = baseline["difference"] / baseline["mean"]
    if not gain:
        return "no difference"
    unsure = describe_verdict(baseline) == "not distinguishable from"
    size = f"{abs(gain):.0%}" if abs(gain) >= 0.005 else "under 1%"
    return f"{size} {'better' if gain >= 0 else 'worse'}{', within chance' if unsure else ''}"
