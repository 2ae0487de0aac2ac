"""How each figure is judged: its scale, which direction matters, and the least change that matters.

`log(2)` as `least` means: at least twice or half the expected value.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import log
from typing import Literal

Scale = Literal["count", "size", "rate", "share", "number"]


@dataclass(frozen=True)
class Watch:
    """How a figure is judged.

    Attributes:
        meaning: what the figure is, for people.
        scale: `count` (of independent events: judged by its logarithm, with the noise of a count), `size` (judged by
            its logarithm), `rate` (the mean of a sample, judged with its standard error), `share` and `number` (judged
            as they are).
        least: smallest distance from the expected value that is an alert, on the scale; of a rate, as a share of it.
        directions: which side is an alert.
        seasonal: whether weekdays differ.
        low: fixed lower limit while there are too few reference nights.
        high: fixed upper limit, likewise.
        by_version: whether only reference nights with the same model version count, since each model has its own level.
    """

    meaning: str
    scale: Scale
    least: float
    directions: Literal["both", "low", "high"] = "both"
    seasonal: bool = False
    low: float | None = None
    high: float | None = None
    by_version: bool = False


# The first pattern that fits a figure's name decides.
_WATCHES: dict[str, Watch] = {
    "arrival.lateness_hours": Watch("hours since the last event", "number", 12, "high", high=48),
    "arrival.lateness_hours.*": Watch("hours since the last event of the kind", "number", 48, "high"),
    "arrival.span_days": Watch("days between the first and the last event", "size", 0.2, "low"),
    "arrival.events": Watch("events of the last day", "count", log(2.2), seasonal=True),
    "arrival.events.*": Watch("events of the kind in the last day", "count", log(2.5), seasonal=True),
    "arrival.hour_share.*": Watch("share of the day's visits in these hours (UTC)", "share", 0.25, seasonal=True),
    "data.events": Watch("all events", "size", log(1.3)),
    "data.events.*": Watch("all events of the kind", "size", log(1.4)),
    "data.history_kept": Watch("share of earlier events that still exist", "share", 0.05, low=0.9, high=1.1),
    "data.history_kept.*": Watch(
        "share of the kind's earlier events that still exist", "share", 0.08, low=0.85, high=1.15
    ),
    "data.new_kinds": Watch("share of events of kinds never seen before", "share", 0.01, "high", high=0.01),
    "data.users": Watch("users", "size", log(1.25)),
    "data.median_history": Watch("events of the median user", "size", log(1.8)),
    "data.active_users": Watch("users of the last day", "count", log(2.2), seasonal=True),
    "data.new_users": Watch("users whose first event is in the last day", "count", log(3), seasonal=True),
    "data.events_per_user": Watch("events per user of the last day", "size", log(1.8), seasonal=True),
    "data.users_kept": Watch("share of earlier users that still exist", "share", 0.05, "low", low=0.9),
    "data.items": Watch("items", "size", log(1.3)),
    "data.items_kept": Watch("share of earlier items that still exist", "share", 0.05, "low", low=0.9),
    "data.available": Watch("share of items that are available", "share", 0.15, "low", low=0.2),
    "data.new_texts": Watch("share of items that are new or have a new text", "share", 0.15, "high", high=0.4),
    "data.title_missing": Watch("share of titles without text", "share", 0.05, "high", high=0.3),
    "data.description_missing": Watch("share of descriptions without text", "share", 0.1, "high"),
    "data.title_repeated": Watch("share of titles shared by several items", "share", 0.1, "high", high=0.8),
    "data.*_length": Watch("median length in characters", "size", log(1.5)),
    "data.language.*": Watch("share of titles in the language", "share", 0.15),
    "data.attribute_missing.*": Watch("share of items without the attribute", "share", 0.1, "high"),
    "data.vectors_missing.*": Watch("share of items without a vector", "share", 0.1, "high"),
    "data.attribute_median.*": Watch("median of the attribute", "size", log(1.5)),
    "data.rejected.*.unknown_event": Watch("share of raw rows of an unknown event kind", "share", 0.003, "high"),
    "data.rejected.*.*": Watch("share of raw rows that broke the rule", "share", 0.02, "high", high=0.3),
    "data.rejected.*": Watch("share of raw rows that ingest rejected", "share", 0.03, "high", high=0.3),
    "data.repeats.*": Watch("share of duplicate raw rows", "share", 0.1, "high"),
    "identity.text_changed": Watch("share of items with another text", "share", 0.2, "high", high=0.5),
    "identity.text_unlike": Watch("share of items with an entirely different text", "share", 0.05, "high", high=0.2),
    "identity.text_moved": Watch("share of titles that now belong to another item", "share", 0.03, "high", high=0.1),
    "identity.vector_moved": Watch(
        "share of items whose text the encoder matches to another item", "share", 0.05, "high", high=0.2
    ),
    "identity.history_overlap": Watch("share of a user's items still in the history", "share", 0.08, "low", low=0.85),
    "abuse.max_user_events": Watch("maximum events of a user in the last day", "size", log(3), "high", high=3_000),
    "abuse.max_history": Watch("maximum events of a user", "size", log(2), "high"),
    "abuse.top_share": Watch("share of events by the most active 1 % of users", "share", 0.2, "high"),
    "abuse.top_item_users": Watch("maximum users of an item in the last day", "count", log(3), "high", seasonal=True),
    "abuse.top_item_new_users": Watch("maximum first-time users of an item", "count", log(4), "high", seasonal=True),
    "model.fallback_share": Watch("share of rows that the fallback filled", "share", 0.05, "high", high=0.5),
    "model.empty_share": Watch("share of users without a list", "share", 0.02, "high", high=0.05),
    "model.score_ks": Watch("distance of the scores from the last night", "share", 0.15, "high", high=0.4),
    "model.score_ks_low": Watch("distance of the scores, beyond chance", "share", 0.12, "high", high=0.4),
    "model.score_psi": Watch("stability index of the scores", "number", 0.25, "high", high=1.0),
    "model.feature_ks.*": Watch("distance of the feature from the last night, beyond chance", "share", 0.2, "high"),
    "model.feature_missing": Watch("largest change of the share without a feature", "share", 0.1, "high"),
    "model.vector_change": Watch("change of the vectors of unchanged texts", "share", 0.01, "high", high=0.02),
    "model.centroid_shift": Watch("shift of the mean vector of the catalogue", "share", 0.02, "high", high=0.1),
    "outcomes.users": Watch("users who were shown a list and chose an item", "count", log(2.5), seasonal=True),
    "outcomes.hit_rate": Watch("hit rate: share of them who chose an item of their list", "rate", 0.3, "low"),
    "outcomes.ndcg": Watch("nDCG of their lists", "rate", 0.3, "low"),
    "outcomes.week.hit_rate": Watch("share of users who chose an item of their list, week", "rate", 0.2, "low"),
    "outcomes.week.ndcg": Watch("nDCG of the lists, week", "rate", 0.2, "low"),
    "outcomes.week.sample_ndcg": Watch("nDCG of the lists of the sampled users, week", "rate", 0.2, "low"),
    "outcomes.over_blend": Watch("nDCG of the lists less that of the blend", "number", 0.01, "low"),
    "outcomes.week.over_blend": Watch("nDCG of the lists less that of the blend, week", "number", 0.005, "low"),
    "outcomes.week.over_popularity": Watch("nDCG of the lists less that of popularity, week", "number", 0.005, "low"),
    "outcomes.week.blend_ndcg": Watch("nDCG of the blend, week", "rate", 0.2, "low"),
    "outcomes.week.popularity_ndcg": Watch("nDCG of popularity, week", "rate", 0.2, "low"),
    "lists.age_days": Watch("age of the published lists in days", "number", 0.5, "high", high=0.5),
    "lists.other_snapshot": Watch("lists made from another snapshot", "number", 0.5, "high", high=0.5),
    "lists.users": Watch("users with a list", "size", log(1.4)),
    "lists.length": Watch("mean length of a list", "size", log(1.2), "low"),
    "lists.short_share": Watch("share of users with a short list", "share", 0.1, "high", high=0.5),
    "lists.coverage": Watch("share of available items in the lists", "size", log(1.5)),
    "lists.gini": Watch("inequality of exposure", "share", 0.1),
    "lists.cold_share": Watch("share of rows whose item has no event", "share", 0.15),
    "lists.top_item_share": Watch("share of users who are shown the most frequent item", "share", 0.15, "high"),
    "lists.churn": Watch("share of list items that changed", "share", 0.2, "high", by_version=True),
}


# Recorded, not judged.
_RECORDED = {
    "abuse.popular_changed": "share of the 100 items with most events that would differ without these users",
    "abuse.left_out": "events above dataset.max_events_per_user_day, dropped by ingest",
    "abuse.crowded_days": "user-days with such events",
    "lists.canary_share": "planned share of users with lists of a challenger",
    "model.feature_ks": "largest distance of a feature from the last night, beyond chance",
    "model.feature_psi": "largest stability index of a feature",
    "model.nights": "monitored nights with this version and these settings, tonight included",
    "outcomes.sample_users": "sampled users who were shown a list and chose an item",
    "outcomes.sample_ndcg": "nDCG of the lists of the sampled users",
    "outcomes.blend_ndcg": "nDCG that the blend would have reached",
    "outcomes.blend_hit_rate": "share of users who chose an item of the blend's list",
    "outcomes.popularity_ndcg": "nDCG that popularity would have reached",
    "outcomes.random_ndcg": "nDCG that random lists would have reached",
    "outcomes.popularity_hit_rate": "share of users who chose an item of the popular list",
    "outcomes.over_popularity": "nDCG of the lists less that of popularity",
    "outcomes.first_rank": "mean rank of the first item chosen",
    "outcomes.recall": "share of the chosen items that were in the lists",
    "outcomes.by_age_users": "sampled users who had lists on all of these days",
}
_AGES = ("outcomes.by_age.", "outcomes.week.by_age.")


def find_watch(name: str) -> Watch | None:
    """Return how a figure is judged; None for a figure that is only recorded."""
    if name in _WATCHES:
        return _WATCHES[name]
    return next((watch for pattern, watch in _WATCHES.items() if fnmatchcase(name, pattern)), None)


def describe_figure(name: str) -> str:
    """Return what a figure is, with the part of its name that a pattern leaves open."""
    watch = find_watch(name)
    if watch is None:
        for prefix in _AGES:
            if name.startswith(prefix):
                week = ", week" if "week" in prefix else ""
                return f"hit rate of lists by age in days: {name.removeprefix(prefix)}{week}"
        return _RECORDED.get(name, name)
    if name in _WATCHES:
        return watch.meaning
    return f"{watch.meaning} ({name.split('.', 2)[-1]})"
