"""Reading one step ahead of the work."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar, cast

Part = TypeVar("Part")
_END = object()


def read_ahead(parts: Iterator[Part]) -> Iterator[Part]:
    """Yield the parts of an iterator; while one is worked on, the next is made in another thread."""
    with ThreadPoolExecutor(max_workers=1) as pool:
        waiting = pool.submit(next, parts, _END)
        while (part := waiting.result()) is not _END:
            waiting = pool.submit(next, parts, _END)
            yield cast("Part", part)
