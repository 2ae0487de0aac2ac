"""The head of the page: what was measured, on which data, and whether ours is better than the best baseline."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

from recsys.artifacts.runs import Run
from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.windows import cut
from recsys.report.verdict import Verdict, judge_metrics


@dataclass(frozen=True)
class Head:
    """Name, verdict and facts of the page.

    Attributes:
        config: name of the config.
        run: name of the run.
        verdict: whether ours is better than the best baseline.
        facts: (label, value).
    """

    config: str
    run: str
    verdict: Verdict
    facts: tuple[tuple[str, str], ...]


def describe_run(run: Run, snapshot: Snapshot) -> Head:
    """Describe what was measured, and on which data."""
    facts = run.facts
    known = cut(snapshot.interactions, datetime.fromisoformat(facts["end"]) if facts["end"] else None)
    shown = (
        ("Users", f"{known['user_id'].n_unique():,}"),
        ("Items", _count_items(snapshot)),
        ("Interactions", f"{known.height:,}"),
        ("Data up to", _write_instant(facts["end"]) if facts["end"] else "all data"),
        ("Split", facts["protocol"].replace("_", " ")),
        ("Test window", _write_window(facts["test_start"], facts["test_end"])),
        ("Test users", _count_users(run)),
        ("Test positives", f"{run.positives.height:,}"),
        ("Snapshot", facts["snapshot"]),
        ("Config hash", facts["config"]),
    )
    return Head(run.config.name, run.name, judge_metrics(run.metrics, run.config.evaluation), shown)


def _count_items(snapshot: Snapshot) -> str:
    known, available = snapshot.items.height, int(snapshot.items["available"].sum())
    return f"{known:,}" + (f", {available:,} available" if available < known else "")


def _count_users(run: Run) -> str:
    measured, without_history = run.positives["user_id"].n_unique(), run.measured["users_without_history"]
    return f"{measured:,} measured" + (f"; {without_history:,} more left out (no history)" if without_history else "")


def _write_window(start: str | None, end: str | None) -> str:
    return f"{_write_instant(start)} to {_write_instant(end)}" if start and end else "without times"


def _write_instant(instant: str) -> str:
    """Write midnight as a day, and any other instant to the minute."""
    parsed = datetime.fromisoformat(instant)
    return parsed.date().isoformat() if parsed.time() == time() else parsed.strftime("%Y-%m-%d %H:%M UTC")
