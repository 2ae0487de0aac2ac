"""The command that shows the published nights and moves readers by hand."""

from __future__ import annotations

from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import name_command, print_json, print_next, print_table, print_text
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.published import PublishedLists

# Moves and nights that are printed; `--full` and `--json` have all.
_MOVES = 5
_NIGHTS = 10


def lists(
    config: ConfigOption,
    point: Annotated[
        str | None, typer.Option(metavar="RUN_DATE", help="Move readers to this published night; the move is logged.")
    ] = None,
    full: FullOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show the published nights, which one each output serves and whether files are intact; or move readers.

    Prints the last nights and moves; with `--full`, all of them. Read-only without `--point`. `--point` checks the
    night's files, moves `RECSYS_HOME/recommendations/CURRENT` and fills the PostgreSQL table and the store, if they are
    configured. Readers stay there until the next later night is published.

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
            print_text(f"readers now follow {move.to_run_date} (before: {move.from_run_date or 'none'})")
        return
    shown = list_published(settings, home(), now)
    if as_json:
        print_json(asdict(shown))
        return
    _print(shown, full=full)
    if not shown.nights:
        print_next(name_command("generate", config))


def _print(shown: PublishedLists, *, full: bool) -> None:
    from recsys.cli.tables import night_table
    from recsys.progress import format_count

    if not shown.nights:
        print_text("no lists are published yet; run 'recsys generate'")
    if shown.fault:
        print_text(f"readers: the pointer is invalid: {shown.fault}")
    elif shown.readers:
        print_text(f"readers follow {shown.readers}")
    print_text(*(output for output in (shown.table, shown.store) if output))
    print_text(*(f"{night.run_date} is damaged: {night.fault}" for night in shown.nights if night.fault))
    if shown.nights:
        nights = shown.nights if full else shown.nights[:_NIGHTS]
        print_text("")
        print_table(night_table(nights))
        if earlier := len(shown.nights) - len(nights):
            print_text(f"{format_count(earlier, 'earlier night')} with --full")
    for move in shown.moves if full else shown.moves[-_MOVES:]:
        print_text(f"{move.time}: {move.who} moved readers from {move.from_run_date or 'none'} to {move.to_run_date}")
