"""The published lists that a page shows, and how much they differ from those of the run date before."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import polars as pl

from recsys.artifacts.recommendations import find_published, read_recommendations
from recsys.artifacts.runs import Run
from recsys.errors import ArtifactError
from recsys.evaluation.drift import ScoreDrift, compare_lists, compare_scores
from recsys.evaluation.formatting import write_number
from recsys.progress import format_count
from recsys.report import charts, grids
from recsys.report.grids import write_share
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
    """Read the lists that a config published for a run date (default: the newest) and for the one before.

    Returns:
        Two nights, newest first; one if nothing was published before; none if nothing is published.

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
    """Compare published lists with those of the night before, and the run's lists with those of the run before.

    Args:
        run: has the churn since the run before.
        nights: from `find_nights`.
        n: length of the published lists.
    """
    churn, notes = _show_churn(run)
    stats: list[Stat] = []
    figures: list[Figure] = []
    tables: list[grids.Grid] = []
    if len(nights) == 2:
        now, before = nights
        lists, scores = compare_lists(now.lists, before.lists, n), _compare_scores(now, before)
        stats = [
            Stat(
                write_share(lists.churn),
                "list items replaced since last night",
                f"{now.run_date} compared with {before.run_date}",
            ),
            Stat(write_number(lists.rbo, 3), "rank-biased overlap", "1: the same items in the same order"),
        ]
        tables.append(grids.list_nights(lists, scores))
        if scores:
            stats.append(Stat(write_number(scores.psi, 3), "PSI of the scores", _judge_psi(scores.psi)))
            figures.append(_draw_scores(scores, now.run_date, before.run_date))
    else:
        published = f"Only one run date, {nights[0].run_date}, is published" if nights else "No lists are published yet"
        notes += (f"{published}. To compare two, run 'recsys generate' for another run date, then 'recsys report'.",)
    return Panel(
        "drift",
        "Drift",
        "How much have the lists changed since the night before, and since the last training?",
        stats=(*stats, *churn),
        figures=tuple(figures),
        grids=tuple(tables),
        notes=notes,
    )


def _show_churn(run: Run) -> tuple[tuple[Stat, ...], tuple[str, ...]]:
    churn = run.measured.get("churn")
    if not churn:
        return (), ("This is the first run of this config; the next training will be compared with it.",)
    ends = f"[{write_share(churn['low'])}, {write_share(churn['high'])}]"
    note = f"{ends} compared with run {churn['run']}, {format_count(churn['users'], 'user')}"
    return (Stat(write_share(churn["mean"]), "list items replaced since the run before", note),), ()


def _compare_scores(now: Night, before: Night) -> ScoreDrift | None:
    """Compare the scores of the ranker, without fallback items; None if a night has none."""
    new, old = (night.lists.filter(~pl.col("sources").list.contains("fallback"))["score"] for night in (now, before))
    return compare_scores(new, old) if len(new) and len(old) else None


def _judge_psi(psi: float) -> str:
    if psi < 0.1:
        return "below 0.1: stable"
    return "0.1 to 0.25: a moderate shift" if psi <= 0.25 else "above 0.25: a large shift"


def _draw_scores(scores: ScoreDrift, now: str, before: str) -> Figure:
    ends = [write_number(edge, 2) for edge in scores.edges]
    texts = [*(f"up to {end}" for end in ends), f"above {ends[-1]}" if ends else "all"]
    # Numbered, because rounded edges may look the same.
    names = [f"{number}: {text}" for number, text in enumerate(texts, 1)]
    nights = ["before"] * len(names) + ["now"] * len(names)
    bins = pl.DataFrame({"bin": names * 2, "night": nights, "share": [*scores.before, *scores.now]})
    return Figure(
        "scores",
        f"Scores of {now} and {before}",
        charts.draw_scores(bins),
        grids.list_bins(bins),
        (("var(--accent)", now), ("var(--muted)", before)),
    )
