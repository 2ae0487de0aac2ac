"""The command that deletes what is no longer needed."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, FullOption, JsonOption
from recsys.cli.output import name_command, print_json, print_next, print_table, print_text
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.prune import Pruned

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted without deleting anything.")]


# Rows that are printed, the largest; `--full` and `--json` have all.
_ROWS = 10


def prune(
    config: ConfigOption, dry_run: DryRunOption = False, full: FullOption = False, as_json: JsonOption = False
) -> None:
    """Delete what is no longer needed: old snapshots, runs, files of model versions, caches, leftovers.

    The section `retention` of the config sets how much is kept. The serving version, the anchor, a canary, every
    aliased version and the last champions keep their files. A pruned version keeps its entry, its run and its metrics.
    Files that another command is using are skipped. Prints the ten largest deletions; with `--full`, all of them.

    Example: `recsys prune --config configs/demo.yaml --dry-run`
    """
    settings = load_settings(config, "pipelines.prune")
    from recsys.cli.prune_table import prune_table
    from recsys.config import home
    from recsys.pipelines.prune import prune as prune_pipeline

    done = prune_pipeline(settings, home(), datetime.now(UTC), dry_run=dry_run)
    if as_json:
        print_json(done.to_dict())
        return
    print_text(*_summarise(done))
    if not done.items:
        return
    # What could not be deleted is always shown.
    items = sorted(done.items, key=lambda item: (not item.error, -item.bytes))
    shown = items if full else items[: max(_ROWS, sum(bool(item.error) for item in items))]
    print_text("")
    print_table(prune_table(shown))
    if more := len(items) - len(shown):
        print_text(f"{more:,} more with --full")
    if done.dry_run:
        print_next(name_command("prune", config))


def _summarise(done: Pruned) -> list[str]:
    """Return lines: the totals, then what was left alone."""
    from recsys.cli.prune_table import format_size
    from recsys.progress import format_count

    counts = [f"{kind} {count:,} ({format_size(size)})" for kind, (count, size) in done.totals.items()]
    failed = sum(bool(item.error) for item in done.items)
    lines = [f"{format_count(failed, 'item')} could not be deleted"] if failed else []
    if not counts:
        return ["nothing to delete", *lines, *done.left]
    verb = "would free" if done.dry_run else "freed"
    return [f"{verb} {format_size(done.bytes)}: {'; '.join(counts)}", *lines, *done.left]
