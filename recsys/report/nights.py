"""The published night that a page shows, and how far it moved from the one before it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.recommendations import find_published, read_recommendations
from recsys.artifacts.runs import Run
from recsys.errors import ArtifactError
from recsys.evaluation.drift import ScoreDrift, compare_scores, list_drift
from recsys.report import charts, grids
from recsys.report.grids import write_number, write_share
from recsys.report.layout import Figure, Panel, Stat
from recsys.storage.folders import read_manifest
from recsys.storage.home import list_folder


@dataclass(frozen=True)
class Night:
    """Lists published for one run date.

    Attributes:
        run_date: YYYY-MM-DD.
        facts: the manifest: model version, snapshot, end, counts.
        lists: `Recommendations`.
    """

    run_date: str
    facts: dict[str, Any]
    lists: pl.DataFrame

    @property
    def end(self) -> datetime | None:
        """The instant that the lists are as of; None without times."""
        return datetime.fromisoformat(self.facts["end"]) if self.facts["end"] else None


def find_nights(home: Path, config_name: str, run_date: str | None) -> list[Night]:
    """Read the lists that a config published for a run date, the newest unless named, then those of the night before.

    Returns:
        Two nights; one, where none was published before it; none, where nothing is published.

    Raises:
        ArtifactError: the named run date is not published, or lists were changed on disk.
    """
    next_step = "run 'recsys generate' for that date"
    facts = {date: read_manifest(list_folder(home, date), next_step) for date in find_published(home)}
    dates = [date for date, manifest in facts.items() if manifest.get("name") == config_name]
    if run_date is not None and run_date not in dates:
        raise ArtifactError(
            f"lists of '{config_name}' for {run_date}: not published in {home}; found {', '.join(dates) or 'none'}; "
            f"choose one of those or {next_step}"
        )
    shown = [date for date in dates if run_date is None or date <= run_date][-2:]
    return [Night(date, facts[date], read_recommendations(home, date)) for date in reversed(shown)]


def compare_nights(run: Run, nights: list[Night], n: int) -> Panel:
    """Published lists against the night before, and the run's lists against the run before.

    Args:
        run: has its own churn.
        nights: from `find_nights`.
        n: places of the published lists that count.
    """
    churn, notes = _tell_churn(run)
    stats: list[Stat] = []
    figures: list[Figure] = []
    tables: list[grids.Grid] = []
    if len(nights) == 2:
        now, before = nights
        lists, scores = list_drift(now.lists, before.lists, n), _compare_scores(now, before)
        stats = [
            Stat(write_share(lists.churn), "churn of the nights", f"{now.run_date} against {before.run_date}"),
            Stat(write_number(lists.rbo, 3), "rank-biased overlap", "1: the same items in the same order"),
        ]
        tables.append(grids.list_nights(lists, scores))
        if scores:
            stats.append(Stat(write_number(scores.psi, 3), "PSI of the scores", _judge_psi(scores.psi)))
            figures.append(_draw_scores(scores, now.run_date, before.run_date))
    else:
        told = f"Only one night, {nights[0].run_date}, is published" if nights else "No lists are published yet"
        notes += (f"{told}. Run 'recsys generate' for another run date, then 'recsys report', to compare two nights.",)
    return Panel(
        "drift",
        "Drift",
        "How far have the lists moved since the night before, and since the last training?",
        stats=(*stats, *churn),
        figures=tuple(figures),
        grids=tuple(tables),
        notes=notes,
    )


def _tell_churn(run: Run) -> tuple[tuple[Stat, ...], tuple[str, ...]]:
    churn = run.measured.get("churn")
    if not churn:
        return (), ("No run of this config came before this one; the next training will show its churn against it.",)
    ends = f"[{write_share(churn['low'])}, {write_share(churn['high'])}]"
    note = f"{ends} of a user's items are new against run {churn['run']}, {churn['users']:,} users"
    return (Stat(write_share(churn["mean"]), "churn of this run's lists", note),), ()


def _compare_scores(now: Night, before: Night) -> ScoreDrift | None:
    """Compare the scores of the places that the ranker filled; None where a night has none."""
    new, old = (night.lists.filter(~pl.col("sources").list.contains("fallback"))["score"] for night in (now, before))
    return compare_scores(new, old) if len(new) and len(old) else None


def _judge_psi(psi: float) -> str:
    return "calm: below 0.1" if psi < 0.1 else "worth a look: above 0.1" if psi <= 0.25 else "a shift: above 0.25"


def _draw_scores(scores: ScoreDrift, now: str, before: str) -> Figure:
    ends = [write_number(edge, 2) for edge in scores.edges]
    texts = [*(f"up to {end}" for end in ends), f"above {ends[-1]}" if ends else "all"]
    # The place keeps bins apart whose ends look the same.
    names = [f"{place}: {text}" for place, text in enumerate(texts, 1)]
    nights = ["before"] * len(names) + ["now"] * len(names)
    bins = pl.DataFrame({"bin": names * 2, "night": nights, "share": [*scores.before, *scores.now]})
    return Figure(
        "scores",
        f"Scores of {now} beside those of {before}",
        charts.draw_scores(bins),
        grids.list_bins(bins),
        (("var(--accent)", now), ("var(--muted)", before)),
    )
