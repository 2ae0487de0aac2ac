"""Neighbourhoods in the embedding space: nearest items, and a projection to two dimensions."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

# Cosines in memory at once: 64 MB of float32.
_CELLS_AT_ONCE = 16_000_000


def find_nearest(embeddings: NDArray[np.float32], query_items: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the items with the highest cosine similarity, best first; an item is not its own neighbour.

    Args:
        embeddings: `(n_items, embedding_size)` float32, rows of unit length.
        query_items: `(n_queries,)` item numbers.
        k: number of neighbours of each, below the number of items.

    Returns:
        `(n_queries, k)` item numbers; of equal cosines the smaller item number comes first.

    Raises:
        DataError: there are fewer than k other items.
    """
    if not 1 <= k < len(embeddings):
        raise DataError(f"nearest items: k is {k}, expected 1 to {len(embeddings) - 1}; choose a smaller k")
    nearest = np.empty((len(query_items), k), dtype=np.int64)
    step = max(1, _CELLS_AT_ONCE // len(embeddings))
    for start in range(0, len(query_items), step):
        block = query_items[start : start + step]
        cosines = embeddings[block] @ embeddings.T
        cosines[np.arange(len(block)), block] = -np.inf
        nearest[start : start + step] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return nearest


def project_to_plane(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Project the vectors onto their first two principal components (Pearson 1901).

    Args:
        embeddings: `(n_items, embedding_size)` float32.

    Returns:
        `(n_items, 2)` float64, the first axis has the larger variance. On each axis the farthest item is on the
        positive side, so the same vectors always give the same map. An axis that does not exist is all zeros.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    # Axes from the covariance matrix, whose size does not grow with the catalogue.
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    points = np.zeros((len(embeddings), 2))
    points[:, : axes.shape[1]] = centred @ axes
    farthest = points[np.abs(points).argmax(axis=0), np.arange(2)]
    flipped: NDArray[np.float64] = points * np.where(farthest < 0, -1.0, 1.0)
    return flipped
