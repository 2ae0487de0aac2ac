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
# Seconds between two lines of a `ProgressLogger`.
_PAUSE = 60.0


@contextmanager
def log_stage(name: str) -> Iterator[Callable[[str], None]]:
    """Time a stage; the block calls what it is given with the rows it made, and one line is logged at the end.

    On a terminal a spinner turns meanwhile, for the parts that cannot say how far they are.
    """
    outcome: list[str] = []
    start = time.perf_counter()
    with console.status(f"{name} …") if console.is_terminal else nullcontext():
        yield outcome.append
    logger.info("%s: %s in %.1f s", name, ", ".join(outcome) or "done", time.perf_counter() - start)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
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


class ProgressLogger:
    """Logs now and then how far something is, how fast it goes and how long it will take.

    Args:
        name: of the stage.
        unit: what is counted, such as `users`.
        total: how many there are.
    """

    def __init__(self, name: str, unit: str, total: int) -> None:
        self._name, self._unit, self._total, self._made = name, unit, total, 0
        self._started = self._told = time.monotonic()

    def update(self, count: int) -> None:
        """Count what is done, and log a line if the last one is a minute old."""
        self._made += count
        now = time.monotonic()
        if now - self._told >= _PAUSE:
            self._told = now
            minutes = (self._total - self._made) * (now - self._started) / self._made / 60
            left = f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"
            made = f"{self._made:,} of {self._total:,} {self._unit}"
            logger.info("%s: %s%s, %s left", self._name, made, self.describe(), left)

    def describe(self) -> str:
        """Return the rate as text."""
        seconds = time.monotonic() - self._started
        return f", {self._made / seconds:,.0f} {self._unit} per second" if self._made and seconds > 0 else ""


@contextmanager
def training_progress_bar(description: str, steps: int) -> Iterator[Callable[[int, float], None]]:
    """Show a training's progress with loss, examples per second and time left.

    The block calls what it is given after each step, with the step's examples and its loss.
    """
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("loss {task.fields[loss]}  {task.fields[rate]} examples/s"),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    start, seen = time.perf_counter(), 0
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=steps, loss="–", rate="–")

        def advance(examples: int, loss: float) -> None:
            nonlocal seen
            seen += examples
            rate = seen / max(time.perf_counter() - start, 1e-9)
            progress.update(task, advance=1, loss=f"{loss:.3f}", rate=f"{rate:,.0f}")

        yield advance


def format_count(number: int, noun: str) -> str:
    """Return a number with its noun, as in `1 item` and `2,000 items`."""
    return f"{number:,} {noun}" + "s" * (number != 1)
