"""Commands about people's data: forget users, and map pseudonyms back."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import print_json, print_text
from recsys.cli.setup import load_settings


def forget(
    config: ConfigOption,
    user: Annotated[
        list[str] | None, typer.Option(metavar="ID", help="The user's id or pseudonym; repeatable.")
    ] = None,
    file: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Users, one id per line, or CSV with a column user_id.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Print what would be changed without changing anything.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Permanently remove users from snapshots, lists, runs, caches, reports, the table and the store.

    Later ingests reject their rows by the rule `forgotten`: only keyed hashes of their ids are kept. Model weights that
    were also trained on their events stay until newer versions replace them. Raw files, backups and the files of a
    remote MLflow server are not changed. If it is interrupted, run it again.

    Example: `recsys forget --config configs/demo.yaml --user u0000913`
    """
    settings = load_settings(config, "pipelines.forget")
    from recsys.config import home
    from recsys.pipelines.forget import forget as forget_pipeline
    from recsys.pipelines.forget import read_users
    from recsys.progress import format_count

    ids = read_users(user or [], file)
    made = forget_pipeline(settings, home(), ids, datetime.now(UTC).timestamp(), dry_run=dry_run)
    if as_json:
        print_json(made.to_dict())
        return
    lines = [f"{one.what}: {one.name}" for one in made.removed]
    lines += [f"trained on their events: {sentence}" for sentence in made.bundles]
    lines += [f"not reached: {sentence}" for sentence in made.left]
    users, places = format_count(made.users, "user"), format_count(len(made.removed), "place")
    print_text(f"{'would forget' if dry_run else 'forgot'} {users} in {places}", *lines)


def pseudonyms(
    config: ConfigOption,
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="CSV file to write, outside RECSYS_HOME; only its owner can read it.")
    ],
    as_json: JsonOption = False,
) -> None:
    """Write a table of user ids and their pseudonyms, from the raw interactions.

    Needs `dataset.pseudonyms: true` and the key in `RECSYS_PSEUDONYM_KEY`. Do not share the file with people who get
    the lists: it identifies the users.

    Example: `recsys pseudonyms --config configs/demo.yaml --out ~/users.csv`
    """
    settings = load_settings(config)
    from recsys.config import home
    from recsys.pipelines.pseudonyms import write_mapping
    from recsys.progress import format_count

    users = write_mapping(settings, home(), out)
    if as_json:
        print_json({"file": str(out), "users": users})
        return
    print_text(f"{format_count(users, 'user')}: {out}")
