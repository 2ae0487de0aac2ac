"""The root command: global options, and how errors leave the process.

Results go to stdout, logs and progress to stderr. Exit codes: 0 done, 2 error, 3 refused, 4 alert, 130
interrupted, 143 terminated.
"""

from __future__ import annotations

import gc
import sys
from typing import Annotated

import typer

from recsys.cli import interruption, setup
from recsys.cli.loading import HELP_NAMES, CommandGroup
from recsys.cli.options import LogFileOption, QuietOption, VerboseOption
from recsys.errors import RecsysError
from recsys.storage.access import keep_private

# The first word of the last line, by exit code.
_FAILURES = {2: "error", 3: "refused", 4: "alert"}
# New container objects before the garbage collector looks at them.
_GC_THRESHOLD = 50_000

app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    # Plain help: rich's Markdown costs as much time as everything else together.
    rich_markup_mode=None,
    context_settings=HELP_NAMES,
)


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
    verbose: VerboseOption = False,
    quiet: QuietOption = False,
    log_file: LogFileOption = None,
) -> None:
    """Recommend items every night from their texts and users' interactions.

    New here? Run `recsys demo-data --out data/demo`, then `recsys run --config configs/demo.yaml`. With an export of
    your own, `recsys init PATH...` writes a config.

    All output goes below `RECSYS_HOME` (default `./data/home`). Relative data paths in a config start from
    `RECSYS_DATA` (default: the working directory). `RECSYS_CONFIG` is the default of `--config`.
    Logs go to stderr, results to stdout. `-v`, `-q` and `--log-file` can be placed before or after the command.

    Exit codes: 0 done, 2 error, 3 refused by the promotion gate or a sanity check, or published without moving
    readers, 4 alert of the monitor, 130 interrupted, 143 terminated.
    """
    # The command reads these options with its own of the same names, and starts logging; see `loading`.


def main() -> None:
    """Run the command line; an error raised on purpose prints its message, not a traceback."""
    # Imports make hundreds of thousands of objects that stay; the default threshold looks through them again and again.
    gc.set_threshold(_GC_THRESHOLD, 20, 100)
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
        # The interpreter would look for cycles in all modules before it frees them.
        gc.freeze()
