"""Whether the candidate's tags, attributes and script match those of the user's history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.marks import is_marked, mark_new
from recsys.candidates.merge import CandidateRows
from recsys.dataset.histories import Histories
from recsys.features.item_facts import ItemFacts
from recsys.features.user_features import average
from recsys.storage.compilation import compiled

_RECENT = 5

SCRIPT_FEATURES = {"script_share": "Share of the history written mostly in the same script as the item."}
VALUE_FEATURES = {
    "match": "Share of the history with the same {column}; where the item has several, the mean of their shares.",
    "recent_match": "1 where one of the five newest items has the same {column} (any of several), else 0.",
}
NUMBER_FEATURES = {
    "near": "Difference of {column} from the history's mean, in standard deviations of the history.",
    "lately": "{column} minus its mean over recent interactions of all users, in standard deviations of the catalogue.",
}


def describe_matches(rows: CandidateRows, histories: Histories, facts: ItemFacts) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `SCRIPT_FEATURES`, and of the other two for `tags` and each attribute.

    A match is missing where the item has no value, or no item of the compared part of the history has a value; without
    an order there are no newest items.
    """
    columns = {"script_share": _share(rows, histories, facts.scripts)[0]}
    for name, values in facts.values.items():
        columns[f"match_{name}"], columns[f"recent_match_{name}"] = _share(rows, histories, values)
    for name, numbers in facts.numbers.items():
        columns[f"near_{name}"] = _measure_distance(rows, histories, numbers, facts.spreads[name])
        columns[f"lately_{name}"] = facts.lately[name][rows.items].astype(np.float32)
    return columns


def _share(rows: CandidateRows, histories: Histories, values: csr_array) -> NDArray[np.float32]:
    """Return (2, n_rows): the mean over the item's values of the share of the history with it, and a recent match."""
    found = np.full((2, len(rows.items)), np.nan, dtype=np.float32)
    past = (histories.starts, histories.items)
    recent = _RECENT if histories.ordered else 0
    _count_shares(rows.starts, rows.items, *past, values.indptr, values.indices, values.shape[1], recent, found)
    return found


def _measure_distance(
    rows: CandidateRows, histories: Histories, numbers: NDArray[np.float64], spread: float
) -> NDArray[np.float32]:
    """Return the difference from the user's mean in the user's standard deviations, NaN where a number is unknown.

    The variance includes an extra item as far from the mean as the catalogue's standard deviation, so that one or two
    items of the same year do not make all other years infinitely far.
    """
    owned = numbers[histories.items]
    mean = average(owned, histories)
    variance = average((owned - mean[histories.users]) ** 2, histories)
    count = np.bincount(histories.users[~np.isnan(owned)], minlength=histories.n_users)
    deviation = np.sqrt((count * variance + spread**2) / (count + 1))
    counts = np.diff(rows.starts)
    width = np.repeat(np.where(deviation > 0, deviation, np.nan), counts)
    distance: NDArray[np.float32] = (np.abs(numbers[rows.items] - np.repeat(mean, counts)) / width).astype(np.float32)
    return distance


@compiled()
def _count_shares(starts, items, past_starts, past_items, pointers, values, n_values, recent, found):  # type: ignore[no-untyped-def]
    # For each value, the number of items of the history, and of the newest items, that have it.
    marks, counts = np.zeros(n_values, dtype=np.int32), np.zeros((n_values, 2), dtype=np.int32)
    for user in range(len(starts) - 1):
        every = newest = 0
        for step in range(past_starts[user + 1] - past_starts[user]):
            item = past_items[past_starts[user + 1] - 1 - step]
            if pointers[item] == pointers[item + 1]:
                continue
            near = step < recent
            every += 1
            newest += near
            for place in range(pointers[item], pointers[item + 1]):
                value = values[place]
                if mark_new(marks, user, value):
                    counts[value, 0], counts[value, 1] = 0, 0
                counts[value, 0] += 1
                counts[value, 1] += near
        for row in range(starts[user], starts[user + 1]):
            item = items[row]
            having = pointers[item + 1] - pointers[item]
            if having == 0:
                continue
            total = total_newest = 0
            for place in range(pointers[item], pointers[item + 1]):
                value = values[place]
                if is_marked(marks, user, value):
                    total += counts[value, 0]
                    total_newest += counts[value, 1]
            if every:
                found[0, row] = total / (having * every)
            if newest:
                found[1, row] = total_newest > 0
