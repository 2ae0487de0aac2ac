"""Item-by-item models: neighbours with users in common, and items that follow each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from implicit.nearest_neighbours import bm25_weight, normalize, tfidf_weight
from numpy.typing import NDArray
from scipy.sparse import coo_array, csr_array, csr_matrix, vstack

from recsys.config import ItemToItemConfig, TransitionsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap
from recsys.dataset.nearest_rows import find_nearest
from recsys.engines import HERE, Engine, Shared, gather

# Pairs of items that are counted at a time: 20 million take about 1 GB.
_PAIRS = 20_000_000
# Blocks per worker of an engine with several: a slow one delays the others by a quarter of its work.
_BLOCKS = 4
# implicit's defaults.
_BM25_K1, _BM25_B = 1.2, 0.75


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


def fit_item_to_item(
    histories: Histories, config: ItemToItemConfig, threads: int, engine: Engine = HERE
) -> NeighbourModel:
    """Find each item's `k` nearest other items by their users (Sarwar et al. 2001, WWW).

    Users are weighted as implicit does. Sums are float64 over an item's users in their order, so the bytes are the
    same whatever the engine, blocks and threads; ties for the last of the `k` go to the smaller item.

    Args:
        histories: of all users.
        config: the weights and `k`.
        threads: of a task.
        engine: finds the neighbours of blocks of items; it is open if it has several workers.
    """
    if not len(histories.items):
        return NeighbourModel.blank(histories.n_items, config.decay)
    weights = _weigh(histories, config)
    arrays = {**_take_apart(weights, "item"), **_take_apart(csr_array(weights.T), "user")}
    lengths = histories.lengths[histories.users]
    edges = _cut(np.bincount(histories.items, lengths, histories.n_items), engine)
    with engine.share(arrays) as shared:
        blocks = gather(engine, _ItemBlocks(shared, edges, weights.shape, config.k, threads), len(edges) - 1)
    return NeighbourModel(csr_array(vstack(blocks), dtype=np.float32), config.decay)


def fit_transitions(histories: Histories, config: TransitionsConfig, engine: Engine = HERE) -> NeighbourModel:
    """Count which item follows which in a history, shorter distances weighing more; keep each item's `k` strongest.

    The count of a pair is divided by the square root of both items' popularity, so that a hit does not follow every
    item. Without an order the model is empty. The bytes are the same whatever the engine and the blocks.

    Args:
        histories: of all users.
        config: distances, their weights and `k`.
        engine: counts blocks of items; it is open if it has several workers.
    """
    size = histories.n_items
    if not histories.ordered or not len(histories.items):
        return NeighbourModel.blank(size, config.decay)
    counts = np.bincount(histories.items, minlength=size)
    edges = _cut(counts * config.max_distance, engine, _PAIRS)
    with engine.share({"items": histories.items, "starts": histories.starts, "counts": counts}) as shared:
        blocks = gather(engine, _FollowerBlocks(shared, edges, config), len(edges) - 1)
    return NeighbourModel(csr_array(vstack(blocks)), config.decay)


@dataclass(frozen=True)
class _ItemBlocks:
    """Finds the neighbours of a block of items.

    Attributes:
        shared: the weights of items' users, and their transpose.
        edges: (n_blocks + 1) first item of each block, and the number of items.
        shape: of the weights.
        k: neighbours per item.
        threads: of a task.
    """

    shared: Shared
    edges: Sequence[int]
    shape: tuple[int, int]
    k: int
    threads: int

    def __call__(self, number: int) -> csr_array:
        """Return (n_items of the block, n_items) float32."""
        arrays, (n_items, n_users) = self.shared.read(), self.shape
        items = _put_together(arrays, "item", (n_items, n_users))
        users = _put_together(arrays, "user", (n_users, n_items))
        found = find_nearest(items, users, self.k, self.threads, *self.edges[number : number + 2])
        return csr_array(found, dtype=np.float32)


@dataclass(frozen=True)
class _FollowerBlocks:
    """Counts what follows a block of items.

    The pairs of all items at once would take more memory than anything else: up to `max_distance` per entry.

    Attributes:
        shared: `items` and `starts` of histories with an order, and `counts`, each item's number of entries.
        edges: (n_blocks + 1) first item of each block, and the number of items.
        config: distances and their weights.
    """

    shared: Shared
    edges: Sequence[int]
    config: TransitionsConfig

    def __call__(self, number: int) -> csr_array:
        """Return (n_items of the block, n_items) float32, the strongest of each row."""
        arrays, (first, last) = self.shared.read(), self.edges[number : number + 2]
        root = np.sqrt(arrays["counts"].clip(min=1)).astype(np.float32)
        entries = _drop_idle(self._count(arrays["items"], arrays["starts"], first, last), first).tocoo()
        row, column = entries.coords
        scaled = entries.data / root[row + first] / root[column]
        return keep_strongest(csr_array((scaled, (row, column)), shape=entries.shape), self.config.k)

    def _count(self, items: NDArray[np.int32], starts: NDArray[np.int64], first: int, last: int) -> csr_array:
        """Return (last - first, n_items) weighted counts of what follows each of these items."""
        shape = (last - first, self.edges[-1])
        # In the order of the histories: sums of floats depend on it.
        entries = np.flatnonzero((items >= first) & (items < last))
        behind = starts[np.searchsorted(starts, entries, side="right")] - 1 - entries
        counts = csr_array(shape, dtype=np.float32)
        for distance in range(1, self.config.max_distance + 1):
            own = entries[behind >= distance]
            weight = np.full(len(own), self.config.distance_decay ** (distance - 1), dtype=np.float32)
            pairs = (items[own] - np.int32(first), items[own + distance])
            counts = counts + coo_array((weight, pairs), shape=shape).tocsr()
        return csr_array(counts)


def _cut(pairs: NDArray[Any], engine: Engine, most: float = np.inf) -> list[int]:
    """Return the first item of each block and the number of items, for blocks with about equally many pairs.

    Args:
        pairs: (n_items) pairs of each item, which are counted one by one.
        engine: has some blocks for each of its workers.
        most: pairs of a block, unless a single item has more.
    """
    before = np.concatenate([[0], np.cumsum(pairs)])
    blocks = max(1 if engine.parallel == 1 else _BLOCKS * engine.parallel, math.ceil(before[-1] / most))
    first = np.searchsorted(before, np.arange(1, blocks) * (before[-1] / blocks))
    edges: list[int] = np.unique([0, *first.tolist(), len(pairs)]).tolist()
    return edges


def _weigh(histories: Histories, config: ItemToItemConfig) -> csr_array:
    """Return (n_items, n_users) float64, the weight of each user of an item; 0 where it is not defined."""
    counts = csr_matrix(histories.matrix(np.ones(len(histories.items), dtype=np.float32))).T
    # tfidf divides zero by zero for an item whose users all have weight 0.
    with np.errstate(invalid="ignore", divide="ignore"):
        match config.weighting:
            case "bm25":
                weighted = bm25_weight(counts, _BM25_K1, _BM25_B)
            case "tfidf":
                weighted = normalize(tfidf_weight(counts))
            case _:
                weighted = normalize(counts)
    weights = csr_array(weighted.tocsr(), dtype=np.float64)
    weights.data[~np.isfinite(weights.data)] = 0.0
    return weights


def _take_apart(matrix: csr_array, name: str) -> dict[str, NDArray[Any]]:
    return {f"{name}_data": matrix.data, f"{name}_indices": matrix.indices, f"{name}_starts": matrix.indptr}


def _put_together(arrays: Mapping[str, NDArray[Any]], name: str, shape: tuple[int, int]) -> csr_array:
    return csr_array((arrays[f"{name}_data"], arrays[f"{name}_indices"], arrays[f"{name}_starts"]), shape=shape)


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
