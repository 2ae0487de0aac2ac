"""Approximate search for the items with the largest dot products, for large catalogues (faiss)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import faiss
import numpy as np
from numpy.typing import NDArray

from recsys.candidates.block_products import multiply
from recsys.candidates.exclusions import Exclusions
from recsys.candidates.marks import is_marked, mark_all
from recsys.candidates.scores import DenseScores
from recsys.storage.compilation import compiled

# Clusters per square root of the number of items, the share of them that is searched, and the largest and smallest
# number of items of a cluster that k-means learns from.
_CLUSTERS = 4.0
_SEARCHED = 0.06
_LEARNED = 64
_LEAST = 40
# Users in a search, padded: the last bits of a product depend on the number of rows.
_ROWS = 128


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss use a single thread; torch reads the same setting, so it is restored afterwards."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


class ItemIndex:
    """Items in clusters (Jégou, Douze, Schmid 2011, PAMI): a search covers the clusters nearest to the user.

    An extra dimension makes all vectors equally long (Bachrach et al. 2014, RecSys). That keeps the order of the
    products; without it, clusters gather around the few long vectors and nearly all of the best items are missed.

    The same vectors give the same index: a single thread learns it from a fixed seed.
    """

    def __init__(self, vectors: NDArray[np.float32], items: NDArray[np.int32]) -> None:
        """Take (n, size) float32 vectors and the (n) int32 numbers of their items."""
        self.vectors = vectors
        self.items = items

    @cached_property
    def _index(self) -> faiss.IndexIVFFlat:
        count, size = len(self.vectors), self.vectors.shape[1] + 1
        squares = np.vecdot(self.vectors, self.vectors)
        rest = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        padded = np.ascontiguousarray(np.column_stack([self.vectors, rest]), dtype=np.float32)
        clusters = max(1, min(int(_CLUSTERS * np.sqrt(count)), count // _LEAST))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, clusters, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.niter = 1, 8
        index.cp.max_points_per_centroid = _LEARNED
        index.nprobe = max(1, int(np.ceil(_SEARCHED * clusters)))
        with _one_thread():
            index.train(padded)
            index.add(padded)
        return index

    def search(self, users: NDArray[np.float32], depth: int, allowed: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (n_users, depth) int64 indices into `items`, -1 where the searched clusters hold no more.

        Args:
            users: (n_users, size) float32.
            depth: number of items.
            allowed: (n) bool, items that may be returned.
        """
        nearest = np.empty((len(users), depth), dtype=np.int64)
        # The selector does not copy the bits.
        bits = np.packbits(allowed, bitorder="little")
        selector = faiss.IDSelectorBitmap(len(allowed), faiss.swig_ptr(bits))
        settings = faiss.SearchParametersIVF(sel=selector, nprobe=self._index.nprobe)  # type: ignore[call-arg]
        with _one_thread():
            for start in range(0, len(users), _ROWS):
                block = np.zeros((_ROWS, users.shape[1] + 1), dtype=np.float32)
                rows = users[start : start + _ROWS]
                block[: len(rows), :-1] = rows
                nearest[start : start + _ROWS] = self._index.search(block, depth, params=settings)[1][: len(rows)]
        return nearest


class IndexedScores:
    """Dot products of users and items, with the best items found by an index; see `Scores`."""

    def __init__(self, users: NDArray[np.float32], unscored: NDArray[np.bool_], index: ItemIndex, n_items: int) -> None:
        """Take (n_users, size) float32 vectors, (n_users) bool users without scores, items, and catalogue size."""
        self._users, self._unscored, self._index, self._n_items = users, unscored, index, n_items

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """Return the best of the items that the index finds; an item in a cluster that is not searched is missed."""
        most_excluded = int(np.diff(exclusions.starts).max(initial=0))
        width = min(depth + most_excluded, len(self._index.items))
        nearest = self._index.search(self._users, width, exclusions.recommendable[self._index.items])
        items = np.where(nearest >= 0, self._index.items[nearest], -1).astype(np.int32)
        items[self._unscored] = -1
        starts = np.arange(len(items) + 1, dtype=np.int64) * width
        scores = self.look_up(starts, np.maximum(items, 0).ravel()).reshape(items.shape)
        # Sorted by item, so that the smaller of two items with equal scores comes first.
        order = np.argsort(np.where(items < 0, self._n_items, items), axis=1, kind="stable")
        items = np.take_along_axis(items, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
        found = DenseScores(np.where(items >= 0, scores, np.float32(-np.inf)))
        columns = found.find_top(width, Exclusions.none(*items.shape))
        ranked = np.where(columns >= 0, np.take_along_axis(items, np.maximum(columns, 0), axis=1), -1)
        top: NDArray[np.int32] = _take_allowed(
            ranked.astype(np.int32), exclusions.recommendable, exclusions.starts, exclusions.items, depth
        )
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        products = np.full(len(items), np.nan, dtype=np.float32)
        _multiply_pairs(starts, self._rows[items], self._users, self._index.vectors, self._unscored, products)
        return products

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        array = np.full((len(self._users), self._n_items), np.nan, dtype=np.float32)
        # A product of the block reads the vectors once, pair by pair they would be read once per user.
        products = multiply(self._users, self._index.vectors)
        products[self._unscored] = np.nan
        array[:, self._index.items] = products
        return array

    @cached_property
    def _rows(self) -> NDArray[np.int32]:
        """Of each item of the catalogue its row among the vectors, -1 for none."""
        rows = np.full(self._n_items, -1, dtype=np.int32)
        rows[self._index.items] = np.arange(len(self._index.items), dtype=np.int32)
        return rows


@compiled(fastmath={"reassoc", "contract"})
def _multiply_pairs(starts, rows, users, vectors, unscored, products):  # type: ignore[no-untyped-def]
    for user in range(len(starts) - 1):
        if unscored[user]:
            continue
        for pair in range(starts[user], starts[user + 1]):
            row = rows[pair]
            if row >= 0:
                product = np.float32(0.0)
                for cell in range(users.shape[1]):
                    product += users[user, cell] * vectors[row, cell]
                products[pair] = product


@compiled()
def _take_allowed(ranked, recommendable, starts, excluded, depth):  # type: ignore[no-untyped-def]
    """Return the first items of each row that are not excluded."""
    top = np.full((len(ranked), depth), -1, dtype=np.int32)
    marks = np.zeros(len(recommendable), dtype=np.int32)
    for user in range(len(ranked)):
        mark_all(marks, user, starts, excluded)
        size = 0
        for item in ranked[user]:
            if size == depth or item < 0:
                break
            if recommendable[item] and not is_marked(marks, user, item):
                top[user, size] = item
                size += 1
    return top
