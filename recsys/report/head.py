"""The head of the page: what was measured on what, and whether ours is really better."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time
from typing import Any

import polars as pl

from recsys.artifacts.runs import Run
from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.windows import cut
from recsys.evaluation.comparison import DIFFERENCE, MEAN, OURS
from recsys.evaluation.summaries import describe_verdict, select_row
from recsys.report.grids import name_metric, write_p, write_spread

# What an interval allows to say, as the answer to "is it really better?".
_WORDS = {"ahead of": "Yes", "not distinguishable from": "Cannot tell", "behind": "No"}


def find_rival(run: Run) -> dict[str, Any] | None:
    """Return the `MetricTable` row of the best other model in the metric that models are compared by."""
    evaluation = run.config.evaluation
    others = run.metrics.filter(
        pl.col("model") != OURS, pl.col("metric") == evaluation.metric, pl.col("n") == evaluation.n
    ).sort("mean", descending=True, maintain_order=True)
    return others.row(0, named=True) if others.height else None


def judge_run(run: Run) -> tuple[str, str]:
    """Say in a word and a sentence whether ours is really better than the best other model."""
    evaluation = run.config.evaluation
    what = f"{name_metric(evaluation.metric)}@{evaluation.n}"
    ours = select_row(run.metrics, model=OURS, metric=evaluation.metric, n=evaluation.n)
    mine = f"{what} is {write_spread(ours, MEAN)} on {ours['users']:,} users"
    rival = find_rival(run)
    if rival is None:
        return "Nothing to compare with", f"{mine}; no other model was measured."
    ahead = write_spread(rival, DIFFERENCE, signed=True)
    p = write_p(rival["p_value"])
    chance = f"p {p}" if p.startswith("<") else f"p = {p}"
    word = _WORDS[describe_verdict(rival)]
    return word, f"{mine}. Against the best other model, {rival['model']}, that is {ahead}, {chance}."


@dataclass(frozen=True)
class Head:
    """Name, verdict and facts of the page.

    Attributes:
        config: its name.
        run: its name.
        word: is it really better, in a word.
        sentence: the same with the numbers.
        facts: (label, value).
    """

    config: str
    run: str
    word: str
    sentence: str
    facts: tuple[tuple[str, str], ...]


def describe_run(run: Run, snapshot: Snapshot) -> Head:
    """Say what was measured on what."""
    facts = run.facts
    known = cut(snapshot.interactions, datetime.fromisoformat(facts["end"]) if facts["end"] else None)
    window = f"{_day(facts['test_start'])} to {_day(facts['test_end'])}" if facts["test_start"] else "without a clock"
    absent = run.measured["users_without_history"]
    shown = [
        ("Users", f"{known['user_id'].n_unique():,}"),
        ("Items", _count_items(snapshot)),
        ("Interactions", f"{known.height:,}"),
        ("As of", _day(facts["end"]) if facts["end"] else "all data"),
        ("Split", facts["protocol"].replace("_", " ")),
        ("Test window", window),
        (
            "Measured users",
            f"{run.positives['user_id'].n_unique():,}" + (f", {absent:,} without history" if absent else ""),
        ),
        ("Items they took", f"{run.positives.height:,}"),
        ("Snapshot", facts["snapshot"]),
        ("Settings", facts["config"]),
    ]
    word, sentence = judge_run(run)
    return Head(run.config.name, run.name, word, sentence, tuple(shown))


def _count_items(snapshot: Snapshot) -> str:
    known, available = snapshot.items.height, int(snapshot.items["available"].sum())
    return f"{known:,}" + (f", {available:,} available" if available < known else "")


def _day(instant: str) -> str:
    """Midnight is a day; any other instant is told to the minute."""
    parsed = datetime.fromisoformat(instant)
    return parsed.date().isoformat() if parsed.time() == time() else parsed.strftime("%Y-%m-%d %H:%M UTC")
