"""Features of the user alone: how active, and with a preference for which kind of item."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.dataset.histories import Histories
from recsys.features.item_facts import ItemFacts

USER_FEATURES = {
    "user_items": "Log of one plus the distinct items of the user.",
    "user_days_since_last": "Days since the user's last interaction.",
    "user_gap_days": "Mean days from one item of the history to the next.",
    "user_popularity": "Mean of item_users over the user's items: how popular their choices are.",
    "user_item_age": "Mean of the log of one plus the age in days of the user's items at the first interaction.",
    "user_weight": "Mean weight of the user's events.",
    "user_looked_share": "Share of the user's items that are owned but not consumed.",
}


def describe_users(rows: CandidateRows, histories: Histories, facts: ItemFacts) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `USER_FEATURES` for candidates, NaN where a value is missing."""
    lengths, ends = histories.lengths, histories.starts[1:]
    active, several = lengths > 0, lengths > 1
    newest = np.full(histories.n_users, np.nan, dtype=np.float32)
    newest[active] = histories.ages[ends[active] - 1]
    gaps = np.full(histories.n_users, np.nan, dtype=np.float32)
    span = histories.ages[histories.starts[:-1][several]] - newest[several]
    gaps[several] = span / (lengths[several] - 1)
    ages = facts.find_ages(histories.ages_until)[histories.items] - histories.first_ages
    weights, events = (
        np.bincount(histories.users, weights=values, minlength=histories.n_users)
        for values in (histories.weights, histories.counts)
    )
    columns = {
        "user_items": np.log1p(lengths),
        "user_days_since_last": newest,
        "user_gap_days": gaps,
        "user_popularity": average(facts.users[histories.items], histories),
        # An interaction before the item's listed day counts as day 0.
        "user_item_age": average(np.log1p(np.maximum(ages, 0)), histories),
        "user_weight": np.where(active, weights / np.maximum(events, 1), np.nan),
        "user_looked_share": average(1.0 - histories.consumed, histories),
    }
    counts = np.diff(rows.starts)
    return {name: np.repeat(values.astype(np.float32), counts) for name, values in columns.items()}


def average(values: NDArray[np.floating], histories: Histories) -> NDArray[np.float64]:
    """Return (n_users) float64 means of (n_entries) values without NaN; NaN for a user without values."""
    known = ~np.isnan(values)
    users, size = histories.users[known], histories.n_users
    # Added one after another, so that other users cannot change a bit.
    sums = np.bincount(users, weights=values[known], minlength=size)
    counts = np.bincount(users, minlength=size)
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.nan)
