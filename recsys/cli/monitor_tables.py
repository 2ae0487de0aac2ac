"""A monitored night on the terminal; every line fits 80 columns."""

from __future__ import annotations

import textwrap
from typing import Any

from rich import box
from rich.table import Table

from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.wording import AREAS, write_figure, write_range

_WIDTH = 80


def area_table(night: Night) -> Table:
    """Lay out a row per watched area: how many figures were judged, and those outside their range."""
    moved = {name for alert in night.alerts for name in (alert["figure"], *alert["also"])}
    table = Table(title=f"Night of {night.run_date}: {night.verdict}", box=box.SIMPLE, title_justify="left")
    for head in ("watched", "figures", "judged", "outside their range"):
        table.add_column(head, justify="left" if head in ("watched", "outside their range") else "right")
    for area in AREAS:
        figures = [name for name in night.figures if name.startswith(f"{area}.")]
        judged = [name for name in figures if name in night.expected]
        outside = sorted(name for name in figures if name in moved)
        shown = ", ".join(name.removeprefix(f"{area}.") for name in outside[:3])
        more = f" and {len(outside) - 3} more" if len(outside) > 3 else ""
        table.add_row(area, f"{len(figures):,}", f"{len(judged):,}", f"{shown}{more}" if outside else "none")
    return table


def alert_lines(alert: dict[str, Any]) -> list[str]:
    """Return an alert as lines of text."""
    segments = "; ".join(
        f"{part['segment']} {write_figure(alert['figure'], part['value'])}"
        + (f" (before {write_figure(alert['figure'], part['before'])})" if part["before"] is not None else " (new)")
        for part in alert["segments"]
    )
    rows = [
        ("ALERT", f"{alert['cause']}: {alert['sentence']}"),
        ("what", f"{alert['figure']}: {alert['meaning']}"),
        ("tonight", f"{write_figure(alert['figure'], alert['value'])}, expected {write_range(alert)}"),
        ("since", alert["since"]),
        ("where", segments),
        ("also", ", ".join(alert["also"][:6]) + (" …" if len(alert["also"]) > 6 else "")),
        ("do", alert["advice"]),
    ]
    lines = []
    for label, text in rows:
        if text:
            lines += textwrap.wrap(
                text, _WIDTH, initial_indent=f"{label:<9}", subsequent_indent=" " * 9, break_on_hyphens=False
            )
    return lines
