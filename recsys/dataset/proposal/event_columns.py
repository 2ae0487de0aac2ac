"""Which columns of the interactions hold the time, the order, the event kind and the value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from recsys.dataset.proposal.event_kinds import Kind, read_kind
from recsys.dataset.proposal.names import match_name, split_name
from recsys.dataset.proposal.profile import Column
from recsys.dataset.proposal.roles import Roles

# Words that name the moment of the event itself; others name what comes before or after.
_MOMENT = frozenset(
    {
        "read",
        "watched",
        "played",
        "listened",
        "purchased",
        "ordered",
        "borrowed",
        "checkout",
        "rated",
        "viewed",
        "visited",
    }
)
_MOST_KINDS = 25


@dataclass(frozen=True)
class Value:
    """A number column of the interactions.

    Attributes:
        column: its profile.
        meaning: `rating`, `quantity` or `count`.
        clear: whether names or values leave no doubt.
    """

    column: Column
    meaning: str
    clear: bool


def list_columns(roles: Roles) -> list[Column]:
    """Return the columns of the interactions that have no role yet."""
    taken = {roles.user, roles.item}
    if roles.is_one_table:
        taken |= {roles.title, roles.item_id}
    return [column for column in roles.interactions.columns.values() if column.name not in taken]


def rate_times(roles: Roles) -> list[tuple[float, Column]]:
    """Return the columns that hold times of events with their points, best first."""
    view = roles.interactions
    found = []
    for column in list_columns(roles):
        if column.time is None or column.filled < 0.02:
            continue
        if view.determines(roles.item, column.name) and match_name(column.name, "time") < 1:
            continue
        words = column.name.lower().replace("_", " ").split()
        points = 2.0 * match_name(column.name, "time") - 1.5 * match_name(column.name, "late_time")
        points += 1.0 * column.filled + 0.7 * column.time.has_clock + 0.3 * (column.time.other is None)
        points += 1.0 * any(word in _MOMENT for word in words) - 0.4 * match_name(column.name, "created")
        points += 0.2 * (column.time.format in ("iso", "seconds", "milliseconds", "microseconds"))
        found.append((points, column))
    for index, (points, column) in enumerate(found):
        later = sum(_is_earlier(column, other) for _, other in found if other is not column)
        found[index] = (points + 0.3 * later, column)
    return sorted(found, key=lambda pair: -pair[0])


def _is_earlier(column: Column, other: Column) -> bool:
    if column.time is None or other.time is None:
        return False
    both = pl.DataFrame({"a": column.time.times.dt.date(), "b": other.time.times.dt.date()}).drop_nulls()
    return both.height >= 5 and bool((both["a"] <= both["b"]).mean() >= 0.99) and bool((both["a"] < both["b"]).any())  # type: ignore[operator]


def fill_time(best: Column, rated: Sequence[tuple[float, Column]]) -> list[Column]:
    """Return the columns of which the first that is not blank gives the time: the best, and one that fills its gaps."""
    if best.filled >= 0.98:
        return [best]
    gaps = best.values.is_null()
    for _, column in rated:
        same = column.time is not None and best.time is not None and column.time.format == best.time.format
        filled = column.values.filter(gaps).is_not_null().mean() if gaps.any() else 0.0
        if column is not best and same and float(filled or 0.0) >= 0.9:  # type: ignore[arg-type]
            return [best, column]
    return [best]


def find_order(roles: Roles) -> Column | None:
    """Return the column of whole numbers that number each user's events, if one does."""
    view = roles.interactions
    for column in list_columns(roles):
        if not column.is_whole or column.filled < 1 or column.distinct < 3:
            continue
        frame = pl.DataFrame({"user": view.columns[roles.user].values, "order": column.numbers})
        by_user = (
            frame.drop_nulls()
            .group_by("user")
            .agg(
                pl.len().alias("rows"),
                pl.col("order").n_unique().alias("distinct"),
                (pl.col("order").max() - pl.col("order").min() + 1).alias("width"),
            )
            .filter(pl.col("rows") >= 2)
        )
        if by_user.height < 5:
            continue
        numbers = match_name(column.name, "order") == 1 and "id" not in split_name(column.name)
        if numbers and _numbers_baskets(by_user):
            return column
        unique = float((by_user["distinct"] == by_user["rows"]).mean() or 0.0)  # type: ignore[arg-type]
        dense = float((by_user["width"] == by_user["rows"]).mean() or 0.0)  # type: ignore[arg-type]
        if unique >= 0.98 and (dense >= 0.8 or (match_name(column.name, "order") >= 0.7 and dense >= 0.3)):
            return column
    return None


def _numbers_baskets(by_user: pl.DataFrame) -> bool:
    """Return whether the numbers of nearly all users are consecutive, with several events of the same number."""
    several = by_user.filter(pl.col("distinct") >= 2)
    dense = float((several["width"] == several["distinct"]).mean() or 0.0)  # type: ignore[arg-type]
    return several.height >= 0.5 * by_user.height and dense >= 0.9


def rate_events(roles: Roles) -> list[tuple[float, Column, list[Kind]]]:
    """Return the columns that hold event kinds, with their points and kinds, best first."""
    view = roles.interactions
    found = []
    for column in list_columns(roles):
        outcome = view.unfolding is not None and column.name.endswith(".outcome")
        if outcome:
            return [(9.0, column, [Kind("1", 1.0, "positive", True), Kind("0", 0.1, "shown", True)])]
        if not 1 < column.distinct <= _MOST_KINDS or column.is_number or column.time is not None or column.words > 4:
            continue
        named = match_name(column.name, "event")
        if column.is_flag or column.is_list or (column.filled < 0.5 and named < 0.7):
            continue
        counts = column.known.value_counts(sort=True)
        kinds = [read_kind(str(name)) for name in counts.to_series(0)]
        shares = counts.to_series(1) / max(counts.to_series(1).sum(), 1)
        known = sum(share for kind, share in zip(kinds, shares, strict=True) if kind.known)
        if view.determines(roles.item, column.name) or (known < 0.5 and view.determines(roles.user, column.name)):
            continue
        points = 2.5 * known + 1.5 * named + 0.3 * column.filled - 1.0 * (match_name(column.name, "private") > 0)
        points -= 1.5 * max(match_name(column.name, role) for role in ("tags", "creator", "title"))
        found.append((points, column, kinds))
    return sorted(((p, c, k) for p, c, k in found if p >= 1.7), key=lambda found: -found[0])


def find_value(roles: Roles, taken: set[str]) -> list[Value]:
    """Return the columns that hold a rating, a quantity or a count, best first."""
    view = roles.interactions
    found: list[tuple[float, Value]] = []
    for column in list_columns(roles):
        if column.name in taken or not column.is_number or column.distinct < 2 or column.name.endswith(".position"):
            continue
        if column.time is not None and match_name(column.name, "time") > 0:
            continue
        value = _read_value(column, has_names=view.table.has_header)
        if value is None or view.determines(roles.item, column.name, 0.98):
            continue
        # The number of an order or of a row says nothing about its event.
        if not value.clear and (column.distinct > 0.5 * len(column.known) or view.determines(column.name, roles.user)):
            continue
        named = max(match_name(column.name, role) for role in ("rating", "quantity", "count"))
        other = match_name(column.name, "other_number")
        if other > named or (other == 1 and named < 1):
            continue
        found.append((named + 0.5 * value.clear + 0.3 * (value.meaning == "rating") - _demerit(column), value))
    return [value for _, value in sorted(found, key=lambda pair: -pair[0])]


def _demerit(column: Column) -> float:
    """Return points against a number: what was refunded or shipped counts less, and later columns a little less."""
    return 0.5 * (match_name(column.name, "late_time") > 0) + 0.005 * column.index


def _read_value(column: Column, *, has_names: bool) -> Value | None:
    for meaning in ("rating", "quantity", "count"):
        named = match_name(column.name, meaning)
        if has_names and named >= 0.5 and (meaning != "rating" or _is_scale(column)):
            return Value(column, meaning, named >= 0.7 or meaning == "quantity")
    if match_name(column.name, "transaction") or match_name(column.name, "order") or match_name(column.name, "private"):
        return None
    numbers = column.numbers.drop_nulls()
    if not len(numbers):
        return None
    usual = float(numbers.mode().sort()[0])
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if _is_scale(column) and column.distinct >= 3 and low >= 0 and high <= 10 and usual > max(low, 1):
        return Value(column, "rating", not has_names)
    if has_names or low < 0 or column.distinct <= 2:
        return None
    if _is_scale(column) and column.distinct >= 3:
        return Value(column, "rating", False)
    if column.distinct < 10:
        return None
    median = float(numbers.median())  # type: ignore[arg-type]
    return Value(column, "count", high >= 5 * max(median, 1))


def _is_scale(column: Column) -> bool:
    """Return whether the numbers are steps of a scale: few values up to 5, 10 or 100."""
    numbers = column.numbers.drop_nulls()
    if not len(numbers):
        return False
    # -1 is how some exports write that there is no rating.
    numbers = numbers.filter(numbers != -1)
    if not len(numbers):
        return False
    high, low = float(numbers.max()), float(numbers.min())  # type: ignore[arg-type]
    if low < 0 or high > 100:
        return False
    named = match_name(column.name, "rating") == 1
    return (high <= 10 and (named or column.distinct <= 101)) or (column.distinct <= 101 and high in (20, 100))
