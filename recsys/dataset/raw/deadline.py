"""Requests that have to be answered in time."""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import TypeVar

from recsys.errors import DataError

SECONDS = 25.0

T = TypeVar("T")


def answer(name: str, request: Callable[[], T], seconds: float | None = None) -> T:
    """Return what a request returns, or raise what it raises, if it ends in time: within `SECONDS` unless given.

    A request that does not end is left to itself in a thread that does not keep the process alive.

    Raises:
        DataError: no answer in time.
    """
    limit = SECONDS if seconds is None else seconds
    results: SimpleQueue[tuple[T | None, Exception | None]] = SimpleQueue()

    def work() -> None:
        try:
            results.put((request(), None))
        except Exception as error:
            results.put((None, error))

    threading.Thread(target=work, daemon=True).start()
    try:
        value, error = results.get(timeout=limit)
    except Empty:
        raise DataError(
            f"{name}: the server did not respond within {limit:g} s; check that it is running and reachable, then run "
            "again"
        ) from None
    if error is not None:
        raise error
    return value  # type: ignore[return-value]
