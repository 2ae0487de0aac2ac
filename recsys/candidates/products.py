"""Dot products of users and items, for sources that score by vectors."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.candidates.index import IndexedScores, ItemIndex
from recsys.candidates.scores import DenseScores, Scores
from recsys.text.device import keep_on, pick_device

# Users in one matrix product, and in one unit of work.
BLOCK = 128


def multiply(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (n_users, n_items) float32 dot products, computed on a GPU if torch has one.

    All blocks have the same number of rows, the last one padded: the last bits of a product depend on the number of
    rows, and a user's scores must not depend on the other users.
    """
    device = pick_device()
    product = np.empty((len(users), len(items)), dtype=np.float32)
    with torch.inference_mode():
        columns = keep_on(device, items).T
        for start in range(0, len(users), BLOCK):
            rows = users[start : start + BLOCK]
            block = np.zeros((BLOCK, users.shape[1]), dtype=np.float32)
            block[: len(rows)] = rows
            product[start : start + BLOCK] = (torch.from_numpy(block).to(device) @ columns).cpu().numpy()[: len(rows)]
    return product


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
