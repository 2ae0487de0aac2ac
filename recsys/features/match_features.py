"""Whether the candidate's tags, attributes and writing are those of the user's history."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.histories import Histories
from recsys.features.item_facts import ItemFacts
from recsys.features.user_features import average

_RECENT = 5

SCRIPT_FEATURES = {"script_share": "Share of the history written mostly in the same script as the item."}
VALUE_FEATURES = {
    "match": "Share of the history with the same {column}; where the item has several, the mean of their shares.",
    "recent_match": "1 where one of the five newest items has the same {column} (any of several), else 0.",
}
NUMBER_FEATURES = {
    "near": "Difference of {column} from the history's mean, in standard deviations of the history.",
    "lately": "{column} minus its mean over what everybody touched lately, in standard deviations of the catalogue.",
}


def describe_matches(
    user: NDArray[np.uint32], item: NDArray[np.uint32], histories: Histories, facts: ItemFacts
) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `SCRIPT_FEATURES`, and of the other two for `tags` and each attribute.

    A match is missing where the item has no value, or no item of the history in question has one; without an order
    there are no newest items. Arguments are (n_rows) user and item numbers, the histories of these users, and the
    catalogue.
    """
    every = np.ones(len(histories.items), dtype=np.float32)
    newest = ((histories.steps_back < _RECENT) & histories.ordered).astype(np.float32)
    columns = {"script_share": _share(user, item, histories.matrix(every), facts.scripts)}
    for name, values in facts.values.items():
        recent = _share(user, item, histories.matrix(newest), values)
        columns[f"match_{name}"] = _share(user, item, histories.matrix(every), values)
        columns[f"recent_match_{name}"] = np.where(np.isnan(recent), np.nan, recent > 0)
    for name, numbers in facts.numbers.items():
        columns[f"near_{name}"] = _measure_distance(user, item, histories, numbers, facts.spreads[name])
        columns[f"lately_{name}"] = facts.lately[name][item]
    return {name: values.astype(np.float32) for name, values in columns.items()}


def _share(
    user: NDArray[np.uint32], item: NDArray[np.uint32], counted: csr_array, values: csr_array
) -> NDArray[np.float64]:
    """Return the mean over each item's values of the share of the user's counted items that have it; else NaN.

    Only whole numbers are added, which float32 does exactly, so their order plays no part.
    """
    having = np.diff(values.indptr)
    owned = (counted @ values).toarray()
    totals = counted @ (having > 0).astype(np.float32)
    row = np.repeat(np.arange(len(item)), having[item])
    starts = np.cumsum(having[item]) - having[item]
    entry = values.indptr[item][row] + np.arange(len(row)) - starts[row]
    sums = np.bincount(row, weights=owned[user[row], values.indices[entry]], minlength=len(item))
    most = having[item] * totals[user]
    return np.where(most > 0, sums / np.where(most > 0, most, 1), np.nan)


def _measure_distance(
    user: NDArray[np.uint32],
    item: NDArray[np.uint32],
    histories: Histories,
    numbers: NDArray[np.float64],
    spread: float,
) -> NDArray[np.float64]:
    """Return the difference from the user's mean in the user's standard deviations, NaN where one is unknown.

    One more item, as far from the mean as the catalogue is wide, counts in the variance: one or two items of the same
    year do not make all other years infinitely far.
    """
    owned = numbers[histories.items]
    mean = average(owned, histories)
    variance = average((owned - mean[histories.users]) ** 2, histories)
    count = np.bincount(histories.users[~np.isnan(owned)], minlength=histories.n_users)
    deviation = np.sqrt((count * variance + spread**2) / (count + 1))
    return np.abs(numbers[item] - mean[user]) / np.where(deviation > 0, deviation, np.nan)[user]
