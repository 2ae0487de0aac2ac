"""What all users did, counted once per night for the reasons: pairs of items, recent interest, and what is near."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.histories import Histories
from recsys.storage.compilation import compiled

# Days that a reason may count people in, shortest first.
WINDOWS = (7, 30, 90, 365)
# People in a window: enough to be worth a sentence, and enough to prefer a short window to a longer one.
_FEW, _MANY = 5, 10
# Share of the items with people in a window that are not popular in it.
_UNPOPULAR = 0.9
# An item rises if a window has this many times the new people of the window before.
_RISE = 2
# Share of the random pairs of a catalogue that are not near, and how many pairs are drawn.
_NOT_NEAR, _DRAWN = 0.99, 200_000


class Nearness(NamedTuple):
    """How near two texts of a catalogue have to be: nearer than 99 % of its random pairs.

    Attributes:
        embeddings: largest cosine of two embeddings that is not near.
        terms: largest TF-IDF similarity that is not near; 0 where two random items rarely are TF-IDF neighbours.
    """

    embeddings: float
    terms: float

    @classmethod
    def measure(cls, embeddings: NDArray[np.float32], terms: csr_array | None) -> Nearness:
        """Measure random pairs of different items; always the same ones.

        Args:
            embeddings: (n_items, embedding_size) float32, unit rows.
            terms: (n_items, n_items) float32 sparse, the TF-IDF neighbours of each item; None: there are none.
        """
        size = len(embeddings)
        first, second = np.random.default_rng(0).integers(0, max(size, 1), (2, _DRAWN if size > 1 else 0))
        first, second = first[first != second], second[first != second]
        if not len(first):
            return cls(1.0, 0.0)
        cosines = np.empty(len(first), dtype=np.float32)
        _multiply_pairs(embeddings, first, second, cosines)
        similar = np.zeros(1) if terms is None else np.asarray(terms[first, second]).ravel()
        return cls(*(round(float(np.quantile(values, _NOT_NEAR)), 6) for values in (cosines, similar)))


@dataclass(frozen=True)
class Evidence:
    """Counts over all users' histories that reasons are checked against, as of the histories' cutoff.

    Attributes:
        nearness: of the model's catalogue.
        people: number of users with a history.
        pairs: (n_items, n_items) int32 sparse: users with both items, of the pairs that a neighbour model knows; row =
            item in the history, column = listed item.
        after: (n_pairs) int32, entries of `pairs`: those who had the listed item after the other; 0 without an order.
        popular: (2, n_items) int32: users in the last days, and in how many days; 0 for an item with few.
        rising: (3, n_items) int32: new users in the last days, in as many days before, and how many days; likewise.
    """

    nearness: Nearness
    people: int
    pairs: csr_array
    after: NDArray[np.int32]
    popular: NDArray[np.int32]
    rising: NDArray[np.int32]

    @classmethod
    def blank(cls, n_items: int, nearness: Nearness) -> Evidence:
        """Return evidence without any users: only reasons about texts and the user's own history are left."""
        pairs = csr_array((n_items, n_items), dtype=np.int32)
        none = np.zeros((3, n_items), dtype=np.int32)
        return cls(nearness, 0, pairs, np.zeros(0, dtype=np.int32), none[:2], none)

    @classmethod
    def count(cls, histories: Histories, nearness: Nearness, neighbours: Sequence[csr_array]) -> Evidence:
        """Count over all users.

        Args:
            histories: of all users.
            nearness: of the model's catalogue.
            neighbours: (n_items, n_items) sparse: which pairs to count; row = item in the history.
        """
        pairs, after = _count_pairs(histories, neighbours)
        return cls(nearness, histories.n_users, pairs, after, _count_popular(histories), _count_rising(histories))

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays by name, for a file."""
        parts = {f"pairs_{name}": getattr(self.pairs, name) for name in ("data", "indices", "indptr")}
        counts = {name: getattr(self, name) for name in ("after", "popular", "rising")}
        return {**parts, **counts, "people": np.array(self.people), "nearness": np.array(self.nearness)}

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> Evidence:
        """Return the evidence from the arrays of `to_arrays`; other arrays are ignored."""
        size = len(arrays["pairs_indptr"]) - 1
        parts = (arrays["pairs_data"], arrays["pairs_indices"], arrays["pairs_indptr"])
        nearness = Nearness(*arrays["nearness"].tolist())
        counts = (arrays[name] for name in ("after", "popular", "rising"))
        return cls(nearness, int(arrays["people"]), csr_array(parts, shape=(size, size)), *counts)


def _count_pairs(histories: Histories, neighbours: Sequence[csr_array]) -> tuple[csr_array, NDArray[np.int32]]:
    """Return how many users have both items of each pair that any of the matrices has, and in which order."""
    size = histories.n_items
    known = csr_array((size, size), dtype=np.int32)
    for matrix in neighbours:
        known = known + (matrix > 0).astype(np.int32)
    known = csr_array(known).sorted_indices()
    order = np.argsort(histories.items, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(histories.items, minlength=size))]).astype(np.int64)
    both, after = np.zeros(known.nnz, dtype=np.int32), np.zeros(known.nnz, dtype=np.int32)
    places = np.full(histories.n_users, -1, dtype=np.int64)
    _count_users(known.indptr, known.indices, starts, histories.users[order], order, places, both, after)
    pairs = csr_array((both, known.indices, known.indptr), shape=(size, size))
    return pairs, after if histories.ordered else np.zeros_like(after)


def _count_popular(histories: Histories) -> NDArray[np.int32]:
    """Return the users of an item in the shortest window in which it is popular, else has many, and the days of it."""
    found = np.zeros((2, histories.n_items), dtype=np.int32)
    # An item with many people is not always popular, but their number is still worth a sentence.
    for least, unpopular in ((_MANY, _UNPOPULAR), (_FEW, _UNPOPULAR), (_MANY, 0.0)):
        for days in WINDOWS:
            users = np.bincount(histories.items[histories.ages <= days], minlength=histories.n_items)
            active = users[users > 0]
            if len(active):
                taken = (found[1] == 0) & (users >= max(least, np.quantile(active, unpopular)))
                found[0, taken], found[1, taken] = users[taken], days
    return found


def _count_rising(histories: Histories) -> NDArray[np.int32]:
    """Return the new users of the shortest window in which an item rises, those of the window before, and its days."""
    found = np.zeros((3, histories.n_items), dtype=np.int32)
    for days in WINDOWS[:-1]:
        new, until_before = (
            np.bincount(histories.items[histories.first_ages <= length], minlength=histories.n_items)
            for length in (days, 2 * days)
        )
        before = until_before - new
        taken = (found[2] == 0) & (new >= _FEW) & (before > 0) & (new >= _RISE * before)
        found[0, taken], found[1, taken], found[2, taken] = new[taken], before[taken], days
    return found


# --- loops -------------------------------------------------------------------------------------------------------


@compiled()
def _multiply_pairs(vectors, first, second, products):  # type: ignore[no-untyped-def]
    for pair in range(len(first)):
        total = np.float32(0.0)
        for cell in range(vectors.shape[1]):
            total += vectors[first[pair], cell] * vectors[second[pair], cell]
        products[pair] = total


@compiled()
def _count_users(pointers, columns, starts, users, entries, places, both, after):  # type: ignore[no-untyped-def]
    # For one item at a time, `places` holds each user's entry with it, -1 for none; a larger entry is a later one.
    for item in range(len(pointers) - 1):
        first, end = starts[item], starts[item + 1]
        if pointers[item] == pointers[item + 1] or first == end:
            continue
        for place in range(first, end):
            places[users[place]] = entries[place]
        for pair in range(pointers[item], pointers[item + 1]):
            other, together, later = columns[pair], 0, 0
            for place in range(starts[other], starts[other + 1]):
                entry = places[users[place]]
                together += entry >= 0
                later += (entry >= 0) & (entry < entries[place])
            both[pair], after[pair] = together, later
        for place in range(first, end):
            places[users[place]] = -1
