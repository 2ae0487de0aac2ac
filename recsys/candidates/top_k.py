"""The k best items as a heap in two arrays, scores and items: the worst is on top, of equal scores the larger item.

Compiled (numba), for use in other compiled loops.
"""

from __future__ import annotations

from recsys.storage.compilation import compiled


@compiled()
def is_worse(score, item, other_score, other_item):  # type: ignore[no-untyped-def]
    """Return whether an item ranks below another."""
    return score < other_score or (score == other_score and item > other_item)


@compiled()
def sink(scores, items, index, size):  # type: ignore[no-untyped-def]
    """Move the entry at an index down the heap to where it belongs."""
    score, item = scores[index], items[index]
    while True:
        child = 2 * index + 1
        if child >= size:
            break
        if child + 1 < size and is_worse(scores[child + 1], items[child + 1], scores[child], items[child]):
            child += 1
        if not is_worse(scores[child], items[child], score, item):
            break
        scores[index], items[index] = scores[child], items[child]
        index = child
    scores[index], items[index] = score, item


@compiled()
def push(scores, items, size, score, item):  # type: ignore[no-untyped-def]
    """Offer an item to the heap and return the heap's size."""
    if size < len(scores):
        scores[size], items[size] = score, item
        size += 1
        if size == len(scores):
            for index in range(size // 2 - 1, -1, -1):
                sink(scores, items, index, size)
    elif is_worse(scores[0], items[0], score, item):
        scores[0], items[0] = score, item
        sink(scores, items, 0, size)
    return size


@compiled()
def empty_into(scores, items, size, row):  # type: ignore[no-untyped-def]
    """Empty the heap into a row, best item first, and fill the rest with -1."""
    if size < len(scores):
        for index in range(size // 2 - 1, -1, -1):
            sink(scores, items, index, size)
    row[size:] = -1
    while size > 0:
        size -= 1
        row[size] = items[0]
        scores[0], items[0] = scores[size], items[size]
        sink(scores, items, 0, size)
