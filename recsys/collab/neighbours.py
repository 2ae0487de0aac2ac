"""Item-by-item models: neighbours with users in common, and items that follow each other."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
from implicit.nearest_neighbours import (
    BM25Recommender,
    CosineRecommender,
    ItemItemRecommender,
    TFIDFRecommender,
)
from implicit.utils import ParameterWarning
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, csr_matrix, vstack

from recsys.config import ItemToItemConfig, TransitionsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap

# Pairs of items that are counted at a time: 20 million take about 1 GB.
_PAIRS = 20_000_000
_RECOMMENDERS: dict[str, type[ItemItemRecommender]] = {
    "cosine": CosineRecommender,
    "bm25": BM25Recommender,
    "tfidf": TFIDFRecommender,
}


class NeighbourModel:
    """A sparse matrix from items a user has to items they may want.

    A user's score of an item is the sum of its entries over the items of the history, each step back weighing
    `history_decay` times less.

    Attributes:
        similarity: (n_items, n_items) float32 sparse; row = item in the history, column = item scored.
        history_decay: of a step.
    """

    def __init__(self, similarity: csr_array, history_decay: float) -> None:
        self.similarity = similarity
        self.history_decay = history_decay

    @classmethod
    def blank(cls, n_items: int, history_decay: float) -> NeighbourModel:
        """Return a model in which no item points at another."""
        return cls(csr_array((n_items, n_items), dtype=np.float32), history_decay)

    def with_decay(self, history_decay: float) -> NeighbourModel:
        """Return the same neighbours with another decay."""
        return NeighbourModel(self.similarity, history_decay)

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> NeighbourModel:
        """Return the model over another catalogue; items it does not know have no neighbours."""
        return NeighbourModel(IdMap(trained_ids).align_square(self.similarity, item_ids), self.history_decay)

    def save(self, path: Path) -> None:
        """Write the matrix as an npz without objects."""
        np.savez(
            path,
            data=self.similarity.data,
            indices=self.similarity.indices,
            indptr=self.similarity.indptr,
            allow_pickle=False,
        )

    @classmethod
    def load(cls, path: Path, history_decay: float) -> NeighbourModel:
        """Read what `save` wrote."""
        with np.load(path, allow_pickle=False) as parts:
            size = len(parts["indptr"]) - 1
            matrix = csr_array((parts["data"], parts["indices"], parts["indptr"]), shape=(size, size))
        return cls(matrix, history_decay)


def fit_item_to_item(histories: Histories, config: ItemToItemConfig, threads: int) -> NeighbourModel:
    """Find each item's `k` nearest other items by their users (Sarwar et al. 2001, WWW)."""
    recommender = _RECOMMENDERS[config.weighting](K=config.k + 1, num_threads=threads)
    matrix = histories.matrix(np.ones(len(histories.items), dtype=np.float32))
    # tfidf divides zero by zero for an item whose users all have weight 0; such entries are dropped below.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        # implicit warns of a conversion that it makes itself.
        warnings.simplefilter("ignore", ParameterWarning)
        recommender.fit(csr_matrix(matrix), show_progress=False)
    similarity = _drop_idle(csr_array(recommender.similarity, dtype=np.float32))
    # The item itself is not always among the k + 1 nearest (ties, bm25), so there may be k + 1 others.
    return NeighbourModel(keep_strongest(similarity, config.k), config.decay)


def fit_transitions(histories: Histories, config: TransitionsConfig) -> NeighbourModel:
    """Count which item follows which in a history, shorter distances weighing more; keep each item's `k` strongest.

    The count of a pair is divided by the square root of both items' popularity, so that a hit does not follow every
    item. Without an order the model is empty.
    """
    size = histories.n_items
    if not histories.ordered or not len(histories.items):
        return NeighbourModel.blank(size, config.decay)
    followers = _Followers.of(histories, config)
    root = np.sqrt(np.bincount(histories.items, minlength=size).clip(min=1)).astype(np.float32)
    blocks = []
    for first, last in followers.split():
        entries = _drop_idle(followers.count(first, last), first).tocoo()
        row, column = entries.coords
        shape = (last - first, size)
        scaled = csr_array((entries.data / root[row + first] / root[column], (row, column)), shape=shape)
        blocks.append(keep_strongest(scaled, config.k))
    return NeighbourModel(csr_array(vstack(blocks)), config.decay)


@dataclass(frozen=True)
class _Followers:
    """The entries of histories by item, so that what follows an item is counted without the other items.

    The pairs of all items at once would take more memory than anything else: up to `max_distance` per entry.

    Attributes:
        histories: with an order.
        config: distances and their weights.
        entries: (n_entries) indexes of the histories' entries, by item, then in their order.
        starts: (n_items + 1) where each item's entries begin.
        behind: (n_entries) int64, entries between an entry and its user's newest.
    """

    histories: Histories
    config: TransitionsConfig
    entries: NDArray[np.int64]
    starts: NDArray[np.int64]
    behind: NDArray[np.int64]

    @classmethod
    def of(cls, histories: Histories, config: TransitionsConfig) -> _Followers:
        entries = np.argsort(histories.items, kind="stable")
        counts = np.bincount(histories.items, minlength=histories.n_items)
        starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(counts)])
        return cls(histories, config, entries, starts, histories.steps_back)

    def split(self) -> Iterator[tuple[int, int]]:
        """Yield the first item of each block and that after its last; blocks have about equally many entries."""
        edges = np.arange(0, len(self.entries), max(1, _PAIRS // self.config.max_distance))
        first = np.unique(np.searchsorted(self.starts, edges, side="right") - 1)
        first[0] = 0
        yield from pairwise([*first.tolist(), self.histories.n_items])

    def count(self, first: int, last: int) -> csr_array:
        """Return (last - first, n_items) weighted counts of what follows each of these items."""
        items, shape = self.histories.items, (last - first, self.histories.n_items)
        # In the order of the histories: sums of floats depend on it.
        entries = np.sort(self.entries[self.starts[first] : self.starts[last]])
        behind = self.behind[entries]
        counts = csr_array(shape, dtype=np.float32)
        for distance in range(1, self.config.max_distance + 1):
            own = entries[behind >= distance]
            weight = np.full(len(own), self.config.distance_decay ** (distance - 1), dtype=np.float32)
            pairs = (items[own] - np.int32(first), items[own + distance])
            counts = counts + coo_array((weight, pairs), shape=shape).tocsr()
        return csr_array(counts)


def keep_strongest(matrix: csr_array, k: int) -> csr_array:
    """Keep each row's `k` largest entries; ties go to the smaller column."""
    entries = matrix.tocoo()
    row, column = entries.coords
    order = np.lexsort((column, -entries.data, row))
    place = np.arange(len(order)) - matrix.indptr[row[order]]
    kept = order[place < k]
    return csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)


def _drop_idle(matrix: csr_array, first: int = 0) -> csr_array:
    """Keep entries between two items that are above 0 (NaN is not); the first row is item `first`."""
    entries = matrix.tocoo()
    row, column = entries.coords
    kept = (row + first != column) & (entries.data > 0)
    return csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)
