"""Dot products of users and items, for sources that score by vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.block_products import multiply
from recsys.candidates.index import IndexedScores, ItemIndex
from recsys.candidates.scores import DenseScores, Scores


def score_items(
    users: NDArray[np.float32], unscored: NDArray[np.bool_], items: ItemIndex, n_items: int, *, approximate: bool
) -> Scores:
    """Return the dot products of users and items as scores.

    Args:
        users: (n_users, size) float32.
        unscored: (n_users) bool, users who get no scores.
        items: vectors of some or all items of the catalogue.
        n_items: size of the catalogue.
        approximate: search the index for the best items instead of comparing all.
    """
    if approximate:
        return IndexedScores(users, unscored, items, n_items)
    scores = multiply(users, items.vectors)
    scores[unscored] = -np.inf
    return DenseScores(scores, n_items, items.items)
