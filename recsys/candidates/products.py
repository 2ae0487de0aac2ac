"""Dot products of users and items, for sources that score by vectors."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.block_products import BLOCK, multiply
from recsys.candidates.index import IndexedScores, ItemIndex
from recsys.candidates.scores import CELLS, DenseScores, Scores
from recsys.text.device import pick_device


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
    # Of a full block, whatever this one has: the last bits of a user's scores must not depend on the others.
    large = BLOCK * len(items.items) > CELLS
    if approximate or (large and pick_device().type == "cpu"):
        return IndexedScores(users, unscored, items, n_items, approximate=approximate)
    scores = multiply(users, items.vectors)
    scores[unscored] = -np.inf
    return DenseScores(scores, n_items, items.items)
