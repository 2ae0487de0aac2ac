"""The head of the page: whether ours is better than the best baseline, the other answers, and what they rest on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

from recsys.artifacts.runs import Run
from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.windows import cut
from recsys.report.answers import Answer
from recsys.report.serving import Serving
from recsys.report.verdict import Verdict, is_blend_only, judge_metrics
from recsys.storage.code_version import find_code_version


@dataclass(frozen=True)
class Head:
    """Name, verdict and answers of the page.

    Attributes:
        config: name of the config.
        run: name of the run.
        verdict: whether ours is better than the best baseline.
        answers: what else a reader asks first.
        warnings: sentences that qualify the verdict.
        made: when the model was trained and the page made, and by which code.
    """

    config: str
    run: str
    verdict: Verdict
    answers: tuple[Answer, ...] = ()
    warnings: tuple[str, ...] = ()
    made: str = ""


def make_head(run: Run, serving: Serving, answers: tuple[Answer, ...], now: datetime | None) -> Head:
    """Return the head of a run's page.

    Args:
        run: the measurement.
        serving: the registry's view of it.
        answers: from `answer_questions`.
        now: when the page is made; None leaves that out, so that the same input gives the same bytes.
    """
    verdict = judge_metrics(run.metrics, run.config.evaluation)
    return Head(run.config.name, run.name, verdict, answers, _warn(run), _describe_making(serving, now))


def _warn(run: Run) -> tuple[str, ...]:
    """Say where ours is only the blend, and where the model that serves is not the one that was measured."""
    notes = []
    if is_blend_only(run.metrics):
        notes.append(f"Ours and blend are the same lists. Ranker: {run.measured['ranker']}.")
    differences = [difference.rstrip(".") for difference in run.measured.get("refit_differences") or ()]
    if differences:
        notes.append(f"What serves is not exactly what was measured: {'; '.join(differences)}.")
    return tuple(notes)


def _describe_making(serving: Serving, now: datetime | None) -> str:
    record = serving.record
    parts = []
    if record and record.ended:
        by = f" by recsys {record.code_version}" if record.code_version else ""
        parts.append(f"Trained {record.ended:%Y-%m-%d %H:%M} UTC{by}.")
    page = f"Page made by recsys {find_code_version()}"
    return " ".join([*parts, f"{page}, {now:%Y-%m-%d %H:%M} UTC." if now else f"{page}."])


def list_facts(run: Run, snapshot: Snapshot) -> tuple[tuple[str, str], ...]:
    """Return what was measured, and on which data, as (label, value)."""
    facts = run.facts
    known = cut(snapshot.interactions, datetime.fromisoformat(facts["end"]) if facts["end"] else None)
    return (
        ("Data up to", _write_instant(facts["end"]) if facts["end"] else "all data"),
        ("Users until then", f"{known['user_id'].n_unique():,}"),
        ("Interactions until then", f"{known.height:,}"),
        ("Items", _count_items(snapshot)),
        ("Split", facts["protocol"].replace("_", " ")),
        ("Test window", write_window(facts["test_start"], facts["test_end"])),
        ("Test users", _count_users(run)),
        ("Test positives", f"{run.positives.height:,}"),
        ("Snapshot", facts["snapshot"]),
        ("Config hash", facts["config"]),
    )


def write_window(start: str | None, end: str | None) -> str:
    """Write a window as two instants."""
    return f"{_write_instant(start)} to {_write_instant(end)}" if start and end else "without times"


def _count_items(snapshot: Snapshot) -> str:
    known, available = snapshot.items.height, int(snapshot.items["available"].sum())
    return f"{known:,}" + (f", {available:,} available" if available < known else "")


def _count_users(run: Run) -> str:
    measured, without_history = run.positives["user_id"].n_unique(), run.measured["users_without_history"]
    not_drawn = run.measured.get("users_not_drawn", 0)
    drawn = f", drawn from {measured + not_drawn:,}" if not_drawn else ""
    left_out = f"; {without_history:,} more left out (no history)" if without_history else ""
    return f"{measured:,} measured{drawn}{left_out}"


def _write_instant(instant: str) -> str:
    """Write midnight as a day, and any other instant to the minute."""
    parsed = datetime.fromisoformat(instant)
    return parsed.date().isoformat() if parsed.time() == time() else parsed.strftime("%Y-%m-%d %H:%M UTC")
