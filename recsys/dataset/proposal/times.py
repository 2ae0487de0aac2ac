"""Which raw columns hold times, and how their values are read: exactly as `ingest` would read them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from recsys.dataset.cleaning.numbers import find_decimal
from recsys.dataset.cleaning.time_formats import detect_time_format
from recsys.dataset.cleaning.times import UNITS, parse_times

_FIRST = datetime(1990, 1, 1, tzinfo=UTC)
# Without a name that speaks of times, numbers must fall between these instants.
_EARLIEST, _LATEST = datetime(1995, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC)
_NUMBER = r"^[+-]?\d+([.,]\d+)?([eE]\+?\d+)?$"
# Times have a digit, and are no sentences.
_FORM = r"^[^\n]{0,60}\d[^\n]{0,60}$"
_LONGEST = 40
_PROBE = 300
# Share of the values that a format must read: of numbers, some may be 0 or 1980 for a time that is not known.
_MOST, _MOST_NUMBERS = 0.98, 0.9


@dataclass(frozen=True, eq=False)
class TimeFormat:
    """A way to read a column of times.

    Attributes:
        format: a value of `time_format`; `auto` for a mixture of ISO times and numbers.
        times: the values read, Datetime in UTC; null where a value is missing.
        other: the second reading of day and month, where the values allow both; None otherwise.
    """

    format: str
    times: pl.Series
    other: TimeFormat | None = None

    @property
    def first(self) -> datetime:
        """The earliest time."""
        return _bound(self.times.min())

    @property
    def last(self) -> datetime:
        """The latest time."""
        return _bound(self.times.max())

    @property
    def has_clock(self) -> bool:
        """Whether the values have a time of day."""
        return bool((self.times.drop_nulls().dt.time().cast(pl.Int64) != 0).any())


def _bound(value: object) -> datetime:
    return value if isinstance(value, datetime) else _FIRST


def guess_time(values: pl.Series, *, named: bool = True) -> TimeFormat | None:
    """Return how the values of a column are read as times, or None if they are none.

    Args:
        values: String, missing values as null.
        named: whether the column's name speaks of a time. Without that only dates count, and numbers that lie in 1995
            to 2040 as seconds or a smaller unit.
    """
    probe = values.drop_nulls().unique(maintain_order=True).head(_PROBE)
    if len(probe) < 2 and values.drop_nulls().len() < 2:
        return None
    if not probe.str.contains(_FORM).all() or int(probe.str.len_chars().max()) > _LONGEST:  # type: ignore[arg-type]
        return None
    guess = detect_time_format(values)
    is_number = bool(probe.str.contains(_NUMBER).all())
    least = _MOST_NUMBERS if is_number and named else _MOST
    if guess.share < least:
        return None
    first, *others = _order(guess.ambiguous) if guess.ambiguous else (str(guess.format),)
    if is_number and not named and not _is_recent(values, first):
        return None
    read = _read(values, first)
    return TimeFormat(read.format, read.times, _read(values, others[0]) if others else None)


def _order(ambiguous: tuple[str, ...]) -> list[str]:
    """Return the readings, the likely one first: with AM and PM the month comes first."""
    return sorted(ambiguous, key=lambda name: "%p" in name and not name.startswith("%m"))


def _is_recent(values: pl.Series, time_format: str) -> bool:
    times = _read(values, time_format).times.drop_nulls()
    if time_format not in (*UNITS, "compact"):
        return False
    return bool(times.is_between(_EARLIEST, _LATEST).all()) and times.len() == values.drop_nulls().len()


def _read(values: pl.Series, time_format: str) -> TimeFormat:
    decimal = find_decimal(values) if time_format in ("days", *UNITS) else None
    return TimeFormat("auto" if time_format == "any" else time_format, parse_times(values, time_format, "UTC", decimal))
