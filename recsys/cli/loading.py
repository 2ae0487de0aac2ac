"""The group of commands: lists them without importing them, and loads the one that is called."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from importlib import import_module
from itertools import groupby
from typing import Any

import typer
from typer.core import TyperCommand, TyperGroup

from recsys.cli import interruption, setup
from recsys.cli.commands import ENTRIES, Entry
from recsys.cli.options import LogFileOption, QuietOption, VerboseOption

# Options that may be given before or after the command's name.
_GLOBAL: dict[str, tuple[Any, Any]] = {
    "verbose": (VerboseOption, False),
    "quiet": (QuietOption, False),
    "log_file": (LogFileOption, None),
}
HELP_NAMES = {"help_option_names": ["-h", "--help"]}


class Command(TyperCommand):
    """A command whose help has the options of all commands in a section of their own."""

    def format_options(self, ctx: Any, formatter: Any) -> None:
        """Write arguments, options and global options, a section each."""
        sections: dict[str, list[tuple[str, str]]] = {"Arguments": [], "Options": [], "Global options": []}
        for parameter in self.get_params(ctx):
            record = parameter.get_help_record(ctx)
            if record is None:
                continue
            if parameter.param_type_name == "argument":
                section = "Arguments"
            else:
                section = "Global options" if parameter.name in (*_GLOBAL, "help") else "Options"
            sections[section].append(record)
        for title, records in sections.items():
            if records:
                with formatter.section(title):
                    formatter.write_dl(records)


class CommandGroup(TyperGroup):
    """The commands; after Ctrl-C or SIGTERM there is one line instead of a traceback."""

    def __init__(self, *arguments: Any, **settings: Any) -> None:
        """Take the settings of a group; its commands are those of `commands.ENTRIES`."""
        super().__init__(*arguments, **settings)
        self.commands = {entry.name: TyperCommand(entry.name, help=entry.summary) for entry in ENTRIES}

    def resolve_command(self, ctx: Any, args: Any) -> Any:
        """Return the name and the command that is called, loaded, and the rest of the arguments."""
        name, command, rest = super().resolve_command(ctx, args)
        entries = {entry.name: entry for entry in ENTRIES}
        return name, load(entries[name], ctx.params) if name in entries else command, rest

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Write a section per group of commands."""
        width = max(len(entry.name) for entry in ENTRIES)
        for group, entries in groupby(ENTRIES, lambda entry: entry.group):
            with formatter.section(group):
                formatter.write_dl([(entry.name.ljust(width), entry.summary) for entry in entries])

    def invoke(self, ctx: Any) -> Any:
        """Run a command.

        Raises:
            typer.Exit: with code 130 after Ctrl-C, 143 after SIGTERM, as shells expect.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            message, code = interruption.describe_interrupt(ctx.invoked_subcommand, interrupt)
            setup.print_failure(message)
            raise typer.Exit(code) from interrupt


def load(entry: Entry, before: Mapping[str, Any]) -> Any:
    """Import a command and return it with the global options added.

    Args:
        entry: the command.
        before: values of the global options that stood before its name.
    """
    module, name = entry.target
    function = getattr(import_module(f"recsys.cli.{module}"), name)
    app = typer.Typer(
        add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, context_settings=HELP_NAMES
    )
    app.command(entry.name, cls=Command)(_add_global_options(function, before))
    return typer.main.get_command(app)


def _add_global_options(function: Callable[..., None], before: Mapping[str, Any]) -> Callable[..., None]:
    """Return the function with the global options as parameters; it starts logging before it does anything else."""
    signature = inspect.signature(function, eval_str=True)
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotation)
        for name, (annotation, default) in _GLOBAL.items()
    ]
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in signature.parameters.values()]

    @functools.wraps(function)
    def call(**values: Any) -> None:
        given = {name: values.pop(name) or before.get(name) for name in _GLOBAL}
        if given["verbose"] and given["quiet"]:
            raise typer.BadParameter("--verbose and --quiet exclude each other; use one of them")
        setup.start_logging(
            verbose=bool(given["verbose"]), quiet=bool(given["quiet"]), log_file=given["log_file"] or None
        )
        function(**values)

    # What typer reads parameters from.
    vars(call)["__signature__"] = signature.replace(parameters=[*parameters, *added])
    call.__annotations__ = {parameter.name: parameter.annotation for parameter in (*parameters, *added)}
    return call
