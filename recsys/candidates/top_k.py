"""The best few of many, kept in two arrays side by side: the worst of them on top, of equal scores the larger item.

Compiled (numba), for use in other compiled loops.
"""

from __future__ import annotations

from numba import njit


@njit(nogil=True, cache=True)
def is_worse(score, item, other_score, other_item):  # type: ignore[no-untyped-def]
    """Return whether an item stands below another."""
    return score < other_score or (score == other_score and item > other_item)


@njit(nogil=True, cache=True)
def sink(scores, items, place, size):  # type: ignore[no-untyped-def]
    """Move what stands at a place down to where it belongs."""
    score, item = scores[place], items[place]
    while True:
        child = 2 * place + 1
        if child >= size:
            break
        if child + 1 < size and is_worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not is_worse(scores[child], items[child], score, item):
            break
        scores[place], items[place] = scores[child], items[child]
        place = child
    scores[place], items[place] = score, item


@njit(nogil=True, cache=True)
def push(scores, items, size, score, item):  # type: ignore[no-untyped-def]
    """Put an item among the best and return how many they are now."""
    if size < len(scores):
        scores[size], items[size] = score, item
        size += 1
        if size == len(scores):
            for place in range(size // 2 - 1, -1, -1):
                sink(scores, items, place, size)
    elif is_worse(scores[0], items[0], score, item):
        scores[0], items[0] = score, item
        sink(scores, items, 0, size)
    return size


@njit(nogil=True, cache=True)
def empty_into(scores, items, size, row):  # type: ignore[no-untyped-def]
    """Write the items, best first, and -1 behind them."""
    if size < len(scores):
        for place in range(size // 2 - 1, -1, -1):
            sink(scores, items, place, size)
    row[size:] = -1
    while size > 0:
        size -= 1
        row[size] = items[0]
        scores[0], items[0] = scores[size], items[size]
        sink(scores, items, 0, size)
