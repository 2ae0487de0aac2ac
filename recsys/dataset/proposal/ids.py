"""Which columns may hold ids."""

from __future__ import annotations

from recsys.dataset.proposal.profile import Column


def may_be_id(column: Column) -> bool:
    """Return whether a column may hold ids: short values, not times, not fractions."""
    return (
        column.distinct >= 2
        and column.filled >= 0.2
        and not column.is_flag
        and not column.is_list
        and not column.is_json
        and not (column.is_number and not column.is_whole)
        and column.length <= 100
        and column.time is None
        and not column.is_price
    )


def is_key(column: Column) -> bool:
    """Return whether a column's values are unique, as those of an id are."""
    return may_be_id(column) and column.filled >= 0.95 and column.distinct >= max(0.97 * len(column.known), 2)
