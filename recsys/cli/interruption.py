"""Ctrl-C and SIGTERM: a command stops cleanly and says what is unchanged and how to continue."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

# What is kept of each long command; other commands write nothing or one file in one step.
_KEPT = {
    "ingest": "no snapshot was written; the current snapshot is unchanged; run the same command again",
    "train": "nothing was registered; fine-tuning continues from its last checkpoint; run the same command again",
    "tune": "finished trials are kept; run the same command again to continue",
    "generate": "finished shards are kept; run the same command again to continue",
    "run": "finished steps and shards are kept; run the same command again",
    "monitor": "the night was not judged; run the same command again",
}
_PUBLISHING = ("generate", "run", "lists", "rollback", "canary")
_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Terminated(KeyboardInterrupt):
    """SIGTERM, which stops a command like Ctrl-C, so that every block cleans up and worker processes end."""


@contextmanager
def catching_termination() -> Iterator[None]:
    """Let SIGTERM raise `Terminated` while the block runs; a second one ends the process at once."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in _SIGNALS}
    signal.signal(signal.SIGTERM, _raise_terminated)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def describe_interrupt(command: str | None, interrupt: KeyboardInterrupt) -> tuple[str, int]:
    """Return the last line of a command that was stopped, and its exit code: 130, or 143 after SIGTERM.

    Args:
        command: its name; None: it was stopped before its name was read.
        interrupt: what stopped it.
    """
    if threading.current_thread() is threading.main_thread():
        # A second signal must not cut the message off; it takes less than a second.
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
    word, code = ("terminated", 143) if isinstance(interrupt, Terminated) else ("interrupted", 130)
    kept = _KEPT.get(command or "", "nothing is half-written; run the same command again")
    parts = [kept, *([_describe_readers()] if command in _PUBLISHING else [])]
    return f"{word}: {'; '.join(parts)}", code


def _describe_readers() -> str:
    from recsys.artifacts.recommendations import read_pointer
    from recsys.config import home
    from recsys.errors import ArtifactError

    try:
        current = read_pointer(home())
    except ArtifactError as error:
        return str(error)
    return f"readers follow {current}" if current else "no lists are published yet"


def _raise_terminated(number: int, frame: FrameType | None) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise Terminated
