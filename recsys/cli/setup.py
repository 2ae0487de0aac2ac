"""What a process sets up before the work: thread counts, logging and the config."""

from __future__ import annotations

import logging
import os
import sys
import traceback
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

import typer

from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.config import Config

logger = logging.getLogger("recsys")
_TIME = "%H:%M:%S"
# Variables with addresses that may hold credentials.
_ADDRESSES = ("MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI", "RECSYS_LISTS_URL")
_FILE_FORMAT = logging.Formatter("%(asctime)s %(levelname)s %(module)s: %(message)s", "%Y-%m-%dT%H:%M:%S%z")
# The handler of --log-file while a command runs.
_log_files: list[logging.FileHandler] = []


def load_settings(path: Path, *modules: str) -> Config:
    """Load a config file, set the thread counts that it asks for, and import what the command needs.

    Args:
        path: of the file.
        modules: below `recsys`, whose imports take seconds: a spinner says so.

    Raises:
        ConfigError: the file is missing or invalid.
        RecsysError: a module needs an extra that is not installed.
    """
    from recsys.config import load_config

    config = load_config(path)
    set_threads(config.threads)
    if modules:
        from recsys.progress import waiting

        with waiting("loading"):
            for module in modules:
                import_module(f"recsys.{module}")
    return config


def set_threads(threads: int) -> None:
    """Set the thread counts of the numerical libraries, which read them once, when they are imported.

    `implicit` starts its own threads and needs a single-threaded BLAS; torch and LightGBM share OpenMP's count.
    """
    os.environ["OPENBLAS_NUM_THREADS"] = "1"
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS"):
        os.environ[name] = str(threads)


def start_logging(*, verbose: bool = False, quiet: bool = False, log_file: Path | None = None) -> None:
    """Send the log to stderr, and to a file if one is given.

    Args:
        verbose: log at level DEBUG instead of INFO.
        quiet: show only warnings on stderr, and no progress bars; the file still gets everything.
        log_file: file to append to.

    Raises:
        ConfigError: the file cannot be written.
    """
    handler = _stderr_handler(quiet=quiet)
    if quiet:
        handler.setLevel(logging.WARNING)
    logging.basicConfig(handlers=[handler])
    logger.setLevel(logging.DEBUG if verbose else logging.INFO)
    if log_file is None:
        return
    try:
        file_handler = logging.FileHandler(log_file, encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            f"log file {log_file}: cannot be written ({error.strerror}); choose another --log-file"
        ) from error
    file_handler.setFormatter(_FILE_FORMAT)
    logging.getLogger().addHandler(file_handler)
    _log_files.append(file_handler)


def _stderr_handler(*, quiet: bool) -> logging.Handler:
    """Return a handler for people on a terminal, and one of plain lines for everything else."""
    if quiet:
        from recsys.progress import console

        console.quiet = True
    elif sys.stderr.isatty():
        # Through the console of the progress bars, so that a log line does not cut through one.
        from rich.highlighter import NullHighlighter
        from rich.logging import RichHandler

        from recsys.progress import console

        rich_handler = RichHandler(
            console=console,
            show_path=False,
            highlighter=NullHighlighter(),
            log_time_format=_TIME,
            omit_repeated_times=False,
        )
        rich_handler.setFormatter(logging.Formatter("%(message)s"))
        return rich_handler
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", _TIME))
    return handler


def stop_logging() -> None:
    """Close the log file."""
    while _log_files:
        handler = _log_files.pop()
        logging.getLogger().removeHandler(handler)
        handler.close()


def print_failure(message: str, error: Exception | None = None) -> None:
    """Print the one line that a command ends with, and append it to the log file; the traceback is for --verbose."""
    if error is not None:
        logger.debug("traceback of the error below\n%s", _format_traceback(error))
    typer.echo(message, err=True)
    _append(message)


def write_traceback(error: Exception) -> None:
    """Append an unexpected error to the log file; `print_traceback` prints it on stderr."""
    _append(f"unexpected error\n{_format_traceback(error)}")


def print_traceback(_kind: type[BaseException], error: BaseException, _trace: TracebackType | None) -> None:
    """Print what ends the process on stderr, as Python does, but without credentials."""
    typer.echo(_format_traceback(error), err=True)


def _format_traceback(error: BaseException) -> str:
    """Return a traceback without credentials: other packages repeat the addresses that they were given."""
    from recsys.storage.addresses import hide_credentials

    addresses = [os.environ.get(name, "") for name in _ADDRESSES]
    return hide_credentials("".join(traceback.format_exception(error)).rstrip(), addresses)


def _append(message: str) -> None:
    for handler in _log_files:
        handler.handle(logger.makeRecord("recsys", logging.ERROR, __file__, 0, message, (), None))
