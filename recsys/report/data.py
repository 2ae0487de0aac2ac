"""The panel on the data: what ingest read, and what was measured on it."""

from __future__ import annotations

from recsys.dataset.ingestion.summary import Summary
from recsys.report.layout import Panel, Stat

# Lines of the summary that the highlighted numbers say, too.
_SHOWN = ("users: ", "time: ")


def show_data(summary: Summary | None, facts: tuple[tuple[str, str], ...] = ()) -> Panel:
    """Show how much was read, what of it was left out, and what looks wrong.

    Args:
        summary: of the snapshot; None: an older version of recsys ingested it.
        facts: of the measurement, (label, value).
    """
    stats: tuple[Stat, ...] = ()
    if summary is not None:
        days = [time[:10] for time in (summary.first_time, summary.last_time) if time]
        stats = (
            Stat(f"{summary.users:,}", "users", "with interactions"),
            Stat(f"{summary.items:,}", "items", f"{summary.items_with_interactions:,} with interactions"),
            Stat(f"{summary.interactions:,}", "interactions", " to ".join(days) or "without times"),
        )
    notes = tuple(line for line in summary.lines() if not line.startswith(_SHOWN)) if summary is not None else ()
    return Panel(
        "data", "Data", "What was read and left out, and what was measured?", stats=stats, notes=notes, facts=facts
    )
