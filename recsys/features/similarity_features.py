"""How near the candidate is to what the user has: by text, by taste, and by what goes together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.histories import Histories
from recsys.features.item_facts import Neighbours, Vectors

# Newest items that are "recent", and the most that are looked at one by one.
_RECENT = 5
_MOST = 50
# How much less each step back weighs in the decayed mean.
_DECAY = 0.9

# By the vectors' name: what they are.
VECTORS = {"text": "text embeddings", "als": "ALS factors"}
VECTOR_FEATURES = {
    "last": "Cosine of the {vectors} of the item and the user's newest item.",
    "recent_max": "Largest cosine of the {vectors} with those of the five newest items.",
    "recent_mean": "Mean cosine of the {vectors} with those of the five newest items.",
    "max": "Largest cosine of the {vectors} with those of the fifty newest items.",
    "mean": "Mean cosine of the {vectors} with those of the whole history.",
    "decayed_mean": "Mean cosine of the {vectors} with those of the history, each step back weighing a tenth less.",
    "distance": "Distance of the {vectors} from the mean of the history's.",
    "breadth": "One minus the length of that mean: near zero where all the user's items are alike.",
}

# By the matrix's name: what makes one item point at another.
NEIGHBOURS = {"item_to_item": "users in common", "transitions": "what follows what"}
NEIGHBOUR_FEATURES = {
    "last": "How strongly the user's newest item points at the item, by {meaning}.",
    "recent": "How strongly the five newest items point at the item, summed, by {meaning}.",
    "count": "How many of the fifty newest items point at the item, by {meaning}.",
}


def describe_nearness(
    name: str, user: NDArray[np.uint32], item: NDArray[np.uint32], histories: Histories, vectors: Vectors
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `VECTOR_FEATURES`, NaN for items without a vector and histories without any.

    Without an order no item is newer than the others: "newest" is missing, and the largest cosine is with fifty items.

    Args:
        name: of the vectors, before each column's name.
        user: (n_rows) user numbers, sorted.
        item: (n_rows) item numbers.
        histories: of these users.
        vectors: of the catalogue.
    """
    newest = histories.recent_items(_MOST)
    present = (newest >= 0) & vectors.known[newest]
    whole, decayed = (_average(histories, vectors, histories.decayed_matrix(decay)) for decay in (1.0, _DECAY))
    single = vectors.rows[np.where(present, newest, 0)]
    cosines = _compare(user, item, vectors, np.concatenate([single, whole[:, None], decayed[:, None]], axis=1))
    single = cosines[:, :_MOST]
    single[~present[user]] = np.nan
    recent = single[:, :_RECENT] if histories.ordered else np.full((len(item), _RECENT), np.nan, dtype=np.float32)
    counts = (~np.isnan(recent)).sum(axis=1)
    lengths = np.vecdot(whole, whole)
    columns = {
        "last": recent[:, 0],
        "recent_max": np.fmax.reduce(recent, axis=1),
        "recent_mean": np.where(counts > 0, np.nansum(recent, axis=1) / np.maximum(counts, 1), np.nan),
        "max": np.fmax.reduce(single, axis=1),
        "mean": cosines[:, _MOST],
        "decayed_mean": cosines[:, _MOST + 1],
        "distance": np.sqrt(np.maximum(1 + lengths[user] - 2 * cosines[:, _MOST], 0)),
        "breadth": (1 - np.sqrt(lengths))[user],
    }
    return {f"{name}_{kind}": values.astype(np.float32) for kind, values in columns.items()}


def _average(histories: Histories, vectors: Vectors, weights: csr_array) -> NDArray[np.float32]:
    """Return (n_users, size) float32 weighted means of the known vectors, NaN without any."""
    # Rows without a vector are zeros: they add nothing above, and must not count below.
    totals = np.asarray(weights @ vectors.known.astype(np.float32))
    sums = np.asarray(weights @ vectors.rows)
    return (sums / np.where(totals > 0, totals, np.nan)[:, None]).astype(np.float32)


def _compare(
    user: NDArray[np.uint32], item: NDArray[np.uint32], vectors: Vectors, others: NDArray[np.float32]
) -> NDArray[np.float32]:
    """Return (n_rows, n_others) float32 dot products of each row's item with the (n_users, n_others, size) others."""
    ends = np.searchsorted(user, np.arange(len(others) + 1))
    counts = np.diff(ends)
    # Candidates of each user side by side, so that one call serves all of them.
    real = np.arange(counts.max(initial=0))[None, :] < counts[:, None]
    padded = np.zeros(real.shape, dtype=np.int64)
    padded[real] = item
    # One dot product per pair: a matrix product's last bits depend on how many candidates stand side by side.
    products: NDArray[np.float32] = np.vecdot(vectors.rows[padded][:, :, None, :], others[:, None, :, :])[real]
    products[~vectors.known[item]] = np.nan
    return products


def describe_company(
    name: str, user: NDArray[np.uint32], item: NDArray[np.uint32], histories: Histories, neighbours: Neighbours
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `NEIGHBOUR_FEATURES`, NaN where the model knows neither of the two.

    It has to know the item, and one of the history's items in question. Arguments as for `describe_nearness`.
    """

    def add_up(length: int, matrix: csr_array) -> NDArray[np.float32]:
        newest = _take_newest(histories, length, neighbours.known)
        heard = (np.diff(newest.indptr) > 0)[user] & neighbours.known[item]
        return np.where(heard, (newest @ matrix).toarray()[user, item], np.nan).astype(np.float32)

    nothing = np.full(len(item), np.nan, dtype=np.float32)
    ordered = histories.ordered
    return {
        f"{name}_last": add_up(1, neighbours.similarity) if ordered else nothing,
        f"{name}_recent": add_up(_RECENT, neighbours.similarity) if ordered else nothing,
        f"{name}_count": add_up(_MOST, neighbours.present),
    }


def _take_newest(histories: Histories, length: int, known: NDArray[np.bool_]) -> csr_array:
    """Return (n_users, n_items) float32 sparse: 1 for the known ones among the newest items."""
    kept = (histories.steps_back < length) & known[histories.items]
    ones = np.ones(int(kept.sum()), dtype=np.float32)
    pairs = (histories.users[kept], histories.items[kept])
    return csr_array((ones, pairs), shape=(histories.n_users, histories.n_items))
