"""Abuse: users and items with a volume that no person, and no crowd, has."""

from __future__ import annotations

from recsys.monitoring.events import EventCounts
from recsys.monitoring.figures import Figures, Observed

_NAMED = 5


def watch_abuse(figures: Figures, observed: Observed, counts: EventCounts) -> None:
    """Add the figures of the area `abuse`, mostly about the last day; segments name the users and items.

    `abuse.max_user_events` is the most events of a user, `abuse.max_history` the most in a whole history,
    `abuse.top_share` the share of events by the 1 % of users with most, `abuse.top_item_users` the most users of an
    item, and `abuse.top_item_new_users` the most of its users whose first event this is.
    """
    figures.add("abuse.max_history", counts.longest)
    if observed.end is None or not counts.day_users.height:
        return
    users = {f"user: {user}": float(events) for user, events in counts.day_users.head(_NAMED).iter_rows()}
    figures.add("abuse.max_user_events", max(users.values()), users)
    figures.add("abuse.top_share", counts.top_share)
    for name, column in (("top_item_users", "users"), ("top_item_new_users", "new_users")):
        top = counts.day_items.sort([column, "item_id"], descending=[True, False]).head(_NAMED)
        items = {f"item: {item}": float(number) for item, number in top.select("item_id", column).iter_rows()}
        figures.add(f"abuse.{name}", max(items.values()), items)
