"""Whether, how often and when the user has had the candidate before."""

from __future__ import annotations

import numpy as np
from numba import njit
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.dataset.histories import Histories

REPEAT_FEATURES = {
    "had_count": "How many times the user has already had the item.",
    "had_days": "Days since the user last had the item.",
    "had_interval_days": "Mean days between the user's earlier takes of the item.",
}


def describe_repeats(rows: CandidateRows, histories: Histories) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `REPEAT_FEATURES` for candidates; only the count is never missing."""
    found = np.full((len(REPEAT_FEATURES), len(rows.items)), np.nan, dtype=np.float32)
    past = (histories.starts, histories.items, histories.counts, histories.ages, histories.first_ages)
    _look_up(rows.starts, rows.items, *past, histories.n_items, found)
    return dict(zip(REPEAT_FEATURES, found, strict=True))


@njit(nogil=True, cache=True)
def _look_up(  # type: ignore[no-untyped-def]
    starts, items, past_starts, past_items, past_counts, past_ages, past_first_ages, n_items, found
):
    mark, place = np.zeros(n_items, dtype=np.int32), np.zeros(n_items, dtype=np.int64)
    for user in range(len(starts) - 1):
        for entry in range(past_starts[user], past_starts[user + 1]):
            mark[past_items[entry]], place[past_items[entry]] = user + 1, entry
        for row in range(starts[user], starts[user + 1]):
            item = items[row]
            if mark[item] != user + 1:
                found[0, row] = 0.0
                continue
            entry = place[item]
            found[0, row], found[1, row] = past_counts[entry], past_ages[entry]
            if past_counts[entry] > 1:
                found[2, row] = (past_first_ages[entry] - past_ages[entry]) / (past_counts[entry] - np.float32(1.0))
