"""Decisions of the gate and entries of the promotion log as text of 80 columns."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from rich.table import Table
from rich.text import Text

from recsys.cli import output
from recsys.cli.tables import start_table
from recsys.progress import format_count
from recsys.registry.gate.decision import Decision
from recsys.registry.gate.decision import decision_table as gate_table
from recsys.registry.promotion_log.entry import Entry

if TYPE_CHECKING:
    from recsys.pipelines.history import History, Served

_WIDTH = 80
_INDENT = "      "
# Entries that are printed; `--full` has all.
_ENTRIES = 10
_NAMES = {
    "hand_made": "moved by hand",
    "canary_stop": "canary stopped",
    "force": "FORCED",
    "refuse": "refused",
    "promote": "promoted",
    "rollback": "rolled back",
    "imported": "imported",
    "copy": "copied",
}


def decision_table(decision: Decision) -> Table:
    """Lay a decision out, a row per check."""
    rows = gate_table(decision)
    table = start_table("", *rows.columns, words=("verdict",))
    for row in rows.iter_rows():
        # Texts, not strings: brackets must not be read as styles.
        table.add_row(*(Text(cell, no_wrap=False) for cell in row))
    return table


def decision_lines(decision: Decision) -> list[str]:
    """Return a sentence per check, wrapped."""
    sentences = [
        check.sentence if check.sentence.startswith(check.name) else f"{check.name}: {check.sentence}"
        for check in decision.checks
    ]
    return [line for sentence in sentences for line in wrap(sentence, "- ", "  ")]


def history_lines(history: History, *, full: bool = False) -> list[str]:
    """Return what serves now, then the last entries, newest last; with `full`, all entries."""
    entries = history.entries if full else history.entries[-_ENTRIES:]
    lines = [line for entry in entries for line in entry_lines(entry)]
    if not lines:
        lines = [f"the promotion log of '{history.model}' has no entry yet"]
    if earlier := len(history.entries) - len(entries):
        lines = [f"({format_count(earlier, 'earlier entry', 'earlier entries')} with --full)", *lines]
    number = history.serving.number
    state = f"version {number} serves" if number else "no version serves"
    if history.anchor:
        state += f"; anchor version {history.anchor}, loss since it {100 * history.spent:.2g} %"
    if history.canary:
        state += f"; canary version {history.canary.version}, {100 * history.canary.share:.3g} % of the users"
    problem = history.serving.describe()
    return [*wrap(f"now: {state}"), *(wrap(f"attention: {problem}") if problem else []), "", *lines]


def entry_lines(entry: Entry) -> list[str]:
    """Return one entry: number, time, action, versions and author on the first line, the reason below."""
    unknown = entry.action == "imported"
    time = "    time unknown" if unknown else f"{entry.time:%Y-%m-%d %H:%M}"
    action = _NAMES.get(entry.action, entry.action)
    head = f"{entry.number:>4}  {time}  {action:<14} {_format_versions(entry):<9} {entry.author}"
    return [*wrap(head.rstrip())[:1], *(wrap(entry.reason, _INDENT, _INDENT) if entry.reason else [])]


def served_lines(asked: str, served: Sequence[Served]) -> list[str]:
    """Return what served at the asked time, a line per version."""
    if not served:
        return [f"{asked}: unknown; the promotion log starts later"]
    lines = []
    for span in served:
        if span.start is None:
            what = "before the promotion log starts"
        elif span.version is None:
            what = "no version served"
        else:
            what = f"version {span.version}"
        since = f" since {_format_time(span.start)} (entry {span.entry})" if span.start else ""
        until = f", until {_format_time(span.end)}" if span.end else ""
        lines += wrap(f"{asked}: {what}{since}{until}")
    return lines


def wrap(text: str, first: str = "", others: str = "  ") -> list[str]:
    """Return a text as lines of at most 80 columns."""
    return output.wrap(text, _WIDTH, first, others)


def _format_versions(entry: Entry) -> str:
    before, after = (version or "none" for version in (entry.from_version, entry.to_version))
    if entry.action in ("refuse", "canary", "canary_stop", "copy"):
        return after
    return f"{before} -> {after}"


def _format_time(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"
