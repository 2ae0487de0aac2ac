"""The panel on the data: what ingest read."""

from __future__ import annotations

from recsys.dataset.ingestion.summary import Summary
from recsys.report.layout import Panel, Stat


def show_data(summary: Summary) -> Panel:
    """Show how much was read, what of it was left out, and what looks wrong."""
    days = [time[:10] for time in (summary.first_time, summary.last_time) if time]
    stats = (
        Stat(f"{summary.users:,}", "users", "with interactions"),
        Stat(f"{summary.items:,}", "items", f"{summary.items_with_interactions:,} with interactions"),
        Stat(f"{summary.interactions:,}", "interactions", " to ".join(days) or "without times"),
    )
    return Panel("data", "Data", "What was read, and what was left out?", stats=stats, notes=tuple(summary.lines()))
