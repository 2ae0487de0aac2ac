"""What embeddings hold near each other: nearest items, and a map that an eye can read."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.errors import DataError

# Cells of the table of cosines held at once: 64 MB of float32.
_CELLS_AT_ONCE = 16_000_000


def find_nearest(embeddings: NDArray[np.float32], places: NDArray[np.int64], k: int) -> NDArray[np.int64]:
    """Return the items whose vectors point most the same way, best first; an item is not its own neighbour.

    Args:
        embeddings: `(n_items, embedding_size)` float32, rows of unit length.
        places: `(n_asked,)` item numbers.
        k: neighbours of each, fewer than there are items.

    Returns:
        `(n_asked, k)` item numbers; equal cosines go to the smaller number.

    Raises:
        DataError: there are not so many other items.
    """
    if not 1 <= k < len(embeddings):
        raise DataError(f"nearest items: k is {k}, expected 1 to {len(embeddings) - 1}, the other items; ask for fewer")
    nearest = np.empty((len(places), k), dtype=np.int64)
    step = max(1, _CELLS_AT_ONCE // len(embeddings))
    for start in range(0, len(places), step):
        asked = places[start : start + step]
        cosines = embeddings[asked] @ embeddings.T
        cosines[np.arange(len(asked)), asked] = -np.inf
        nearest[start : start + step] = np.argsort(-cosines, axis=1, kind="stable")[:, :k]
    return nearest


def project_to_plane(embeddings: NDArray[np.float32]) -> NDArray[np.float64]:
    """Return where each vector lies on the two axes that spread the vectors most (Pearson 1901, principal components).

    Args:
        embeddings: `(n_items, embedding_size)` float32.

    Returns:
        `(n_items, 2)` float64, the first axis the wider; on each the farthest item lies on the positive side, so that
        the same vectors always make the same map. A direction that does not exist is all zeros.
    """
    centred = embeddings.astype(np.float64) - embeddings.mean(axis=0, dtype=np.float64)
    # The axes from the small square of covariances: its size does not grow with the catalogue.
    axes = np.linalg.eigh(centred.T @ centred)[1][:, :-3:-1]
    points = np.zeros((len(embeddings), 2))
    points[:, : axes.shape[1]] = centred @ axes
    farthest = points[np.abs(points).argmax(axis=0), np.arange(2)]
    flipped: NDArray[np.float64] = points * np.where(farthest < 0, -1.0, 1.0)
    return flipped
