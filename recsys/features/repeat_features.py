"""Whether, how often and when the user has had the candidate before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.histories import Histories

REPEAT_FEATURES = {
    "had_count": "How many times the user has already had the item.",
    "had_days": "Days since the user last had the item.",
    "had_interval_days": "Mean days between the user's earlier takes of the item.",
}


def describe_repeats(
    user: NDArray[np.uint32], item: NDArray[np.uint32], histories: Histories
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `REPEAT_FEATURES` for (n_rows) user and item numbers; only the count is never missing."""
    keys = histories.users.astype(np.int64) * histories.n_items + histories.items
    order = np.argsort(keys, kind="stable")
    wanted = user.astype(np.int64) * histories.n_items + item
    place = np.searchsorted(keys, wanted, sorter=order)
    entry = order[np.minimum(place, len(order) - 1)] if len(order) else np.zeros(len(wanted), dtype=np.int64)
    had = (keys[entry] == wanted) if len(order) else np.zeros(len(wanted), dtype=bool)
    counts = np.where(had, histories.counts[entry] if len(order) else 0.0, 0.0).astype(np.float32)
    missing = np.full(len(wanted), np.nan, dtype=np.float32)
    if not had.any():
        return {"had_count": counts, "had_days": missing, "had_interval_days": missing}
    days = np.where(had, histories.ages[entry], np.nan).astype(np.float32)
    span = histories.first_ages[entry] - histories.ages[entry]
    interval = np.where(had & (counts > 1), span / np.maximum(counts - 1, 1), np.nan).astype(np.float32)
    return {"had_count": counts, "had_days": days, "had_interval_days": interval}
