"""The k best items as a heap of keys, the worst on top: higher scores first, of equal ones the smaller item.

Compiled (numba), for use in other compiled loops. A key is one number, so that two of them compare in one instruction.
"""

from __future__ import annotations

import numpy as np

from recsys.storage.compilation import compiled

# The lower half of a key, and what turns the bits of a negative float32 into an integer that rises with it.
_LAST = 0x7FFFFFFF
_HALF = 32


@compiled()
def pack(score, item):  # type: ignore[no-untyped-def]
    """Return the int64 key of an item, from 0 to 2^31 - 1, with a float32 score that is not NaN."""
    # Adding 0 turns -0 into 0, which it equals.
    bits = np.int64(np.float32(score + np.float32(0.0)).view(np.int32))
    if bits < 0:
        bits ^= np.int64(_LAST)
    return (bits << np.int64(_HALF)) | (np.int64(_LAST) - np.int64(item))


@compiled()
def unpack_score(key):  # type: ignore[no-untyped-def]
    """Return the score of a key."""
    bits = key >> np.int64(_HALF)
    if bits < 0:
        bits ^= np.int64(_LAST)
    return np.int32(bits).view(np.float32)


@compiled()
def sink(keys, index, size):  # type: ignore[no-untyped-def]
    """Move the key at an index down the heap to where it belongs."""
    key = keys[index]
    while True:
        child = 2 * index + 1
        if child >= size:
            break
        child += child + 1 < size and keys[child + 1] < keys[child]
        if keys[child] >= key:
            break
        keys[index] = keys[child]
        index = child
    keys[index] = key


@compiled()
def push(keys, size, key):  # type: ignore[no-untyped-def]
    """Offer a key to the heap and return the heap's size."""
    if size < len(keys):
        keys[size] = key
        size += 1
        if size == len(keys):
            for index in range(size // 2 - 1, -1, -1):
                sink(keys, index, size)
    elif key > keys[0]:
        keys[0] = key
        sink(keys, 0, size)
    return size


@compiled()
def empty_into(keys, size, row):  # type: ignore[no-untyped-def]
    """Write the items of the heap into a row, best first, and fill the rest with -1; this sorts the keys."""
    keys[:size].sort()
    row[size:] = -1
    for place in range(size):
        row[place] = np.int64(_LAST) - (keys[size - 1 - place] & np.int64(_LAST))


@compiled(fastmath={"nnan", "nsz"})
def find_largest(values):  # type: ignore[no-untyped-def]
    """Return the largest of some values, none of them NaN."""
    largest = values[0]
    for index in range(1, len(values)):
        largest = max(largest, values[index])
    return largest
