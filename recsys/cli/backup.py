"""The commands that back a home up and restore it."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import name_command, print_json, print_next, print_text
from recsys.cli.setup import load_settings

if TYPE_CHECKING:
    from recsys.pipelines.backup_work import BackedUp

TargetArgument = Annotated[Path, typer.Argument(metavar="TO", help="Folder to write, outside RECSYS_HOME.")]
SourceArgument = Annotated[Path, typer.Argument(metavar="FROM", help="Folder that `recsys backup` wrote.")]
ReplaceOption = Annotated[bool, typer.Option("--replace", help="Replace an existing backup.")]


def backup(
    to: TargetArgument, config: ConfigOption, replace: ReplaceOption = False, as_json: JsonOption = False
) -> None:
    """Back up what a night needs: registry, promotion log, bundles in use, snapshots, lists and config.

    It can run at any time, also during nights and trainings. The folder gets its name when it is complete, and
    contains a SHA-256 of every file. Raw data, caches, searches and reports are not included.

    Damaged former versions, older nights and runs are skipped; the rest is backed up, with exit code 3.

    Next: copy the folder to another machine, and try `recsys restore` there.

    Example: `recsys backup /backups/2025-03-01 --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.backup")
    from recsys.cli.prune_table import format_size
    from recsys.config import home
    from recsys.pipelines.backup import backup as backup_pipeline
    from recsys.progress import format_count

    done = backup_pipeline(settings, config, home(), to, datetime.now(UTC), replace=replace)
    if as_json:
        print_json(done.to_dict())
        _refuse_damaged(done)
        return
    held = [
        f"versions {', '.join(done.versions)}" if done.versions else "no versions",
        format_count(len(done.snapshots), "snapshot"),
        f"lists of {format_count(len(done.nights), 'night')}",
    ]
    print_text(
        f"backup {done.folder}: {', '.join(held)}; {format_count(done.files, 'file')}, {format_size(done.bytes)}",
        *(f"not in it: {sentence}" for sentence in done.left_out),
    )
    _refuse_damaged(done)


def _refuse_damaged(done: BackedUp) -> None:
    """End with exit code 3 where something damaged could not be backed up."""
    from recsys.errors import Refused

    if done.damaged:
        raise Refused(
            f"backup {done.folder}: is complete except for files that are damaged in the home: "
            f"{'; '.join(done.damaged)}; "
            "restore them from an earlier backup or prune them, then back up again"
        )


def restore(source: SourceArgument, as_json: JsonOption = False) -> None:
    """Fill an empty RECSYS_HOME from a backup, on any machine and at any path.

    All files are checked first; nothing is written if one is damaged. To continue an interrupted restore, run the
    command again.

    Next: `recsys doctor`, then `recsys generate`.

    Example: `RECSYS_HOME=/srv/recsys recsys restore /backups/2025-03-01`
    """
    from recsys.config import home
    from recsys.progress import format_count, waiting

    with waiting("loading"):
        from recsys.pipelines.restore import restore as restore_pipeline
    done = restore_pipeline(source, home())
    if as_json:
        print_json(done.to_dict())
        return
    lines = [f"restored '{done.name}' to {done.home}: {format_count(done.files, 'file')}"]
    if done.run_date:
        lines.append(f"readers see {done.run_date}")
    if done.versions:
        lines.append(f"the registry is on {done.store}; files of its versions are in {done.versions}")
    print_text(*lines, f"its config file: {done.config}")
    print_next(name_command("doctor", Path(done.config)), name_command("generate", Path(done.config)))
