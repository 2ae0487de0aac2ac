"""A monitored night on the terminal; every line fits 80 columns."""

from __future__ import annotations

from typing import Any

from rich import box
from rich.table import Table

from recsys.cli.output import wrap
from recsys.cli.tables import add_row, start_table
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.wording import AREAS, limit_interval, write_figure, write_range
from recsys.progress import format_count

_WIDTH = 80


def describe_night(night: Night) -> str:
    """Return the verdict of a night, and what it rests on, as one sentence."""
    said = f"Night of {night.run_date}: {night.verdict}"
    judged = f"{len(night.expected):,} of {format_count(len(night.figures), 'figure')} judged"
    if not night.alerts:
        return f"{said}; {judged}, none outside its normal range"
    causes = ", ".join(dict.fromkeys(alert["cause"] for alert in night.alerts))
    return f"{said}; {format_count(len(night.alerts), 'alert')} ({causes}); {judged}"


def area_table(night: Night) -> Table:
    """Lay out a row per watched area: how many figures were judged, and those outside their range."""
    moved = {name for alert in night.alerts for name in (alert["figure"], *alert["also"])}
    table = Table(box=box.SIMPLE)
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


def figure_table(night: Night) -> Table:
    """Lay out every figure of the night, with the range that it was judged by."""
    table = start_table("", "figure", "tonight", "expected", words=("expected",))
    for name, value in sorted(night.figures.items()):
        normal = night.expected.get(name)
        expected = "not judged" if normal is None else write_range(normal, name)
        add_row(table, (name, write_figure(name, value), expected))
    return table


def outcome_lines(night: Night) -> list[str]:
    """Return what users did with the last lists, and what ingest left out, as lines of text."""
    figures, lines = night.figures, []
    if "outcomes.hit_rate" in figures:
        lines.append(
            f"outcomes  hit rate {_with_interval(night, 'outcomes.hit_rate')}, "
            f"{format_count(round(figures['outcomes.users']), 'user')} who chose an item"
        )
    elif "outcomes.users" in figures:
        lines.append("outcomes  no user with a list has chosen an item")
    if "outcomes.week.sample_ndcg" in figures:
        parts = [("ours", "sample"), ("blend", "blend"), ("popularity", "popularity")]
        shown = ", ".join(f"{label} {figures[f'outcomes.week.{name}_ndcg']:.3f}" for label, name in parts)
        lines.append(f"week      nDCG {shown} on the same users")
    if "abuse.left_out" in figures:
        lines.append(
            f"dropped   {format_count(round(figures['abuse.left_out']), 'event')} above dataset.max_events_per_user_day"
        )
    return lines


def _with_interval(night: Night, name: str) -> str:
    low, high = limit_interval(name, night.intervals[name][""])
    return f"{write_figure(name, night.figures[name])} ({write_figure(name, low)} to {write_figure(name, high)})"


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
        ("retrain", "yes" if alert.get("retrain") else ""),
    ]
    lines = []
    for label, text in rows:
        if text:
            lines += wrap(text, _WIDTH, f"{label:<9}", " " * 9)
    return lines
