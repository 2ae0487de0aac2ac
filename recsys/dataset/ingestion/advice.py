"""What to do about raw values that break a rule: the setting that would read them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.cleaning.numbers import find_decimal
from recsys.dataset.cleaning.time_formats import detect_time_format, span
from recsys.dataset.cleaning.times import describe_format, parse_times
from recsys.dataset.ingestion.column_forms import TimeColumn
from recsys.dataset.ingestion.several_ids import find_several_ids
from recsys.dataset.near_ids import find_near_ids

# For cells that stand only on the first line of a group.
ADVICE_ON_MISSING = "fill_down repeats the cell above, where only the first line of a group has it"
_LONGEST_SHOWN = 60


def advise_on_times(values: pl.Series, column: TimeColumn) -> str:
    """Return the form that is expected, and the time format that would read the values.

    Args:
        values: some of the bad values.
        column: the column that could not read them.
    """
    expected = f"time_format {column.format or 'auto'} expects {describe_format(column.format or 'iso')}"
    guess = detect_time_format(values)
    unit = column.fitting_unit(values)
    if unit is not None:
        return f"{expected}; '{values[0]}' can be read with time_format: '{unit}', which gives {span(values, unit)}"
    if guess.format is not None and guess.format != column.format:
        value = _deciding_value(values, guess.format)
        return f"{expected}; '{value}' can be read with time_format: '{guess.format}'"
    if guess.ambiguous:
        ways = " or ".join(f"'{name}'" for name in guess.ambiguous)
        return f"{expected}; '{values[0]}' can be read with time_format: {ways}"
    return expected


def _deciding_value(values: pl.Series, time_format: str) -> str:
    """Return a value that the format reads, and not with day and month exchanged."""
    swapped = time_format.replace("%d", "%x").replace("%m", "%d").replace("%x", "%m")
    read = values.filter(parse_times(values, time_format, "UTC").is_not_null())
    alone = read.filter(parse_times(read, swapped, "UTC").is_null()) if "%" in time_format else read
    return str(alone[0] if len(alone) else read[0])


def advise_on_numbers(values: pl.Series) -> str:
    """Return the decimal separator that would read the values; empty if none would."""
    if find_decimal(values) == ",":
        return f"'{values[0]}' can be read with decimal: ','"
    thousands = values.str.contains(r"^-?[0-9]{1,3}(,[0-9]{3})+$")
    if len(values) and thousands.all():
        return f"'{values[0]}' is in the thousands with decimal: '.', or has three decimals with decimal: ','"
    return "expected a number; list words for missing numbers under missing"


def advise_on_items(values: pl.Series, known: pl.Series, column: str | tuple[str, ...]) -> str:
    """Return what unknown item ids may mean: cells that hold several, or ids that are spelt in another way.

    Args:
        values: some of the unknown ids, raw.
        known: the catalogue's ids, sorted.
        column: the raw column that they come from, or several.
    """
    for value in values.head(10):
        for found in find_several_ids(value, column) if isinstance(column, str) else ():
            # Some of them may be unknown for a reason of their own.
            if 2 * int(clean_ids(pl.Series(found.ids)).is_in(known.implode()).sum()) >= len(found.ids):
                shown = value if len(value) <= _LONGEST_SHOWN else f"{value[:_LONGEST_SHOWN]}…"
                return (
                    f"'{shown}' contains several ids; split them into rows with dataset.interactions.unfold: "
                    f"{found.unfold} and dataset.interactions.columns.item_id: {found.item_id}"
                )
    near = find_near_ids(clean_ids(values).drop_nulls(), known)
    return "; ".join(f"'{one.id}' is unknown but '{one.near}' is not: {one.difference}" for one in near[:1])


def advise_on_lists(values: pl.Series, table: str, field: str, column: str | tuple[str, ...]) -> str:
    """Return how to read single ids from a column that holds lists or objects.

    Args:
        values: some of the lists, raw.
        table: `items` or `interactions`.
        field: the field of the ids.
        column: the raw column that they come from, or several.
    """
    expected = "expected a single id per row"
    if not isinstance(column, str):
        return expected
    ways = next((way for value in values.head(10) for way in find_several_ids(value, column)), None)
    if ways is None:
        return f"{expected}; name a field inside the object, such as {column}.id, in dataset.{table}.columns.{field}"
    return (
        f"{expected}; split the ids into rows with dataset.{table}.unfold: {ways.unfold} and "
        f"dataset.{table}.columns.{field}: {ways.item_id}"
    )


def advise_on_events(kinds: Sequence[str]) -> str:
    """Return which event kinds the settings know."""
    return f"event_weights has {', '.join(kinds)}; add the kinds to use, or exclude the others with keep_rows"
