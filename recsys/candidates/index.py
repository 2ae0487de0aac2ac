"""Approximate search for the items with the largest dot products, for large catalogues (faiss)."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import NamedTuple

import faiss
import numpy as np
from numpy.typing import NDArray

from recsys.candidates.block_products import multiply
from recsys.candidates.exclusions import Exclusions
from recsys.candidates.four_products import multiply_four
from recsys.candidates.scores import DenseScores
from recsys.candidates.top_k import empty_into, find_largest, pack, push, unpack_score
from recsys.storage.compilation import compiled

# Clusters per square root of the number of items, the share of them that is searched, and the largest and smallest
# number of items of a cluster that k-means learns from.
_CLUSTERS = 4.0
_SEARCHED = 0.06
_LEARNED = 64
_LEAST = 40
# Vectors that are compared with all users of a block while they are in the processor's cache.
_TILE = 256


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let faiss use a single thread; torch reads the same setting, so it is restored afterwards."""
    threads = faiss.omp_get_max_threads()
    faiss.omp_set_num_threads(1)
    try:
        yield
    finally:
        faiss.omp_set_num_threads(threads)


class Clusters(NamedTuple):
    """The vectors of an index by cluster.

    Attributes:
        centres: (n_clusters, size) float32.
        starts: (n_clusters + 1) int64; cluster c has `vectors[starts[c]:starts[c + 1]]`, four or more, or none.
        vectors: (n_places, size) float32; zeros fill up the four places of a small cluster.
        items: (n_places) int32, -1 where there is none.
    """

    centres: NDArray[np.float32]
    starts: NDArray[np.int64]
    vectors: NDArray[np.float32]
    items: NDArray[np.int32]


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
    def clusters(self) -> Clusters:
        """The clusters, learned when they are first needed."""
        count, size = len(self.vectors), self.vectors.shape[1] + 1
        squares = np.vecdot(self.vectors, self.vectors)
        rest = np.sqrt(np.maximum(squares.max(initial=0.0) - squares, 0.0))
        padded = np.ascontiguousarray(np.column_stack([self.vectors, rest]), dtype=np.float32)
        number = max(1, min(int(_CLUSTERS * np.sqrt(count)), count // _LEAST))
        quantizer = faiss.IndexFlatIP(size)
        index = faiss.IndexIVFFlat(quantizer, size, number, faiss.METRIC_INNER_PRODUCT)
        index.cp.seed, index.cp.niter = 1, 8
        index.cp.max_points_per_centroid = _LEARNED
        with _one_thread():
            index.train(padded)
            nearest = quantizer.search(padded, 1)[1][:, 0]
        # A user's vector has 0 in the extra dimension.
        return self._arrange(quantizer.reconstruct_n(0, number)[:, :-1].copy(), nearest)

    def _arrange(self, centres: NDArray[np.float32], nearest: NDArray[np.int64]) -> Clusters:
        """Sort the vectors by their (n) nearest centres."""
        order, counts = np.argsort(nearest, kind="stable"), np.bincount(nearest, minlength=len(centres))
        places = np.where(counts > 0, np.maximum(counts, 4), 0)
        firsts, starts = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (counts, places))
        places = np.arange(len(order)) + (starts[:-1] - firsts[:-1])[nearest[order]]
        vectors = np.zeros((starts[-1], self.vectors.shape[1]), dtype=np.float32)
        items = np.full(starts[-1], -1, dtype=np.int32)
        vectors[places], items[places] = self.vectors[order], self.items[order]
        return Clusters(centres, starts, vectors, items)

    @cached_property
    def tiles(self) -> Clusters:
        """All vectors, cut into equal parts: those of a search that is not approximate."""
        starts = np.arange(max(1, len(self.vectors) // _TILE) + 1, dtype=np.int64) * _TILE
        starts[-1] = len(self.vectors)
        return Clusters(np.empty((len(starts) - 1, 0), dtype=np.float32), starts, self.vectors, self.items)

    def search(
        self,
        users: NDArray[np.float32],
        unscored: NDArray[np.bool_],
        depth: int,
        exclusions: Exclusions,
        *,
        approximate: bool,
    ) -> NDArray[np.int32]:
        """Return (n_users, depth) int32 item numbers, best first, -1 where the searched clusters hold no more.

        Equal products go to the smaller number.

        Args:
            users: (n_users, size) float32.
            unscored: (n_users) bool, users who get none.
            depth: number of items.
            exclusions: items that are left out.
            approximate: search only the nearest clusters, not all vectors.
        """
        clusters = self.clusters if approximate else self.tiles
        n_clusters = len(clusters.centres)
        if approximate:
            near = DenseScores(multiply(users, clusters.centres))
            searched = near.find_top(int(np.ceil(_SEARCHED * n_clusters)), Exclusions.none(len(users), n_clusters))
        else:
            searched = np.tile(np.arange(n_clusters, dtype=np.int32), (len(users), 1))
        searched[unscored] = -1
        excluded = exclusions.items.copy()
        top = np.empty((len(users), depth), dtype=np.int32)
        _search(searched, users, clusters, exclusions.recommendable, exclusions.starts, excluded, top)
        return top


class IndexedScores:
    """Dot products of users and items, computed as they are asked for; see `Scores`."""

    def __init__(
        self,
        users: NDArray[np.float32],
        unscored: NDArray[np.bool_],
        index: ItemIndex,
        n_items: int,
        *,
        approximate: bool,
    ) -> None:
        """Take (n_users, size) float32 vectors, (n_users) bool users without scores, items, and catalogue size."""
        self._users, self._unscored, self._index, self._n_items = users, unscored, index, n_items
        self._approximate = approximate

    def find_top(self, depth: int, exclusions: Exclusions) -> NDArray[np.int32]:
        """Return the best items; where it is approximate, an item in a cluster that is not searched is missed."""
        return self._index.search(self._users, self._unscored, depth, exclusions, approximate=self._approximate)

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
def _search(searched, users, clusters, recommendable, starts, excluded, top):  # type: ignore[no-untyped-def]
    """Fill `top`; sorts what each user is excluded from. A cluster is read once for all users who search it."""
    n_users, depth = top.shape
    for user in range(n_users):
        excluded[starts[user] : starts[user + 1]].sort()
    ends, members = _list_users(searched, len(clusters.centres))
    keys, sizes = np.empty((n_users, depth), dtype=np.int64), np.zeros(n_users, dtype=np.int64)
    products = np.empty((4, np.diff(clusters.starts).max()), dtype=np.float32)
    for cluster in range(len(clusters.centres)):
        first, last = clusters.starts[cluster], clusters.starts[cluster + 1]
        vectors, numbers = clusters.vectors[first:last], clusters.items[first:last]
        for place in range(ends[cluster], ends[cluster + 1], 4):
            # Where there are fewer than four users, the last one is repeated.
            left = ends[cluster + 1] - place
            one, two = members[place], members[place + min(1, left - 1)]
            three, four = members[place + min(2, left - 1)], members[place + min(3, left - 1)]
            multiply_four(users[one], users[two], users[three], users[four], vectors, products)
            for row in range(min(4, left)):
                user = members[place + row]
                own = excluded[starts[user] : starts[user + 1]]
                sizes[user] = _push_allowed(keys[user], sizes[user], products[row], numbers, recommendable, own)
    for user in range(n_users):
        empty_into(keys[user], sizes[user], top[user])


@compiled()
def _list_users(searched, n_clusters):  # type: ignore[no-untyped-def]
    """Return where each cluster's users begin, and the users, cluster by cluster."""
    ends = np.zeros(n_clusters + 1, dtype=np.int64)
    for cluster in searched.flat:
        if cluster >= 0:
            ends[cluster + 1] += 1
    ends = np.cumsum(ends)
    filled, members = ends.copy(), np.empty(ends[-1], dtype=np.int64)
    for user in range(len(searched)):
        for cluster in searched[user]:
            if cluster >= 0:
                members[filled[cluster]] = user
                filled[cluster] += 1
    return ends, members


@compiled()
def _push_allowed(keys, size, products, numbers, recommendable, excluded):  # type: ignore[no-untyped-def]
    """Offer a cluster's items to a user's best, and return how many these are; `excluded` is sorted."""
    least = unpack_score(keys[0]) if size == len(keys) else np.float32(-np.inf)
    # Most clusters hold nothing that would make a list.
    if len(numbers) == 0 or find_largest(products[: len(numbers)]) < least:
        return size
    for place in range(len(numbers)):
        item = numbers[place]
        if products[place] < least or item < 0 or not recommendable[item]:
            continue
        found = np.searchsorted(excluded, item)
        if found == len(excluded) or excluded[found] != item:
            size = push(keys, size, pack(products[place], item))
            if size == len(keys):
                least = unpack_score(keys[0])
    return size
