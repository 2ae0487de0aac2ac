"""What a search found: its trials, those that no other beats in both aims, and the winner with the reason."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from recsys.config import Config
from recsys.evaluation.intervals import Estimate
from recsys.pipelines.tuning.trials import Score, compare_scores, show_difference


@dataclass(frozen=True)
class Trial:
    """One trial, as the search keeps it.

    Attributes:
        number: in the search, from 0.
        state: complete: measured on all users; pruned: on the first rung only; failed: not at all.
        changed: dotted path -> value, where it differs from the config as it is.
        quality: mean over users of the config's metric, `low` and `high` the ends of its interval.
        seconds: for fitting and making the lists.
        rung: the last one it was measured on, 1 the first.
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
        return ", ".join(f"{path}={show(value)}" for path, value in self.changed.items()) or "the config as it is"


@dataclass(frozen=True)
class Verdict:
    """Who wins, and why.

    Attributes:
        winner: the fastest of the trials as good as the best within the paired interval.
        best: the one with the highest quality.
        front: trials that no other beats in quality and seconds, fastest first.
        behind: each complete trial's difference to the best.
        gain: the winner's difference to the config as it is; None where that is the winner or was not measured.
        reason: in words.
    """

    winner: Trial
    best: Trial
    front: list[Trial]
    behind: dict[int, Estimate]
    gain: Estimate | None
    reason: str


@dataclass(frozen=True)
class Tuned:
    """A search at its end.

    Attributes:
        study: its name.
        trials: all of them, in order.
        verdict: of the complete ones.
        users: measured per complete trial.
        before: ISO instant that nothing was seen from; empty for data without a common clock.
        was: the config's own values of the winner's changed settings.
        path: the config file with the winner's values.
    """

    study: str
    trials: list[Trial]
    verdict: Verdict
    users: int
    before: str
    was: dict[str, Any]
    path: Path


def judge(trials: Sequence[Trial], scores: Mapping[int, Score], config: Config) -> Verdict:
    """Choose among complete trials: the fastest that is as good as the best within the paired interval.

    Seconds that differ by less than the same work does from one time to the next count as equal; then the higher
    quality wins.

    Args:
        trials: those of all states; at least one is complete.
        scores: of the complete ones, on all users, by number.
        config: as it was before the search.
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
        reason = f"trial {winner.number} wins: the best, and none that is as good within the interval is faster"
    else:
        gap = show_difference(behind[winner.number])
        reason = (
            f"trial {winner.number} wins: as good as the best, trial {best.number}, within the interval ({gap}), "
            f"and faster: {winner.seconds:.1f} s against {best.seconds:.1f} s"
        )
    return Verdict(winner, best, _find_front(complete), behind, gain, reason)


def _find_front(trials: Sequence[Trial]) -> list[Trial]:
    front: list[Trial] = []
    for trial in sorted(trials, key=lambda trial: (trial.seconds, -trial.quality)):
        if not front or trial.quality > front[-1].quality:
            front.append(trial)
    return front


def render_search(tuned: Tuned, config: Config) -> Table:
    """Lay the front out for the terminal, and with it the winner and the config as it is."""
    verdict = tuned.verdict
    states = [trial.state for trial in tuned.trials]
    counts = [f"{states.count(state)} {state}" for state in ("pruned", "failed") if state in states]
    before = f" before {tuned.before[:10]}" if tuned.before else ""
    confidence = 100 * config.evaluation.confidence
    title = (
        f"{', '.join([f'{len(states)} trials', *counts])}; {tuned.users:,} users{before}; {confidence:.4g}% intervals"
    )
    table = Table(title=title)
    table.add_column("trial")
    for name in (f"{config.evaluation.metric}@{config.evaluation.n}", "difference to the best", "seconds"):
        table.add_column(name, justify="right")
    table.add_column("changed settings", overflow="fold")
    shown = {trial.number for trial in (*verdict.front, verdict.winner)}
    rows = [
        trial for trial in tuned.trials if trial.state == "complete" and (trial.number in shown or not trial.changed)
    ]
    for trial in sorted(rows, key=lambda trial: trial.seconds):
        marks = [trial == verdict.winner and "wins", trial == verdict.best and "best"]
        note = ", ".join(mark for mark in marks if mark)
        cells = (
            f"{trial.number}" + (f" ({note})" if note else ""),
            f"{trial.quality:.4f} [{trial.low:.4f}, {trial.high:.4f}]",
            "" if trial == verdict.best else show_difference(verdict.behind[trial.number]),
            f"{trial.seconds:.1f}",
            trial.describe_changes().replace(", ", "\n"),
        )
        table.add_row(*map(Text, cells), style="bold green" if trial == verdict.winner else "")
    return table


def summarise_search(tuned: Tuned) -> list[str]:
    """Return lines that say who wins and why, what that changes, and what to do next."""
    verdict = tuned.verdict
    lines = [verdict.reason]
    if not verdict.winner.changed:
        return [*lines, f"the config as it is stays; {tuned.path} says the same"]
    if verdict.gain:
        lines.append(f"against the config as it is: {show_difference(verdict.gain)}")
    changes = [f"  {path}: {show(tuned.was[path])} -> {show(value)}" for path, value in verdict.winner.changed.items()]
    done = f"written to {tuned.path}; 'recsys train --config {tuned.path}' measures it on the test window"
    return [*lines, *changes, done]


def describe_search(tuned: Tuned) -> dict[str, Any]:
    """Return all of it as plain JSON values."""
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
    """Write a setting's value as a person would."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
