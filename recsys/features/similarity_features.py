"""Similarity of the candidate to the user's items: by text, factors, other vectors, and item-to-item neighbours."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.marks import is_marked, mark_new
from recsys.candidates.merge import CandidateRows
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


@compiled(fastmath={"reassoc", "contract"})
def _multiply(vector, others, products):  # type: ignore[no-untyped-def]
    """Write the dot products with the others, four at a time; how many there are has to be a multiple of four."""
    for first in range(0, len(others), 4):
        one = two = three = four = np.float32(0.0)
        for place in range(len(vector)):
            value = vector[place]
            one += value * others[first, place]
            two += value * others[first + 1, place]
            three += value * others[first + 2, place]
            four += value * others[first + 3, place]
        products[first], products[first + 1] = one, two
        products[first + 2], products[first + 3] = three, four


@compiled()
def _compare(starts, items, past_starts, past_items, vectors, known, decay, ordered, found):  # type: ignore[no-untyped-def]
    size = vectors.shape[1]
    # The mean, the decayed mean, then single items, newest first; zeros fill up to a multiple of four.
    others = np.empty((_MOST + 5, size), dtype=np.float32)
    steps = np.empty(_MOST, dtype=np.int64)
    products = np.empty(_MOST + 5, dtype=np.float32)
    for user in range(len(starts) - 1):
        others[:2] = 0.0
        count, total, heft, weight = 0, np.float32(0.0), np.float32(0.0), np.float32(1.0)
        for step in range(past_starts[user + 1] - past_starts[user]):
            item = past_items[past_starts[user + 1] - 1 - step]
            if known[item]:
                vector = vectors[item]
                others[0] += vector
                others[1] += weight * vector
                total += np.float32(1.0)
                heft += weight
                if step < _MOST:
                    others[2 + count] = vector
                    steps[count] = step
                    count += 1
            weight *= decay
        if total == 0:
            continue
        others[0] /= total
        others[1] /= heft
        square = np.float32(0.0)
        for place in range(size):
            square += others[0, place] * others[0, place]
        length = np.sqrt(square)
        filled = -(-(2 + count) // 4) * 4
        others[2 + count : filled] = 0.0
        for row in range(starts[user], starts[user + 1]):
            found[7, row] = np.float32(1.0) - length
            if not known[items[row]]:
                continue
            _multiply(vectors[items[row]], others[:filled], products)
            best, recent_best, recent_total, n_recent = -np.inf, -np.inf, np.float32(0.0), 0
            for place in range(count):
                product = products[2 + place]
                best = max(best, product)
                if ordered and steps[place] < _RECENT:
                    recent_best = max(recent_best, product)
                    recent_total += product
                    n_recent += 1
                    if steps[place] == 0:
                        found[0, row] = product
            if n_recent:
                found[1, row] = recent_best
                found[2, row] = recent_total / np.float32(n_recent)
            if count:
                found[3, row] = best
            found[4, row] = products[0]
            found[5, row] = products[1]
            found[6, row] = np.sqrt(max(np.float32(1.0) + square - np.float32(2.0) * products[0], np.float32(0.0)))


@compiled()
def _add_up(  # type: ignore[no-untyped-def]
    starts, items, past_starts, past_items, pointers, columns, data, known, ordered, found
):
    marks = np.zeros(len(known), dtype=np.int32)
    # Strength of the newest and of the recent ones, and how many point at the item.
    sums = np.zeros((len(known), 3), dtype=np.float32)
    for user in range(len(starts) - 1):
        heard = np.zeros(3, dtype=np.bool_)
        for step in range(min(past_starts[user + 1] - past_starts[user], _MOST)):
            item = past_items[past_starts[user + 1] - 1 - step]
            if not known[item]:
                continue
            near = np.array([ordered and step < 1, ordered and step < _RECENT, True])
            heard |= near
            for place in range(pointers[item], pointers[item + 1]):
                other = columns[place]
                if mark_new(marks, user, other):
                    sums[other] = 0.0
                if near[0]:
                    sums[other, 0] += data[place]
                if near[1]:
                    sums[other, 1] += data[place]
                sums[other, 2] += np.float32(1.0)
        for row in range(starts[user], starts[user + 1]):
            item = items[row]
            if known[item]:
                for kind in range(3):
                    if heard[kind]:
                        found[kind, row] = sums[item, kind] if is_marked(marks, user, item) else np.float32(0.0)
