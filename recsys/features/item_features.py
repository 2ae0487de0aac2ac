"""Features of the item alone."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.features.item_facts import ItemFacts

ITEM_FEATURES = {
    "item_users": "Log of one plus the users who interacted with the item.",
    "item_recent": "Log of one plus the same, with each user's last interaction halved every half-life.",
    "item_trend": "Difference of the two: near zero while the item is trending.",
    "item_recent_share": "Share of the item's users that remains when each user's last interaction is halved every "
    "half-life.",
    "item_percentile": "Popularity percentile: share of the items with users that have fewer users.",
    "item_age_days": "Days since the item was added to the catalogue, else since its first interaction.",
    "item_days_since_last": "Days since the last interaction with the item.",
    "item_weight": "Mean weight of the events on the item.",
    "item_text_length": "Characters of title and description.",
}


def describe_items(rows: CandidateRows, facts: ItemFacts, reference: datetime | None) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `ITEM_FEATURES` for candidates, NaN where a value is missing."""
    statistics, item = facts.statistics, rows.items
    users, recent = facts.users[item], facts.recent[item]
    return {
        "item_users": users,
        "item_recent": recent,
        "item_trend": recent - users,
        "item_recent_share": facts.recent_share[item],
        "item_percentile": facts.percentiles[item],
        "item_age_days": facts.find_ages(reference)[item],
        "item_days_since_last": statistics.last_age[item],
        "item_weight": statistics.mean_weight[item],
        "item_text_length": facts.text_lengths[item],
    }
