"""Nearest items without looking at all of them, for catalogues where that pays (faiss)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property

import faiss
import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.candidates.marks import is_marked, mark_all
from recsys.candidates.scores import DenseScores, Exclusions

# Clusters per root of the number of items, the share that is searched, the most items of each that k-means learns from,
# and the fewest.
_CLUSTERS = 4.0
_SEARCHED = 0.06
_LEARNED = 64
_LEAST = 40
# Users in one search, the last ones filled up: a product's last bits depend on how many rows it has.
_ROWS = 128


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss use one thread; torch asks the same place how many it has, so the number comes back afterwards."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


class ItemIndex:
    """Items in clusters (Jégou, Douze, Schmid 2011, PAMI): a search looks into the clusters nearest to the user.

    One more number makes all vectors equally long (Bachrach et al. 2014, RecSys): the order of the products stays, and
    clusters no longer gather around the few long ones, which without it hides nearly all of the best.

    Same vectors, same index: it is learned by one thread from a fixed draw.
    """

    def __init__(self, vectors: NDArray[np.float32], items: NDArray[np.int32]) -> None:
        """Take (n, size) float32 vectors and the (n) numbers of the items they are of; both are kept."""
        self.vectors = vectors
        self.items = items

    @cached_property
    def _index(self) -> faiss.IndexIVFFlat:
        count, size = len(self.vectors), self.vectors.shape[1] + 1
        squares = np.vecdot(self.vectors, self.vectors)
        rest = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        even = np.ascontiguousarray(np.column_stack([self.vectors, rest]), dtype=np.float32)
        clusters = max(1, min(int(_CLUSTERS * np.sqrt(count)), count // _LEAST))
        index = faiss.IndexIVFFlat(faiss.IndexFlatIP(size), size, clusters, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.niter = 1, 8
        index.cp.max_points_per_centroid = _LEARNED
        index.nprobe = max(1, int(np.ceil(_SEARCHED * clusters)))
        with _one_thread():
            index.train(even)
            index.add(even)
        return index

    def search(self, users: NDArray[np.float32], depth: int, open_to: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Return (n_users, depth) int64 places among the items, -1 where the clusters hold no more.

        Args:
            users: (n_users, size) float32.
            depth: how many.
            open_to: (n) bool, places that are looked at.
        """
        found = np.empty((len(users), depth), dtype=np.int64)
        # The selector reads the bits where they are.
        bits = np.packbits(open_to, bitorder="little")
        chosen = faiss.IDSelectorBitmap(len(open_to), faiss.swig_ptr(bits))
        settings = faiss.SearchParametersIVF(sel=chosen, nprobe=self._index.nprobe)  # type: ignore[call-arg]
        with _one_thread():
            for start in range(0, len(users), _ROWS):
                block = np.zeros((_ROWS, users.shape[1] + 1), dtype=np.float32)
                some = users[start : start + _ROWS]
                block[: len(some), :-1] = some
                found[start : start + _ROWS] = self._index.search(block, depth, params=settings)[1][: len(some)]
        return found


class IndexedScores:
    """Dot products of users and items, the best of them by an index; see `Scores`."""

    def __init__(self, users: NDArray[np.float32], unscored: NDArray[np.bool_], index: ItemIndex, n_items: int) -> None:
        """Take (n_users, size) float32 vectors, (n_users) bool who gets nothing, items, and how many all are."""
        self._users, self._silent, self._index, self._n_items = users, unscored, index, n_items

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """Return the best of the items that the index finds; one may be missed that lies in another cluster."""
        widest = int(np.diff(exclusions.starts).max(initial=0))
        width = min(depth + widest, len(self._index.items))
        places = self._index.search(self._users, width, exclusions.recommendable[self._index.items])
        items = np.where(places >= 0, self._index.items[places], -1).astype(np.int32)
        items[self._silent] = -1
        starts = np.arange(len(items) + 1, dtype=np.int64) * width
        scores = self.look_up(starts, np.maximum(items, 0).ravel()).reshape(items.shape)
        # Sorted by item, so that of equal scores the smaller item comes first.
        order = np.argsort(np.where(items < 0, self._n_items, items), axis=1, kind="stable")
        items = np.take_along_axis(items, order, axis=1)
        scores = np.take_along_axis(scores, order, axis=1)
        found = DenseScores(np.where(items >= 0, scores, np.float32(-np.inf)))
        open_to = Exclusions.none(*items.shape)
        chosen = found.find_top(width, open_to)
        ranked = np.where(chosen >= 0, np.take_along_axis(items, np.maximum(chosen, 0), axis=1), -1)
        top: NDArray[np.int32] = _take_allowed(
            ranked.astype(np.int32), exclusions.recommendable, exclusions.starts, exclusions.items, depth
        )
        return top

    def look_up(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> NDArray[np.float32]:
        """See `Scores`."""
        found = np.full(len(items), np.nan, dtype=np.float32)
        _multiply_pairs(starts, self._places[items], self._users, self._index.vectors, self._silent, found)
        return found

    def to_array(self) -> NDArray[np.float32]:
        """See `Scores`."""
        n_users = len(self._users)
        starts = np.arange(n_users + 1, dtype=np.int64) * self._n_items
        items = np.tile(np.arange(self._n_items, dtype=np.int32), n_users)
        return self.look_up(starts, items).reshape(n_users, self._n_items)

    @cached_property
    def _places(self) -> NDArray[np.int32]:
        places = np.full(self._n_items, -1, dtype=np.int32)
        places[self._index.items] = np.arange(len(self._index.items), dtype=np.int32)
        return places


@njit(nogil=True, cache=True, fastmath={"reassoc", "contract"})
def _multiply_pairs(starts, places, users, vectors, unscored, found):  # type: ignore[no-untyped-def]
    for user in range(len(starts) - 1):
        if unscored[user]:
            continue
        for pair in range(starts[user], starts[user + 1]):
            place = places[pair]
            if place >= 0:
                product = np.float32(0.0)
                for cell in range(users.shape[1]):
                    product += users[user, cell] * vectors[place, cell]
                found[pair] = product


@njit(nogil=True, cache=True)
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
