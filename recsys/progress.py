"""Progress of a stage: a log line with rows and seconds, and a progress bar for long stages."""

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


def format_count(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as `1 item` and `2,000 items`; `plural` where it is not the noun and an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


@contextmanager
def log_stage(name: str) -> Iterator[Callable[[str], None]]:
    """Time a stage and log a line at its end; the block calls the yielded function with a summary such as row counts.

    On a terminal a spinner is shown meanwhile, for work whose progress is unknown.
    """
    outcome: list[str] = []
    start = time.perf_counter()
    with console.status(f"{name} …") if console.is_terminal else nullcontext():
        yield outcome.append
    logger.info("%s: %s in %.1f s", name, ", ".join(outcome) or "done", time.perf_counter() - start)


@contextmanager
def progress_bar(description: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left; the block calls the yielded function with each advance."""
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
    """Logs progress, rate and time left at most once a minute.

    Args:
        name: name of the stage.
        unit: what is counted, such as `users`.
        total: the count at the end.
    """

    def __init__(self, name: str, unit: str, total: int) -> None:
        self._name, self._unit, self._total, self._done = name, unit, total, 0
        self._started = self._logged = time.monotonic()

    def update(self, count: int) -> None:
        """Add to the count, and log a line if the last line is a minute old."""
        self._done += count
        now = time.monotonic()
        if now - self._logged >= _PAUSE:
            self._logged = now
            minutes = (self._total - self._done) * (now - self._started) / self._done / 60
            left = f"{minutes:.0f} min" if minutes >= 1 else "less than a minute"
            done = f"{self._done:,} of {self._total:,} {self._unit}"
            logger.info("%s: %s%s, %s left", self._name, done, self.describe(), left)

    def describe(self) -> str:
        """Return the rate as text with a leading comma, empty before the first update."""
        seconds = time.monotonic() - self._started
        return f", {self._done / seconds:,.0f} {self._unit} per second" if self._done and seconds > 0 else ""


@contextmanager
def training_progress_bar(description: str, steps: int) -> Iterator[Callable[[int, float], None]]:
    """Show the progress of a training with loss, examples per second and time left.

    The block calls the yielded function after each step, with the examples and the loss of the step.
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
