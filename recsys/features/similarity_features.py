"""Similarity of the candidate to the user's items: by text, factors, other vectors, and item-to-item neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.four_products import multiply_four
from recsys.candidates.merge import CandidateRows
from recsys.candidates.top_k import find_largest
from recsys.dataset.histories import Histories
from recsys.dataset.item_vectors import Vectors
from recsys.features.item_facts import Neighbours
from recsys.storage.compilation import compiled

# Newest items that are "recent", and the most items that are compared one by one.
_RECENT = 5
_MOST = 50
# Weight of a step back in the decayed mean.
_DECAY = 0.9

# Name of the vectors -> what they are.
VECTORS = {"text": "text embeddings", "als": "ALS factors"}
VECTOR_FEATURES = {
    "last": "Cosine of the {vectors} of the item and the user's newest item.",
    "recent_max": "Largest cosine of the {vectors} with those of the five newest items.",
    "recent_mean": "Mean cosine of the {vectors} with those of the five newest items.",
    "max": "Largest cosine of the {vectors} with those of the fifty newest items.",
    "mean": "Mean cosine of the {vectors} with those of the whole history.",
    "decayed_mean": "Mean cosine of the {vectors} with those of the history, each step back weighted a tenth less.",
    "distance": "Distance of the {vectors} from their mean over the history.",
    "breadth": "One minus the length of that mean: near zero if all the user's items are alike.",
}

# Name of the matrix -> what makes an item point at another.
NEIGHBOURS = {"item_to_item": "co-occurrence", "transitions": "transitions"}
NEIGHBOUR_FEATURES = {
    "last": "Link strength from the user's newest item to the item, by {meaning}.",
    "recent": "Sum of link strengths from the five newest items to the item, by {meaning}.",
    "count": "Number of the fifty newest items with a link to the item, by {meaning}.",
}


def describe_nearness(
    name: str, rows: CandidateRows, histories: Histories, vectors: Vectors
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `VECTOR_FEATURES`, NaN for items without a vector and histories without any.

    Without an order no item is newer than the others: "newest" is missing, and the largest cosine is with fifty items.

    Args:
        name: of the vectors, before each column's name.
        rows: candidates.
        histories: of these users.
        vectors: of the catalogue.
    """
    decay = _DECAY if histories.ordered else 1.0
    found = np.full((len(VECTOR_FEATURES), len(rows.items)), np.nan, dtype=np.float32)
    past = (histories.starts, histories.items)
    _compare(rows.starts, rows.items, *past, vectors.rows, vectors.known, np.float32(decay), histories.ordered, found)
    return {f"{name}_{kind}": column for kind, column in zip(VECTOR_FEATURES, found, strict=True)}


def describe_company(
    name: str, rows: CandidateRows, histories: Histories, neighbours: Neighbours
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `NEIGHBOUR_FEATURES`, NaN where the model knows neither of the two.

    It has to know the item, and one of the history's items in question. Arguments as for `describe_nearness`.
    """
    found = np.full((len(NEIGHBOUR_FEATURES), len(rows.items)), np.nan, dtype=np.float32)
    past, matrix = (histories.starts, histories.items), neighbours.similarity
    parts = (matrix.indptr, matrix.indices, matrix.data)
    _add_up(rows.starts, rows.items, *past, *parts, neighbours.known, histories.ordered, found)
    return {f"{name}_{kind}": column for kind, column in zip(NEIGHBOUR_FEATURES, found, strict=True)}


# --- loops -------------------------------------------------------------------------------------------------------


@compiled()
def _compare(starts, items, past_starts, past_items, vectors, known, decay, ordered, found):  # type: ignore[no-untyped-def]
    size = vectors.shape[1]
    # The mean, the decayed mean, then single items, newest first; zeros fill up to a multiple of four.
    others = np.empty((_MOST + 5, size), dtype=np.float32)
    steps = np.empty(_MOST, dtype=np.int64)
    products, four = np.empty((4, _MOST + 5), dtype=np.float32), np.empty(4, dtype=np.int64)
    for user in range(len(starts) - 1):
        past = past_items[past_starts[user] : past_starts[user + 1]]
        count, total = _gather_past(past, vectors, known, decay, others, steps)
        if total == 0:
            continue
        square = np.float32(0.0)
        for cell in range(size):
            square += others[0, cell] * others[0, cell]
        filled = -(-(2 + count) // 4) * 4
        others[2 + count : filled] = 0.0
        newest, n_recent = ordered and count > 0 and steps[0] == 0, 0
        while ordered and n_recent < count and steps[n_recent] < _RECENT:
            n_recent += 1
        row, end = starts[user], starts[user + 1]
        found[7, row:end] = np.float32(1.0) - np.sqrt(square)
        while row < end:
            # The next four candidates that have a vector; where there are fewer, the last one is repeated.
            n_rows = 0
            while row < end and n_rows < 4:
                if known[items[row]]:
                    four[n_rows:] = row
                    n_rows += 1
                row += 1
            if n_rows:
                one, two, three, last = items[four[0]], items[four[1]], items[four[2]], items[four[3]]
                multiply_four(vectors[one], vectors[two], vectors[three], vectors[last], others[:filled], products)
            for place in range(n_rows):
                own = products[place]
                _summarise(own, count, newest, n_recent, found[:, four[place]])
                gap = np.float32(1.0) + square - np.float32(2.0) * own[0]
                found[6, four[place]] = np.sqrt(max(gap, np.float32(0.0)))


@compiled()
def _gather_past(past, vectors, known, decay, others, steps):  # type: ignore[no-untyped-def]
    """Write the means of a history and its newest items; return how many of these there are, and items in the means."""
    others[:2] = 0.0
    count, total, heft, weight = 0, np.float32(0.0), np.float32(0.0), np.float32(1.0)
    for step in range(len(past)):
        item = past[len(past) - 1 - step]
        if known[item]:
            for cell in range(vectors.shape[1]):
                others[0, cell] += vectors[item, cell]
                others[1, cell] += weight * vectors[item, cell]
            total += np.float32(1.0)
            heft += weight
            if step < _MOST:
                others[2 + count] = vectors[item]
                steps[count] = step
                count += 1
        weight *= decay
    if total > 0:
        others[0] /= total
        others[1] /= heft
    return count, total


@compiled()
def _summarise(products, count, newest, n_recent, found):  # type: ignore[no-untyped-def]
    """Write the columns of a candidate that follow from the products with the means and with single items."""
    if newest:
        found[0] = products[2]
    if n_recent:
        total = np.float32(0.0)
        for place in range(2, 2 + n_recent):
            total += products[place]
        found[1], found[2] = find_largest(products[2 : 2 + n_recent]), total / np.float32(n_recent)
    if count:
        found[3] = find_largest(products[2 : 2 + count])
    found[4], found[5] = products[0], products[1]


@compiled()
def _add_up(  # type: ignore[no-untyped-def]
    starts, items, past_starts, past_items, pointers, columns, data, known, ordered, found
):
    # Rows rise from user to user, so a smaller one than the user's first is of an item that is no candidate.
    row_of = np.full(len(known), -1, dtype=np.int64)
    for user in range(len(starts) - 1):
        past = past_items[max(past_starts[user], past_starts[user + 1] - _MOST) : past_starts[user + 1]]
        # Strength of the newest and of the recent ones, and how many point at the item.
        heard = np.zeros(3, dtype=np.bool_)
        for step in range(len(past)):
            if known[past[len(past) - 1 - step]]:
                heard[0] |= ordered and step < 1
                heard[1] |= ordered and step < _RECENT
                heard[2] = True
        for row in range(starts[user], starts[user + 1]):
            if known[items[row]]:
                row_of[items[row]] = row
                for kind in range(3):
                    if heard[kind]:
                        found[kind, row] = np.float32(0.0)
        for step in range(len(past)):
            item = past[len(past) - 1 - step]
            for place in range(pointers[item], pointers[item + 1]):
                row = row_of[np.uint32(columns[place])]
                if row >= starts[user]:
                    if ordered and step < 1:
                        found[0, row] += data[place]
                    if ordered and step < _RECENT:
                        found[1, row] += data[place]
                    found[2, row] += np.float32(1.0)
