"""Progress of a command: numbered steps, a log line per stage with rows and seconds, and bars with the time left."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from typing import TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

T = TypeVar("T")

logger = logging.getLogger("recsys")
# Progress and logs go to stderr, results to stdout.
console = Console(stderr=True)
# Seconds between two lines of a `ProgressLogger`.
_PAUSE = 60.0
# Seconds of a loop before its bar is drawn: most calls of `track` are shorter.
_PATIENCE = 0.5


def format_count(count: int, noun: str, plural: str | None = None) -> str:
    """Return a count with its noun, such as `1 item` and `2,000 items`; `plural` where it is not the noun and an s."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def format_duration(seconds: float) -> str:
    """Return a time span as text, such as `8 s`, `3 min 12 s` or `2 h 5 min`."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


class Steps:
    """The steps of a long command, numbered in the log.

    Args:
        total: how many there are.
    """

    def __init__(self, total: int) -> None:
        self._total, self._number = total, 0
        self._begun = time.monotonic()

    def begin(self, name: str) -> None:
        """Log the number and the name of the step that begins."""
        self._number += 1
        logger.info("step %d of %d: %s", self._number, self._total, name)

    def finish(self) -> float:
        """Log how long all of them took, and return the seconds."""
        seconds = time.monotonic() - self._begun
        logger.info("all %d steps done in %s", self._total, format_duration(seconds))
        return seconds


@contextmanager
def log_stage(name: str) -> Iterator[Callable[[str], None]]:
    """Time a stage and log a line at its end; the block calls the yielded function with a summary such as row counts.

    On a terminal a spinner with the time so far is shown meanwhile, for work whose progress is unknown.
    """
    outcome: list[str] = []
    start = time.perf_counter()
    columns = (SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as spinner:
        spinner.add_task(name, total=None)
        yield outcome.append
    logger.info("%s: %s in %.1f s", name, ", ".join(outcome) or "done", time.perf_counter() - start)


@contextmanager
def waiting(name: str) -> Iterator[None]:
    """Show a spinner with the time so far on a terminal, for a short wait that is worth no log line."""
    columns = (SpinnerColumn(), TextColumn("{task.description} …"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as spinner:
        spinner.add_task(name, total=None)
        yield


def track(parts: Collection[T], description: str) -> Iterator[T]:
    """Yield the parts of some work, with a progress bar and the time left once it has taken half a second.

    Args:
        parts: of about equal size; more than a few.
        description: what they are.
    """
    with progress_bar(description, len(parts), patience=_PATIENCE) as advance:
        for part in parts:
            yield part
            advance(1)


@contextmanager
def progress_bar(
    description: str, total: int, *, log: bool = True, patience: float = 0.0
) -> Iterator[Callable[[int], None]]:
    """Show a progress bar with the time left; the block calls the yielded function with each advance.

    Elsewhere than on a terminal, a line a minute is logged.

    Args:
        description: what is counted.
        total: the count at the end.
        log: False: the caller logs.
        patience: seconds before the bar is drawn, at the next advance.
    """
    if not console.is_terminal:
        pace = ProgressLogger(description, "", total)
        yield pace.update if log else lambda _: None
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    progress, begun = Progress(*columns, console=console, transient=True), time.monotonic()
    task = progress.add_task(description, total=total)

    def advance(count: int) -> None:
        progress.advance(task, count)
        if not progress.live.is_started and time.monotonic() - begun >= patience:
            progress.start()

    try:
        if not patience:
            progress.start()
        yield advance
    finally:
        if progress.live.is_started:
            progress.stop()


class ProgressLogger:
    """Logs progress, rate and time left at most once a minute.

    Args:
        name: name of the stage.
        unit: what is counted, such as `users`; may be empty.
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
            done = f"{self._done:,} of {self._total:,} {self._unit}".rstrip()
            logger.info("%s: %s%s, %s left", self._name, done, self.describe(), left)

    def describe(self) -> str:
        """Return the rate as text with a leading comma, empty before the first update."""
        seconds = time.monotonic() - self._started
        if not self._done or seconds <= 0:
            return ""
        rate = f"{self._done / seconds:,.0f} {self._unit}".rstrip()
        return f", {rate} per second"


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
    pace = ProgressLogger(description, "steps", steps)
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as progress:
        task = progress.add_task(description, total=steps, loss="–", rate="–")

        def advance(examples: int, loss: float) -> None:
            nonlocal seen
            seen += examples
            rate = seen / max(time.perf_counter() - start, 1e-9)
            progress.update(task, advance=1, loss=f"{loss:.3f}", rate=f"{rate:,.0f}")
            if not console.is_terminal:
                pace.update(1)

        yield advance
