"""Commands that make and ingest raw data."""

from __future__ import annotations

from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from shlex import quote
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import name_command, print_json, print_lines, print_next, print_text
from recsys.cli.setup import load_settings, set_threads


class Language(StrEnum):
    """Languages of the demo catalogue."""

    EN = "en"
    ZH = "zh"


def demo_data(
    out: Annotated[Path, typer.Option(metavar="DIR", help="Folder for items.jsonl.gz and interactions.csv.gz.")],
    users: Annotated[int, typer.Option(help="Number of users.")] = 1500,
    items: Annotated[int, typer.Option(help="Number of items.")] = 1200,
    days: Annotated[int, typer.Option(help="Number of days, from 2025-01-01.")] = 60,
    seed: Annotated[int, typer.Option(help="Random seed; output is reproducible.")] = 0,
    language: Annotated[Language, typer.Option(help="Language of titles and descriptions.")] = Language.EN,
    as_json: JsonOption = False,
) -> None:
    """Write a synthetic catalogue and events to try recsys with.

    Example: `recsys demo-data --users 500 --language zh --out data/demo`
    """
    set_threads(2)
    from recsys.dataset.demo import write_demo
    from recsys.progress import format_count, log_stage, progress_bar

    with log_stage("demo data") as done, progress_bar("Users", users) as progress:
        write_demo(out, users=users, items=items, days=days, seed=seed, language=language.value, progress=progress)
        done(f"{format_count(users, 'user')}, {format_count(items, 'item')}, {format_count(days, 'day')}")
    if as_json:
        print_json({"folder": str(out), "users": users, "items": items, "days": days, "seed": seed})
        return
    print_lines(str(out))
    demo = out == Path("data/demo")
    print_next("recsys run --config configs/demo.yaml" if demo else f"recsys init {quote(str(out))}")


def ingest(
    config: ConfigOption,
    accept_loss: Annotated[
        str | None,
        typer.Option(metavar="REASON", help="Accept the loss of users, items or interactions, for this reason."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Read the raw files, validate every row and write a snapshot.

    If too much of the last good snapshot is missing (`dataset.sanity` in the config), the exit code is 3 and the
    current snapshot is unchanged.

    The snapshot goes to `RECSYS_HOME/snapshots`. Its `rejected.parquet` contains each rejected row and the rule it
    broke, its `summary.json` a summary of the data.

    Next: `recsys train`.

    Example: `recsys ingest --config configs/demo.yaml`
    """
    settings = load_settings(config, "pipelines.ingest")
    from recsys.config import home
    from recsys.pipelines.ingest import run_ingest

    snapshot, summary = run_ingest(settings, home(), datetime.now(UTC), accept_loss)
    if as_json:
        counts = {
            table: {"read": rows.read, "kept": rows.kept, "rejected": rows.rejected}
            for table, rows in summary.rows.items()
        }
        print_json({"snapshot": snapshot, "counts": counts, "summary": summary.as_dict()})
        return
    print_text(f"snapshot {snapshot}", *summary.lines())
    print_next(name_command("train", config))
