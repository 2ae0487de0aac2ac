"""The command line with every command loaded, which `make cli-reference` describes in docs/reference/cli.md."""

from __future__ import annotations

from typing import Any

import typer

from recsys.cli.app import root
from recsys.cli.commands import ENTRIES
from recsys.cli.loading import HELP_NAMES, CommandGroup, load


class LoadedGroup(CommandGroup):
    """The commands with their options; the command line itself loads only the one that is called."""

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Return a command, loaded; None if there is none of that name."""
        return next((load(entry, {}) for entry in ENTRIES if entry.name == cmd_name), None)


app = typer.Typer(cls=LoadedGroup, rich_markup_mode=None, context_settings=HELP_NAMES)
app.callback()(root)
