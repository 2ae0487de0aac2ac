"""Which column holds the titles of items."""

from __future__ import annotations

from recsys.dataset.proposal.names import match_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.views import View


def best_title(items: View, key: Column) -> Column | None:
    """Return the column of a table that is most like titles, if one is."""
    rated = [(rate_title(items, key, column), column) for column in items.columns.values() if _may_be_title(column)]
    best = max(rated, key=lambda pair: pair[0], default=None)
    return best[1] if best and best[0] > 0.3 else None


def _may_be_title(column: Column) -> bool:
    return column.is_text and not column.is_list and column.filled >= 0.5 and column.distinct >= 3


def rate_title(items: View, key: Column, column: Column) -> float:
    """Return from about 0 to 4 how much a column looks like titles of the items of an id column."""
    spread = min(column.distinct / max(key.distinct, 1), 1.0)
    named = match_name(column.name, "title")
    points = 2.0 * named + 1.2 * spread + 0.3 * column.filled
    points -= 1.0 * (column.words > 25) + 0.7 * (column.length < 4)
    points -= 2.0 * max(match_name(column.name, role) for role in ("creator", "user", "private"))
    points += 0.3 * (match_name(column.name, "item") > 0) + 0.6 * (match_name(column.name, "description") == 1)
    if not items.table.has_header:
        # Without names the title comes before the longer texts, and has more different values than categories.
        points += 0.5 * spread + 0.5 * (column.words <= 15) - 0.01 * column.index
    return points if spread > 0.1 or named == 1 else 0.0
