"""Dot products of a block of users with all items, the same bytes whatever the number of users."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

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
            block = torch.zeros((BLOCK, users.shape[1]))
            block[: len(rows)] = torch.from_numpy(rows)
            target = torch.from_numpy(product[start : start + BLOCK])
            if device.type == "cpu" and len(rows) == BLOCK:
                # Into its place: a copy of so many numbers takes as long as the product.
                torch.mm(block, columns, out=target)
            else:
                target.copy_((block.to(device) @ columns)[: len(rows)])
    return product
