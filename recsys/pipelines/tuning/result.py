"""The result of a search: its trials, the Pareto front of quality and run time, and the winner with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from recsys.config import Config
from recsys.evaluation.intervals import Estimate
from recsys.pipelines.tuning.trials import Score, compare_scores, show_difference


@dataclass(frozen=True)
class Trial:
    """One trial of a search.

    Attributes:
        number: from 0, in the order of the search.
        state: complete: measured on all users; pruned: on the first rung only; failed: not at all.
        changed: dotted path -> value, for settings that differ from the original config.
        quality: mean over users of the config's metric; `low` and `high` are the ends of its interval.
        seconds: for fitting and making the lists.
        rung: the last rung that it was measured on, from 1.
        reason: why it was pruned or failed.
    """

    number: int
    state: Literal["complete", "pruned", "failed"]
    changed: dict[str, Any]
    quality: float = 0.0
    low: float = 0.0
    high: float = 0.0
    seconds: float = 0.0
    rung: int = 0
    reason: str = ""

    def describe_changes(self) -> str:
        """Return the changed settings as `collab.als.epochs=20, …`."""
        return ", ".join(f"{path}={show(value)}" for path, value in self.changed.items()) or "the original config"


@dataclass(frozen=True)
class Verdict:
    """The winner of a search, and why.

    Attributes:
        winner: the fastest of the trials as good as the best within the paired interval.
        best: the trial with the highest quality.
        front: trials for which no other is both better and faster; fastest first.
        behind: each complete trial's difference to the best.
        gain: the winner's difference to the original config; None where that is the winner or was not measured.
        reason: in one sentence.
    """

    winner: Trial
    best: Trial
    front: list[Trial]
    behind: dict[int, Estimate]
    gain: Estimate | None
    reason: str


@dataclass(frozen=True)
class Tuned:
    """A finished search.

    Attributes:
        study: its name.
        trials: all of them, in order.
        verdict: over the complete trials.
        users: measured per complete trial.
        before: ISO time; only earlier events were used. Empty for data without a common clock.
        original: values of the winner's changed settings in the original config.
        path: the config file with the winner's values.
    """

    study: str
    trials: list[Trial]
    verdict: Verdict
    users: int
    before: str
    original: dict[str, Any]
    path: Path


def judge(trials: Sequence[Trial], scores: Mapping[int, Score], config: Config) -> Verdict:
    """Choose the fastest complete trial that is as good as the best within the paired interval.

    Run times that differ by less than repetitions of the same work count as equal; then the higher quality wins.

    Args:
        trials: of all states; at least one is complete.
        scores: of the complete trials on all users, by number.
        config: the original config.
    """
    complete = [trial for trial in trials if trial.state == "complete"]
    best = max(complete, key=lambda trial: (trial.quality, -trial.seconds))
    behind = {trial.number: compare_scores(scores[trial.number], scores[best.number], config) for trial in complete}
    good = [trial for trial in complete if behind[trial.number].high >= 0]
    fastest = scores[min(good, key=lambda trial: trial.seconds).number]
    near = [trial for trial in good if not fastest.is_faster(scores[trial.number])]
    winner = max(near, key=lambda trial: (trial.quality, -trial.seconds))
    original = next((trial for trial in complete if not trial.changed), winner)
    gain = compare_scores(scores[winner.number], scores[original.number], config) if original != winner else None
    if winner == best:
        reason = f"trial {winner.number} wins: it is the best, and no faster trial is equally good within the interval"
    else:
        gap = show_difference(behind[winner.number])
        reason = (
            f"trial {winner.number} wins: it is as good as the best, trial {best.number}, within the interval ({gap}), "
            f"and faster: {winner.seconds:.1f} s against {best.seconds:.1f} s"
        )
    return Verdict(winner, best, _find_front(complete), behind, gain, reason)


def _find_front(trials: Sequence[Trial]) -> list[Trial]:
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.seconds, -trial.quality)):
        if not front or trial.quality > front[-1].quality:
            front.append(trial)
    return front


def summarise_search(tuned: Tuned) -> list[str]:
    """Return lines: the winner with the reason, its changes, and where the tuned config is."""
    verdict = tuned.verdict
    lines = [verdict.reason]
    if not verdict.winner.changed:
        return [*lines, f"no better setting found; {tuned.path} is a copy of your config"]
    if verdict.gain:
        lines.append(f"against the original config: {show_difference(verdict.gain)}")
    changes = [
        f"  {path}: {show(tuned.original[path])} -> {show(value)}" for path, value in verdict.winner.changed.items()
    ]
    return [*lines, *changes, f"written to {tuned.path}; a training with it measures it on the test window"]


def describe_search(tuned: Tuned) -> dict[str, Any]:
    """Return the search as plain JSON values."""
    verdict = tuned.verdict
    return {
        "study": tuned.study,
        "before": tuned.before,
        "users": tuned.users,
        "trials": [vars(trial) for trial in tuned.trials],
        "front": [trial.number for trial in verdict.front],
        "best": verdict.best.number,
        "winner": verdict.winner.number,
        "reason": verdict.reason,
        "behind": {str(number): vars(difference) for number, difference in verdict.behind.items()},
        "gain": vars(verdict.gain) if verdict.gain else None,
        "config": str(tuned.path),
    }


def show(value: object) -> str:
    """Return a setting's value as text, strings without quotes."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
