"""Whether, how often and when the user interacted with the candidate before."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.marks import is_marked, mark_all
from recsys.candidates.merge import CandidateRows
from recsys.dataset.histories import Histories
from recsys.storage.compilation import compiled

REPEAT_FEATURES = {
    "had_count": "Number of times the user has already had the item.",
    "had_days": "Days since the user last had the item.",
    "had_interval_days": "Mean days between the user's interactions with the item.",
    "had_steps": "Distinct items of the history that are newer than the user's last interaction with the item, where "
    "windows have no common clock.",
}


def describe_repeats(rows: CandidateRows, histories: Histories) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `REPEAT_FEATURES` for candidates; only the count always has a value.

    Steps need an order; where windows have a common clock, days say it.
    """
    found = np.full((len(REPEAT_FEATURES), len(rows.items)), np.nan, dtype=np.float32)
    past = (histories.starts, histories.items, histories.counts, histories.ages, histories.first_ages)
    by_step = histories.ordered and histories.cutoff is None
    _look_up(rows.starts, rows.items, *past, histories.n_items, by_step, found)
    return dict(zip(REPEAT_FEATURES, found, strict=True))


@compiled()
def _look_up(  # type: ignore[no-untyped-def]
    starts, items, past_starts, past_items, past_counts, past_ages, past_first_ages, n_items, by_step, found
):
    marks, entry_of = np.zeros(n_items, dtype=np.int32), np.zeros(n_items, dtype=np.int64)
    for user in range(len(starts) - 1):
        mark_all(marks, user, past_starts, past_items)
        for entry in range(past_starts[user], past_starts[user + 1]):
            entry_of[past_items[entry]] = entry
        for row in range(starts[user], starts[user + 1]):
            item = items[row]
            if not is_marked(marks, user, item):
                found[0, row] = 0.0
                continue
            entry = entry_of[item]
            found[0, row], found[1, row] = past_counts[entry], past_ages[entry]
            if past_counts[entry] > 1:
                found[2, row] = (past_first_ages[entry] - past_ages[entry]) / (past_counts[entry] - np.float32(1.0))
            if by_step:
                found[3, row] = past_starts[user + 1] - 1 - entry
