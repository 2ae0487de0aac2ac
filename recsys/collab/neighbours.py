"""Item-by-item models: neighbours with users in common, and items that follow each other."""

from __future__ import annotations

import warnings
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
from scipy.sparse import coo_array, csr_array, csr_matrix

from recsys.config import ItemToItemConfig, TransitionsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap

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
    counts = csr_array((size, size), dtype=np.float32)
    behind = histories.steps_back
    for distance in range(1, config.max_distance + 1):
        first = np.flatnonzero(behind >= distance)
        weight = np.full(len(first), config.distance_decay ** (distance - 1), dtype=np.float32)
        pairs = (histories.items[first], histories.items[first + distance])
        counts = counts + coo_array((weight, pairs), shape=(size, size)).tocsr()
    root = np.sqrt(np.bincount(histories.items, minlength=size).clip(min=1)).astype(np.float32)
    entries = _drop_idle(csr_array(counts)).tocoo()
    row, column = entries.coords
    scaled = csr_array((entries.data / root[row] / root[column], (row, column)), shape=(size, size))
    return NeighbourModel(keep_strongest(scaled, config.k), config.decay)


def keep_strongest(matrix: csr_array, k: int) -> csr_array:
    """Keep each row's `k` largest entries; ties go to the smaller column."""
    entries = matrix.tocoo()
    row, column = entries.coords
    order = np.lexsort((column, -entries.data, row))
    place = np.arange(len(order)) - matrix.indptr[row[order]]
    kept = order[place < k]
    return csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)


def _drop_idle(matrix: csr_array) -> csr_array:
    """Keep entries between two items that are above 0 (NaN is not)."""
    entries = matrix.tocoo()
    row, column = entries.coords
    kept = (row != column) & (entries.data > 0)
    return csr_array((entries.data[kept], (row[kept], column[kept])), shape=matrix.shape)
