"""EASE: every item predicted from all others at once, in closed form."""

from __future__ import annotations

import logging

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import spotrf, spotri
from scipy.sparse import csr_array, vstack
from threadpoolctl import threadpool_limits

from recsys.collab.neighbours import NeighbourModel
from recsys.config import EaseConfig
from recsys.dataset.histories import Histories
from recsys.errors import ConfigError
from recsys.progress import format_count

logger = logging.getLogger(__name__)

# Items whose rows are computed at a time.
_BATCH = 1024


def fit_ease(histories: Histories, config: EaseConfig, threads: int) -> NeighbourModel:
    """Fit the ridge regression of each item on all others over users' interactions (Steck 2019, WWW).

    With X the (n_users, n_items) matrix of 0 and 1 and P the inverse of X'X + regularization * I, the entry from item
    i to item j is -P[i, j] / P[j, j], and 0 from an item to itself. Unlike in plain neighbours, items share the
    credit: what a bestseller already explains is not counted again for its sequels, so some entries are negative. For
    each scored item the `k` strongest entries by magnitude are kept.

    Items without users have no entries. With more than `max_items` items that have users the model is empty, which
    is logged. Bytes are the same for the same histories, number of threads and kind of processor.

    Raises:
        ConfigError: the regularization is too small for the number of users.
    """
    size = histories.n_items
    active = np.flatnonzero(np.bincount(histories.items, minlength=size))
    if len(active) > config.max_items:
        logger.info(
            "ease: not fitted, %s items with users are more than max_items %s",
            f"{len(active):,}",
            f"{config.max_items:,}",
        )
        return NeighbourModel.blank(size, config.decay)
    matrix = histories.matrix(np.ones(len(histories.items), dtype=np.float32))[:, active]
    with threadpool_limits(threads, "blas"):
        inverse = _invert(_count_together(csr_array(matrix)), config.regularization)
    # The inverse is symmetric, so the entries to an item are its row.
    entries = _keep_strongest(inverse, config.k).tocoo()
    scored, owned = entries.coords
    pairs = (active[owned], active[scored])
    return NeighbourModel(csr_array((entries.data, pairs), shape=(size, size)), config.decay)


def _count_together(matrix: csr_array) -> NDArray[np.float32]:
    """Return (n_items, n_items) float32: the number of users who interacted with both."""
    size = matrix.shape[1]
    counts = np.zeros((size, size), dtype=np.float32)
    rows = csr_array(matrix.T)
    # In batches: a sparse product of all at once would take three times the memory of the result.
    for start in range(0, size, _BATCH):
        counts[start : start + _BATCH] = (rows[start : start + _BATCH] @ matrix).toarray()
    return counts


def _invert(counts: NDArray[np.float32], regularization: float) -> NDArray[np.float32]:
    """Return the inverse of counts + regularization * I; overwrites `counts`.

    By Cholesky in float32: entries differ from float64 by about 1e-6 of the largest, in half the time and memory.
    """
    size = len(counts)
    if not size:
        return counts
    counts[np.diag_indices(size)] += regularization
    factor, trouble = spotrf(counts.T, lower=True, clean=False, overwrite_a=True)
    if trouble:
        raise ConfigError(
            f"collab.ease.regularization {regularization:g}: too small for float32 with {format_count(size, 'item')}; "
            "give a larger one, or set collab.ease.max_items to 0 to switch EASE off"
        )
    lower, _ = spotri(factor, lower=True, overwrite_c=True)
    inverse: NDArray[np.float32] = lower.T
    # LAPACK fills one triangle; the other is its mirror image.
    for start in range(0, size, _BATCH):
        stop = min(start + _BATCH, size)
        corner = np.triu(inverse[start:stop, start:stop])
        inverse[start:stop, start:stop] = corner + np.triu(corner, 1).T
        inverse[stop:, start:stop] = inverse[start:stop, stop:].T
    return inverse


def _keep_strongest(inverse: NDArray[np.float32], k: int) -> csr_array:
    """Return (n_items, n_items): each row divided by minus its diagonal, the `k` largest magnitudes of it."""
    batches = []
    for start in range(0, len(inverse), _BATCH):
        own = np.arange(start, min(start + _BATCH, len(inverse)))
        weights = inverse[own] / -inverse[own, own][:, None]
        weights[own - start, own] = 0.0
        if k < len(inverse):
            rest = np.argpartition(np.abs(weights), -k, axis=1)[:, :-k]
            np.put_along_axis(weights, rest, 0.0, axis=1)
        batches.append(csr_array(weights))
    return csr_array(vstack(batches)) if batches else csr_array((0, 0), dtype=np.float32)
