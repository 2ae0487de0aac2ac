"""The command that deletes what nothing needs any more."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import print_json, print_lines, print_table
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.prune import Pruned

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Print what would be deleted, and delete nothing.")]


def prune(config: ConfigOption, dry_run: DryRunOption = False, as_json: JsonOption = False) -> None:
    """Delete what nothing needs any more: old snapshots, runs, files of model versions, caches, leftovers.

    The section `retention` of the config says how much is kept. What serves, the anchor, a canary, every aliased
    version and the last champions keep their files. A pruned version keeps its entry, its run and its metrics. What
    another command is using is left for the next time.

    Example: `recsys prune --config configs/demo.yaml --dry-run`
    """
    settings = load_settings(config)
    from recsys.cli.prune_table import prune_table
    from recsys.config import home
    from recsys.pipelines.prune import prune as prune_pipeline

    done = prune_pipeline(settings, home(), datetime.now(UTC), dry_run=dry_run)
    if as_json:
        print_json(done.to_dict())
        return
    if done.items:
        print_table(prune_table(done.items))
    print_lines(*_summarise(done))


def _summarise(done: Pruned) -> list[str]:
    """Return lines: what was left alone, then the totals."""
    from recsys.cli.prune_table import format_size
    from recsys.progress import format_count

    counts = [f"{kind} {count:,} ({format_size(size)})" for kind, (count, size) in done.totals.items()]
    failed = sum(bool(item.error) for item in done.items)
    lines = list(done.left)
    if failed:
        lines.append(f"{format_count(failed, 'item')} could not be deleted")
    if not counts:
        return [*lines, "nothing to delete"]
    verb = "would free" if done.dry_run else "freed"
    return [*lines, "; ".join(counts), f"{verb} {format_size(done.bytes)}"]
