"""Sets of items (or other numbers) per user in compiled loops, without clearing an array for each user.

One int32 array serves all users of a loop: a number is in user u's set where the array holds u + 1. Compiled (numba)
and inlined into the loops that use it.
"""

from __future__ import annotations

from recsys.storage.compilation import compiled


@compiled()
def mark_all(marks, user, starts, items):  # type: ignore[no-untyped-def]
    """Put `items[starts[user]:starts[user + 1]]` into the user's set."""
    for entry in range(starts[user], starts[user + 1]):
        marks[items[entry]] = user + 1


@compiled()
def is_marked(marks, user, item):  # type: ignore[no-untyped-def]
    """Return whether an item is in the user's set."""
    return marks[item] == user + 1


@compiled()
def mark_new(marks, user, item):  # type: ignore[no-untyped-def]
    """Put an item into the user's set and return whether it was not there."""
    if marks[item] == user + 1:
        return False
    marks[item] = user + 1
    return True
