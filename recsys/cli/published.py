"""The command that shows the published nights and moves readers by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import print_json, print_lines, print_table
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.published import PublishedLists

# Moves that are printed; `--json` has all.
_MOVES = 5


def lists(
    config: ConfigOption,
    point: Annotated[
        str | None, typer.Option(metavar="RUN_DATE", help="Move readers to this published night; the move is logged.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the published nights, who follows what, and whether every file is whole; or move readers.

    Without `--point` read-only. `--point` checks the night's files, moves `RECSYS_HOME/recommendations/CURRENT` and
    fills the PostgreSQL table and the store, if they are configured. Readers stay there until the next later night is
    published.

    Example: `recsys lists --config configs/demo.yaml --point 2025-03-01`
    """
    settings = load_settings(config)
    from recsys.config import home
    from recsys.pipelines.published import list_published, move_pointer

    now = datetime.now(UTC)
    if point is not None:
        move = move_pointer(settings, home(), point, now)
        if as_json:
            print_json(asdict(move))
        else:
            print_lines(f"readers follow {move.to_run_date} now (before: {move.from_run_date or 'none'})")
        return
    shown = list_published(settings, home(), now)
    if as_json:
        print_json(asdict(shown))
        return
    _print(shown)


def _print(shown: PublishedLists) -> None:
    from recsys.cli.tables import night_table

    if not shown.nights:
        print_lines("no lists are published yet; run 'recsys generate'")
    else:
        print_table(night_table(shown.nights))
    if shown.fault:
        print_lines(f"readers: the pointer is not trusted: {shown.fault}")
    elif shown.readers:
        print_lines(f"readers follow {shown.readers}")
    for output in (shown.table, shown.store):
        if output:
            print_lines(output)
    for night in shown.nights:
        if night.fault:
            print_lines(f"{night.run_date} is damaged: {night.fault}")
    for move in shown.moves[-_MOVES:]:
        print_lines(f"{move.time}: {move.who} moved readers from {move.from_run_date or 'none'} to {move.to_run_date}")
