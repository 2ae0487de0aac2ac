"""Which format a raw column of times is in."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cache

import polars as pl

# Unit since 1970 -> seconds.
_UNITS = {"seconds": 1.0, "milliseconds": 1e-3, "microseconds": 1e-6, "nanoseconds": 1e-9}
_FIRST, _LAST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
_EXCEL_EPOCH = datetime(1899, 12, 30, tzinfo=UTC)
_ISO = r"^\d{4}-\d{2}-\d{2}([Tt ]\s*\d{2}:\d{2}(:\d{2}([.,]\d{1,9})?)?\s*([Zz]|UTC|GMT|[+-]\d{2}(:?\d{2})?)?)?$"
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %I:%M:%S %p", " %I:%M %p", ", %H:%M", ", %H:%M:%S", " %H:%M:%S.%f", "T%H:%M:%S")
_DAY_FIRST = ("%d/%m/%Y", "%d.%m.%Y", "%d-%m-%Y", "%d/%m/%y", "%d.%m.%y", "%d-%m-%y")
_MONTH_FIRST = ("%m/%d/%Y", "%m.%d.%Y", "%m-%d-%Y", "%m/%d/%y", "%m.%d.%y", "%m-%d-%y")
_OTHERS = (
    "%Y/%m/%d",
    "%Y.%m.%d",
    "%Y-%m-%d",
    "%d-%b-%Y",
    "%d %b %Y",
    "%d/%b/%Y",
    "%b %d, %Y",
    "%B %d, %Y",
    "%d %B %Y",
    "%d. %B %Y",
    "%d-%b-%y",
    "%m %d, %Y",
    "%Y年%m月%d日",
    "%a %b %d %Y",
    "%a, %d %b %Y",
)
_WHOLE_PATTERNS = (
    "%Y%m%d%H%M%S",
    "%d/%b/%Y:%H:%M:%S %z",
    "%a, %d %b %Y %H:%M:%S %z",
    "%a %b %d %H:%M:%S %z %Y",
    "%a %b %d %H:%M:%S %Y",
    "%m/%d/%Y %H:%M:%S %z",
    "%Y-%m-%d %H:%M:%S %z",
)


@dataclass(frozen=True, eq=False)
class TimeFormat:
    """A way to read a column of times.

    Attributes:
        format: a value of `time_format`.
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
        named: whether the column's name speaks of a time. Without that only full dates count, and numbers that lie in
            1995 to 2040 as seconds or a smaller unit.
    """
    known = values.drop_nulls()
    if known.len() < 2:
        return None
    probe = known.unique(maintain_order=True).head(300)
    if (probe.str.contains(r"^[+-]?\d+(\.\d+)?([eE]\+?\d+)?$")).mean() == 1:
        return _guess_number(values, probe, named=named)
    if not probe.str.contains(r"\d").all():
        return None
    if (probe.str.contains(_ISO)).mean() >= 0.98:  # type: ignore[operator]
        return TimeFormat("iso", _parse_iso(values))
    first = [str(value).strip() for value in probe.head(5)]
    formats = [pattern for pattern, form in _patterns() if all(form.fullmatch(value) for value in first)]
    formats = [pattern for pattern in formats if _fits(probe, pattern)]
    if not formats:
        return None
    if len(probe) < len(known.unique()):
        everything = known.unique()
        formats = [pattern for pattern in formats if _fits(everything, pattern)]
    return _choose(values, formats)


def _guess_number(values: pl.Series, probe: pl.Series, *, named: bool) -> TimeFormat | None:
    numbers = probe.cast(pl.Float64, strict=False)
    low, high = float(numbers.min()), float(numbers.max())  # type: ignore[arg-type]
    if probe.str.contains(r"^(19|20)\d{6}$").all():
        days = probe.str.to_datetime("%Y%m%d", strict=False)
        if days.null_count() == 0:
            parsed = values.str.to_datetime("%Y%m%d", strict=False, time_unit="us").dt.replace_time_zone("UTC")
            return TimeFormat("compact", parsed)
    if probe.str.contains(r"^(19|20)\d{12}$").all() and _fits(probe, "%Y%m%d%H%M%S"):
        return _choose(values, ["%Y%m%d%H%M%S"])
    first, last = (_FIRST, _LAST) if named else (datetime(1995, 1, 1, tzinfo=UTC), datetime(2040, 1, 1, tzinfo=UTC))
    for unit, seconds in _UNITS.items():
        if first.timestamp() <= low * seconds and high * seconds <= last.timestamp():
            return TimeFormat(unit, _from_seconds(values.cast(pl.Float64, strict=False) * seconds))
    # A few broken rows, such as 0 or 1980 for an unknown time, do not change the unit.
    middle = float(numbers.median())  # type: ignore[arg-type]
    for unit, seconds in _UNITS.items() if named else ():
        if first.timestamp() <= middle * seconds <= last.timestamp() and low >= 0:
            inside = (numbers * seconds).is_between(first.timestamp(), last.timestamp()).mean()
            if inside is not None and float(inside) >= 0.9:  # type: ignore[arg-type]
                return TimeFormat(unit, _from_seconds(values.cast(pl.Float64, strict=False) * seconds))
    if named and low >= 30_000 and high <= 60_000 and probe.str.contains(r"\.\d*[1-9]").any():
        seconds_since = (values.cast(pl.Float64, strict=False) - 25_569) * 86_400
        return TimeFormat("days", _from_seconds(seconds_since))
    return None


def _from_seconds(seconds: pl.Series) -> pl.Series:
    return (seconds * 1e6).round().cast(pl.Int64, strict=False).cast(pl.Datetime("us", "UTC"))


def _parse_iso(values: pl.Series) -> pl.Series:
    clock = values.str.strip_chars().str.replace(r"^(\d{4}-\d{2}-\d{2})[Tt ]\s*", "${1}T").str.replace(",", ".")
    local = clock.str.replace(r"(T.*?)\s*(?:[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)$", "${1}")
    parsed = local.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", strict=False, time_unit="us")
    parsed = parsed.fill_null(local.str.to_datetime("%Y-%m-%dT%H:%M", strict=False, time_unit="us"))
    parsed = parsed.fill_null(local.str.to_datetime("%Y-%m-%d", strict=False, time_unit="us"))
    return parsed.dt.replace_time_zone("UTC")


# Regular expression of each part of a pattern, to leave out patterns that cannot fit before they are tried.
_PARTS = {
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%f": r"\d+",
    "%p": r"[AaPp][Mm]",
    "%z": r"[+-]\d{2}:?\d{2}|Z",
    **dict.fromkeys(("%a", "%b", "%B"), r"[^\W\d_]+"),
    **dict.fromkeys(("%d", "%m", "%H", "%I", "%M", "%S"), r"\s?\d{1,2}"),
}


@cache
def _patterns() -> list[tuple[str, re.Pattern[str]]]:
    """Return the patterns that are tried, each with the regular expression of the texts that it may fit."""
    dates = (*_OTHERS, *_DAY_FIRST, *_MONTH_FIRST)
    patterns = [*_WHOLE_PATTERNS, *(date + clock for date in dates for clock in _CLOCKS)]
    return [(pattern, _form(pattern)) for pattern in patterns]


def _form(pattern: str) -> re.Pattern[str]:
    pieces = re.findall(r"%[A-Za-z]|[^%]+", pattern)
    return re.compile("".join(f"(?:{_PARTS[piece]})" if piece[0] == "%" else re.escape(piece) for piece in pieces))


def parse_pattern(values: pl.Series, pattern: str) -> pl.Series:
    """Return the values read by a pattern, Datetime in UTC; null where a value does not fit."""
    # Python's %f is a fraction after a point, polars' %.f has the point.
    pattern = pattern.replace(".%f", "%.f")
    parsed = values.str.strip_chars().str.to_datetime(pattern, strict=False, time_unit="us")
    return parsed if parsed.dtype.time_zone else parsed.dt.replace_time_zone("UTC")  # type: ignore[attr-defined]


def _fits(values: pl.Series, pattern: str) -> bool:
    if "%Y" in pattern and not values.head(5).str.contains(r"\d{4}").all():
        return False
    try:
        parsed = parse_pattern(values, pattern)
    except pl.exceptions.PolarsError:
        return False
    return parsed.null_count() <= len(values) * 0.01


def _choose(values: pl.Series, formats: Sequence[str]) -> TimeFormat | None:
    now = datetime.now(UTC) + timedelta(days=366)
    read: dict[str, pl.Series] = {}
    for pattern in formats:
        times = parse_pattern(values, pattern)
        if _bound(times.min()).year >= 1900 and _bound(times.max()) < _LAST:
            read[pattern] = times
    if not read:
        return None
    plausible = {pattern: times for pattern, times in read.items() if _bound(times.max()) < now} or read
    patterns = list(plausible)
    first = patterns[0]
    swapped = next((other for other in patterns[1:] if _is_swapped(first, other)), None)
    if swapped is None:
        return TimeFormat(first, plausible[first])
    return _order_readings(plausible, first, swapped)


def _is_swapped(pattern: str, other: str) -> bool:
    return re.sub(r"%d(.)%m", r"%m\1%d", pattern) == other


def _order_readings(read: dict[str, pl.Series], day_first: str, month_first: str) -> TimeFormat:
    """Return the reading under which the rows are in order of time, else both readings."""
    if "%d.%m" in day_first:
        return TimeFormat(day_first, read[day_first])
    if "%p" in day_first:
        return TimeFormat(month_first, read[month_first])
    rising = {pattern: _share_rising(read[pattern]) for pattern in (day_first, month_first)}
    for pattern, other in ((day_first, month_first), (month_first, day_first)):
        if rising[pattern] >= 0.999 and rising[other] < 0.97:
            return TimeFormat(pattern, read[pattern])
    return TimeFormat(day_first, read[day_first], TimeFormat(month_first, read[month_first]))


def _share_rising(times: pl.Series) -> float:
    steps = times.drop_nulls().cast(pl.Int64).diff().drop_nulls()
    moved = steps.filter(steps != 0)
    if len(moved) < 10:
        return 0.0
    share = float((moved > 0).mean())  # type: ignore[arg-type]
    return max(share, 1 - share)
