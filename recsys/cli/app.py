"""The root command: global options, the list of commands, and how errors leave the process.

Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 2 error, 3 refused, 4 alert, 130
interrupted, 143 terminated.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from recsys.cli import (
    ab,
    backup,
    canary,
    data,
    encoder,
    init,
    inspection,
    interruption,
    lists,
    monitor,
    privacy,
    prune,
    published,
    registry,
    setup,
    training,
)
from recsys.errors import RecsysError
from recsys.storage.access import keep_private

# The first word of the last line, by exit code.
_FAILURES = {2: "error", 3: "refused", 4: "alert"}


class CommandGroup(TyperGroup):
    """The commands, with one line instead of a traceback after Ctrl-C or SIGTERM."""

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


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    # Markdown paragraphs wrap at the terminal's width, and brackets are not read as styles.
    rich_markup_mode="markdown",
    context_settings={"help_option_names": ["-h", "--help"]},
)

_GROUPS: dict[str, dict[str, Callable[..., None]]] = {
    "Start here": {"demo-data": data.demo_data, "init": init.init, "run": lists.run},
    "Data and training": {
        "ingest": data.ingest,
        "train": training.train,
        "register": training.register,
        "tune": training.tune,
    },
    "Promotion and lists": {
        "promote": registry.promote,
        "rollback": registry.rollback,
        "history": registry.history,
        "copy-version": registry.copy_version,
        "generate": lists.generate,
        "lists": published.lists,
        "canary": canary.canary,
        "monitor": monitor.monitor,
        "prune": prune.prune,
        "backup": backup.backup,
        "restore": backup.restore,
    },
    "People's data": {"forget": privacy.forget, "pseudonyms": privacy.pseudonyms},
    "Results and checks": {
        "evaluate": inspection.evaluate,
        "report": inspection.report,
        "doctor": inspection.doctor,
        "freshness": inspection.freshness,
        "ab": ab.ab,
    },
    "Encoder": {"search": encoder.search, "embed": encoder.embed, "export": encoder.export},
}
for _panel, _commands in _GROUPS.items():
    for _name, _command in _commands.items():
        app.command(_name, rich_help_panel=_panel)(_command)


def _print_version(wanted: bool) -> None:
    if wanted:
        from recsys import __version__

        typer.echo(f"recsys {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Log details too, and the traceback of an error.")
    ] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log warnings only, without progress bars.")] = False,
    log_file: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Append the log, with dates, levels and modules, to this file too."),
    ] = None,
) -> None:
    """Recommend items every night from their texts and from what users did.

    New here? Run `recsys demo-data --out data/demo`, then `recsys run --config configs/demo.yaml`. With an export of
    your own, `recsys init PATH...` writes a config.

    All output goes below `RECSYS_HOME` (default `./data/home`). Relative data paths in a config start from
    `RECSYS_DATA` (default: the working directory). Logs go to stderr, results to stdout.

    Exit codes: 0 done, 2 error, 3 refused by the promotion gate or a sanity check, or not followed by readers, 4 alert
    of the monitor, 130 interrupted, 143 terminated.
    """
    if verbose and quiet:
        raise typer.BadParameter("--verbose and --quiet exclude each other; give one of them")
    setup.start_logging(verbose=verbose, quiet=quiet, log_file=log_file)


def main() -> None:
    """Run the command line; an error raised on purpose prints its message, not a traceback."""
    keep_private()
    sys.excepthook = setup.print_traceback
    with interruption.catching_termination():
        _run()


def _run() -> None:
    try:
        app()
    except KeyboardInterrupt as interrupt:
        message, code = interruption.describe_interrupt(None, interrupt)
        setup.print_failure(message)
        sys.exit(code)
    except RecsysError as error:
        setup.print_failure(f"{_FAILURES[error.exit_code]}: {error}", error)
        sys.exit(error.exit_code)
    except Exception as error:
        setup.write_traceback(error)
        raise
    finally:
        # Imports numba, so it is not loaded for this.
        if compilation := sys.modules.get("recsys.storage.compilation"):
            compilation.log_compilations()
        setup.stop_logging()
