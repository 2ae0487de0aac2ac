"""Whether our lists are better than the best baseline, in one word and one sentence."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from recsys.config import EvaluationConfig
from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS
from recsys.evaluation.formatting import name_metric
from recsys.evaluation.summaries import find_best_baseline, measure_gain, select_row
from recsys.progress import format_count
from recsys.report.grids import write_spread

# The model that ranks by the weighted scores of the sources alone.
BLEND = "blend"
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
    gain = measure_gain(metrics, baseline, evaluation.confidence)
    return Verdict(
        f"Better than the best baseline ({baseline['model']})?",
        _ANSWERS[gain.verdict],
        f"{f'{gain.relative}: ' if gain.relative else ''}{gain.numbers}, {measured}.",
        gain.relative,
    )


def is_blend_only(metrics: pl.DataFrame) -> bool:
    """Return whether our lists are those of the weighted blend, because the ranker's trees did not help.

    Args:
        metrics: a `MetricTable`.
    """
    rows = metrics.filter(pl.col("model") == BLEND)
    same = rows.select(pl.all_horizontal((pl.col(name) == 0).fill_null(False) for name in DIFFERENCE).all())
    return rows.height > 0 and bool(same.item())
