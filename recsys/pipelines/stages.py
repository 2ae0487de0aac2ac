"""How a stage shows itself: one log line with rows and seconds, and a progress bar where it takes long."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

logger = logging.getLogger("recsys")
# Progress and logs go to stderr, results to stdout.
console = Console(stderr=True)


@contextmanager
def stage(name: str) -> Iterator[Callable[[str], None]]:
    """Time a stage; the block calls what it is given with the rows it made, and one line is logged at the end.

    On a terminal a spinner turns meanwhile, for the parts that cannot say how far they are.
    """
    outcome: list[str] = []
    start = time.perf_counter()
    with console.status(f"{name} …") if console.is_terminal else nullcontext():
        yield outcome.append
    logger.info("%s: %s in %.1f s", name, ", ".join(outcome) or "done", time.perf_counter() - start)


@contextmanager
def track(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with rate and time left; the block calls what it is given with each advance."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=total)
        yield lambda count: progress.advance(task, count)
