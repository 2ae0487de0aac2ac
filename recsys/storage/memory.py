"""Memory that the allocator keeps after it was freed, returned to the system between stages."""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from functools import cache


def return_freed_memory() -> None:
    """Return to the system what glibc keeps of freed blocks; elsewhere nothing happens.

    A stage frees millions of blocks of all sizes. What lies between blocks that are still used is kept for later ones,
    gigabytes after a training on a million users, and the next stage asks for other sizes.
    """
    if (trim := _find_trim()) is not None:
        trim(0)


@cache
def _find_trim() -> Callable[[int], int] | None:
    try:
        trim: Callable[[int], int] = ctypes.CDLL("libc.so.6").malloc_trim
    except (OSError, AttributeError):
        # Not Linux, or another C library.
        return None
    return trim
