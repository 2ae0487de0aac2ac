"""The command that makes and publishes lists."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import ConfigOption, JsonOption, RunDateOption
from recsys.cli.output import name_command, print_json, print_next, print_text
from recsys.cli.setup import load_settings
from recsys.errors import ConfigError, Refused

if TYPE_CHECKING:
    from recsys.config import Config
    from recsys.pipelines.generate import Generated
    from recsys.pipelines.night_lists import Part


def generate(
    config: ConfigOption,
    run_date: RunDateOption = None,
    until: Annotated[
        str | None,
        typer.Option(metavar="YYYY-MM-DD", help="Last run date of a range that starts with --run-date."),
    ] = None,
    keep_pointer: Annotated[
        bool, typer.Option("--keep-pointer", help="Do not move readers to these lists, as in a backfill.")
    ] = False,
    allow_future: Annotated[
        bool, typer.Option("--allow-future", help="Accept a run date in the future, for simulations.")
    ] = False,
    accept_loss: Annotated[
        str | None,
        typer.Option(
            metavar="REASON", help="Accept fewer users and rows than in the last good lists, for this reason."
        ),
    ] = None,
    shards: Annotated[
        str | None,
        typer.Option(metavar="I/N", help="Make only part I of N; afterwards, a call without --shards publishes."),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make the champion's lists for every active user and publish them in one step.

    While a canary is running (`recsys canary`), its share of the users gets the challenger's lists in the same step.
    Readers follow `RECSYS_HOME/recommendations/CURRENT`, which is updated last. The same snapshot, champion and run
    date give byte-identical lists. If it is killed, run it again: finished shards are kept. With `--until`, the lists
    of every run date of the range are made in order; published dates are skipped. With `--shards`, several processes or
    machines that share RECSYS_HOME each make a part of the lists at the same time.

    The exit code is 3 if a check refuses the lists, or if they are published but readers keep following a later run
    date: `recsys lists --point RUN_DATE` moves readers. With `--keep-pointer` this is intended, and the exit code is 0.

    Example: `recsys generate --config configs/demo.yaml --run-date 2025-03-02`
    """
    settings = load_settings(config, "pipelines.generate")
    from recsys.config import home
    from recsys.pipelines.generate import NightOptions, generate_range
    from recsys.pipelines.generate import generate as generate_pipeline

    options, now = NightOptions(keep_pointer, allow_future, accept_loss), datetime.now(UTC)
    if shards is not None:
        if until is not None:
            raise ConfigError("--shards and --until exclude each other; use one of them")
        _generate_part(config, settings, run_date, _parse_part(shards), allow_future=allow_future, as_json=as_json)
        return
    if until is None:
        published = [generate_pipeline(settings, home(), run_date, now, options)]
    elif run_date is None:
        raise ConfigError(f"--until {until}: --run-date is missing; give the first run date too")
    else:
        published = generate_range(settings, home(), run_date, until, now, options)
    if as_json:
        facts = [list_facts(lists) for lists in published]
        print_json(facts[0] if until is None else facts)
    else:
        _print_nights(published)
    if not keep_pointer:
        refuse_unfollowed(published[-1])
        if not as_json:
            print_next(name_command("monitor", config), name_command("show", config, "USER"))


def _print_nights(published: Sequence[Generated]) -> None:
    from recsys.progress import format_count

    for lists in published:
        rows, users = format_count(lists.counts["rows"], "recommendation"), format_count(lists.counts["users"], "user")
        print_text(f"{lists.folder}: {rows} for {users}")
        if lists.variants:
            own = lists.variants["challenger"]
            print_text(
                f"canary: {format_count(own['counts']['users'], 'user')} have lists of version {own['model_version']}"
            )


def refuse_unfollowed(lists: Generated) -> None:
    """End with exit code 3 where readers do not follow the last night that was made."""
    if lists.readers != lists.run_date:
        raise Refused(
            f"lists for {lists.run_date}: published, but readers still follow the later run date {lists.readers}; run "
            f"'recsys lists --point {lists.run_date}' to move them; in a backfill, add --keep-pointer"
        )


def _generate_part(
    file: Path, settings: Config, run_date: str | None, part: Part, *, allow_future: bool, as_json: bool
) -> None:
    from recsys.config import home
    from recsys.pipelines.night_parts import generate_part
    from recsys.progress import format_count

    made = generate_part(settings, home(), run_date, part, datetime.now(UTC), allow_future=allow_future)
    if as_json:
        print_json({"run_date": made.run_date, "shards": str(part), "counts": made.counts})
        return
    users = format_count(made.counts.get("users", 0), "user")
    print_text(f"part {part} of {made.run_date}: lists for {users}")
    print_next(f"{name_command('generate', file, '--run-date', made.run_date)}, when all parts are finished")


def _parse_part(text: str) -> Part:
    from recsys.pipelines.night_lists import Part

    number, _, parts = text.partition("/")
    if number.isdecimal() and parts.isdecimal() and 1 <= int(number) <= int(parts):
        return Part(int(number), int(parts))
    raise ConfigError(f"--shards '{text}': expected I/N with I from 1 to N, such as 2/3")


def list_facts(lists: Generated) -> dict[str, Any]:
    """Return a published night as JSON has it."""
    facts: dict[str, Any] = {"folder": str(lists.folder), "run_date": lists.run_date, "counts": lists.counts}
    facts["readers"] = lists.readers
    return {**facts, "variants": lists.variants} if lists.variants else facts
