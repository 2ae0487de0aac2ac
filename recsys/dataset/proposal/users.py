"""Which column holds the users of interactions."""

from __future__ import annotations

from collections.abc import Sequence

from recsys.dataset.proposal.names import is_id_name, match_file, match_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.views import View

_LEAST = 0.8


def best_user(view: View, item: Column, views: Sequence[View], items: View | None) -> Column | None:
    """Return the column of a table that is most like users, given that of the items; None if none is."""
    rated = [
        (rate_user(view, column, item, views, items), column)
        for column in view.columns.values()
        if column.name != item.name and _may_be_user(view, column, item)
    ]
    best = max(rated, key=lambda pair: pair[0], default=None)
    return best[1] if best and best[0] >= _LEAST else None


def _may_be_user(view: View, column: Column, item: Column) -> bool:
    if (
        column.distinct < 2
        or column.filled < 0.05
        or column.is_flag
        or column.is_list
        or column.is_json
        or column.is_link
        or column.is_price
        or (column.is_number and not column.is_whole and match_name(column.name, "user") < 0.5)
        or column.length > 100
        or column.words > 4
        or column.time is not None
    ):
        return False
    if column.name.endswith(".position"):
        return False
    # A value that all events of an item share is the item's, such as its category.
    return not view.determines(item.name, column.name, 0.95)


def rate_user(view: View, column: Column, item: Column, views: Sequence[View], items: View | None) -> float:
    """Return from about -8 to 6 how much a column looks like the users of a table's events."""
    name = column.name
    named = match_name(name, "user")
    points = 3.0 * named + 2.0 * column.is_email + 0.5 * (match_name(name, "email") == 1)
    points += 1.0 * (match_name(name, "session") == 1)
    points += 0.5 * (is_id_name(name) or column.is_code)
    if named < 1 and not column.is_email:
        points -= 4.0 * max(match_name(name, role) for role in ("transaction", "other_number", "order", "status"))
        points -= 2.0 * max(match_name(name, role) for role in ("item", "title", "tags", "creator", "event", "rating"))
        points -= 1.5 * max(match_name(name, role) for role in ("quantity", "count", "link"))
    points -= 1.5 * (named >= 0.5 and column.is_text and match_name(name, "title") > 0)
    points -= 1.0 * (match_name(name, "private") > 0 and named < 1)
    rows = max(len(column.known), 1)
    share = column.distinct / rows
    # In a part of a large table, most users may occur once.
    tells = view.table.whole or named < 1
    points -= 4.0 * (share > 0.9 and rows > 50 and tells) + 2.0 * (column.distinct < 5) + 1.0 * (column.distinct < 20)
    points += 1.0 * (0.0005 < share < 0.6 and column.distinct >= 20)
    points -= 1.0 * (1 - column.filled)
    points += 1.5 * _is_key_elsewhere(view, column, views, items)
    if named == 0 and _has_owner(view, column, item):
        points -= 3.0
    if not view.table.has_header:
        points += 1.5 * (column.index == 0) - 0.2 * column.index + 0.5 * (column.index < item.index)
        points -= 2.0 * _is_small_number(column)
    return points


def _has_owner(view: View, column: Column, item: Column) -> bool:
    """Return whether another column of ids is the same on all rows of a value, as the customer of an order is."""
    for other in view.columns.values():
        is_id = (other.is_whole or other.is_code or other.is_email) and other.time is None
        if other.name in (column.name, item.name) or not is_id or not 20 <= other.distinct < 0.8 * column.distinct:
            continue
        if view.determines(column.name, other.name, 0.99):
            return True
    return False


def _is_small_number(column: Column) -> bool:
    """Return whether the values are few whole numbers, as ratings and counts are."""
    return column.is_whole and column.distinct <= 20


def _is_key_elsewhere(view: View, column: Column, views: Sequence[View], items: View | None) -> bool:
    """Return whether the values are the ids of a table of users."""
    own = set(column.probe.head(2000))
    taken = {view.table.name, items.table.name if items else ""}
    for other in views:
        if other.table.name in taken or other.unfolding is not None:
            continue
        for key in other.columns.values():
            is_key = key.filled > 0.95 and key.distinct >= 0.97 * len(key.known) and key.distinct >= 5
            if not is_key or key.time is not None:
                continue
            ids = set(key.known)
            common = len(own & ids)
            if common < 0.9 * len(own) or (key.is_whole and common < 0.5 * len(ids)):
                continue
            if match_name(key.name, "user") >= 0.5 or match_file(other.table.path, "users") or key.index == 0:
                return True
    return False
