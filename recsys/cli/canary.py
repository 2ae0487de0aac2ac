"""The command that gives a share of the users another version's lists."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from recsys.cli.options import ConfigOption, JsonOption
from recsys.cli.output import name_command, print_facts, print_json, print_next
from recsys.cli.setup import load_settings
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.pipelines.canary import CanaryState, PublishedCanary, StoppedCanary


def canary(
    config: ConfigOption,
    share: Annotated[
        float | None,
        typer.Option(
            metavar="SHARE",
            help="Start the canary or change its share: .05 gives 5 % of the users the other version's lists.",
        ),
    ] = None,
    version: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="Version that these users get. Default: the challenger.")
    ] = None,
    stop: Annotated[bool, typer.Option("--stop", help="End the canary.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show, start or stop a canary: a share of the users gets another version's lists on the same night.

    Users are assigned by a hash of their id, so each gets lists of the same version every night. A canary ends with
    `--stop`, or when its version is promoted or rolled back.

    Next: `recsys generate`.

    Example: `recsys canary --config configs/demo.yaml --share .05`
    """
    if stop and (share is not None or version is not None):
        raise ConfigError("--stop: cannot be combined with --share or --version; use one of them")
    if version is not None and share is None:
        raise ConfigError(
            f"--version {version}: --share is missing; add the share of users who get it, such as --share .05"
        )
    settings = load_settings(config, "pipelines.canary")
    from recsys.config import home
    from recsys.pipelines.canary import show_canary, start_canary, stop_canary

    if stop:
        _print_stopped(stop_canary(settings, home()), config, as_json)
        return
    if share is not None:
        start_canary(settings, home(), share, version)
    _print_state(show_canary(settings, home()), config, as_json)


def _print_state(state: CanaryState, config: Path, as_json: bool) -> None:
    running, entry = state.canary, state.entry
    if as_json:
        shown: dict[str, Any] | None = None
        if running and entry:
            since = {"since": entry.time.isoformat(), "by": entry.author, "entry": entry.number}
            shown = {"version": running.version, "share": running.share, "key": running.key, **since}
        print_json({"model": state.model, "canary": shown, "published": _list_published(state.published)})
        return
    if running is None or entry is None:
        facts = {"canary": f"none: every user gets the champion's lists of {state.model}"}
    else:
        facts = {
            "canary": f"version {running.version} of {state.model}, {running.share:.4g} of the users",
            "since": f"{entry.time:%Y-%m-%d %H:%M} UTC, by {entry.author} (entry {entry.number})",
        }
    print_facts({**facts, "published": _describe_published(state.published)})
    published = state.published.version if state.published else None
    if published != (running.version if running else None):
        print_next(name_command("generate", config))


def _print_stopped(stopped: StoppedCanary, config: Path, as_json: bool) -> None:
    version = stopped.canary.version if stopped.canary else None
    if as_json:
        print_json(
            {
                "stopped": version,
                "republished": stopped.republished,
                "published": _list_published(stopped.published),
            }
        )
        return
    canary = f"version {version} is stopped" if version else "none was running"
    if stopped.republished:
        print_facts(
            {"canary": canary, "published": f"{stopped.republished}: every user has the champion's lists again"}
        )
        return
    print_facts({"canary": canary, "published": _describe_published(stopped.published)})
    if stopped.published:
        print_next(name_command("generate", config, "--run-date", stopped.published.run_date))


def _list_published(published: PublishedCanary | None) -> dict[str, Any] | None:
    if published is None:
        return None
    return {
        "run_date": published.run_date,
        "version": published.version,
        "users": published.users,
        "all_users": published.all_users,
    }


def _describe_published(published: PublishedCanary | None) -> str:
    if published is None:
        return "lists without a canary"
    return f"{published.run_date}: {published.describe()}"
