"""Which time format a column has, by its values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

import polars as pl

from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.cleaning.numbers import find_decimal
from recsys.dataset.cleaning.times import UNITS, parse_times

# Numbers are taken for times only if they fall between these instants.
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Day numbers of a spreadsheet: the years 1954 to 2119.
_FIRST_DAY, _LAST_DAY = 20_000, 80_000
_DATES = (
    *("%Y/%m/%d", "%Y-%m-%d", "%Y.%m.%d", "%Y年%m月%d日"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"),
    *("%d-%m-%y", "%m-%d-%y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y"),
    *("%d %b %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y", "%d %B %Y", "%B %d, %Y"),
)
_CLOCKS = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p", ", %H:%M", ", %I:%M:%S %p")
_WHOLE = ("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y")
_PATTERNS = (*(date + clock for date in _DATES for clock in _CLOCKS), *_WHOLE)
# Values that every format is tried on, and values that decide between two.
_SAMPLE, _EVIDENCE = 500, 500_000
_FIRST_LOOK = 20


@dataclass(frozen=True)
class TimeGuess:
    """The format of a column of times.

    Attributes:
        format: a value for the setting `time_format`, or `any` for a mixture of ISO times and numbers; None where no
            format reads most values, or two read them differently.
        evidence: what speaks for it, for messages.
        ambiguous: the formats that read all values, but differently; empty otherwise.
    """

    format: str | None
    evidence: str
    ambiguous: tuple[str, ...] = ()


def detect_time_format(values: pl.Series) -> TimeGuess:
    """Return the format that reads most values as times of 1900 to 2100.

    Numbers count only in units that put them into 1990 to 2100, and day numbers of a spreadsheet only if some have a
    fraction. Dates such as 27-04-2015 are decided by the values above 12.
    """
    if isinstance(values.dtype, pl.Datetime):
        return TimeGuess("iso", "the column has a type of times")
    texts = drop_missing(values).drop_nulls().head(_EVIDENCE).unique(maintain_order=True)
    if not len(texts):
        return TimeGuess(None, "no values")
    sample = texts.gather_every(max(1, len(texts) // _SAMPLE))
    counts = {name: _count(sample, name) for name in ("iso", "compact", *UNITS, "days", "any")}
    if max(counts.values()) < len(sample):
        counts |= {pattern: _count(sample, pattern) for pattern in _PATTERNS if _may_read(sample, pattern)}
    most = max(counts.values())
    if 2 * most <= len(sample):
        return TimeGuess(None, f"no format reads most of {len(sample):,} values, such as '{sample[0]}'")
    best = [name for name, count in counts.items() if count == most]
    return _choose(texts, best)


def _choose(texts: pl.Series, best: list[str]) -> TimeGuess:
    patterns = [name for name in best if "%" in name]
    if len(patterns) == len(best) and len(best) > 1:
        # The sample does not decide; every value may.
        counts = {name: _count(texts, name) for name in best}
        best = [name for name in best if counts[name] == max(counts.values())]
        differing = [name for name in best[1:] if not _read(texts, name).equals(_read(texts, best[0]))]
        if differing:
            return TimeGuess(None, f"all {len(texts):,} values can be read in two ways", (best[0], *differing))
    read = f"{_count(texts, best[0]):,} of {len(texts):,} distinct values"
    return TimeGuess(best[0], f"reads {read}: {span(texts, best[0])}")


def span(values: pl.Series, time_format: str, time_zone: str = "UTC") -> str:
    """Return the first and the last day of values read in a format, such as `2021-01-01 ... 2021-09-19`."""
    times = parse_times(values, time_format, time_zone, find_decimal(values))
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return "no times"
    return f"{first:%Y-%m-%d} ... {last:%Y-%m-%d}"


def _may_read(sample: pl.Series, pattern: str) -> bool:
    """Return whether a pattern reads one of the first values: a quick look, since there are many patterns."""
    first = sample.head(_FIRST_LOOK)
    zone = "UTC" if "%z" in pattern else None
    return first.str.to_datetime(pattern.replace(".%f", "%.f"), time_zone=zone, strict=False).null_count() < len(first)


def _read(texts: pl.Series, time_format: str) -> pl.Series:
    return parse_times(texts, time_format, "UTC", find_decimal(texts) if time_format in ("days", *UNITS) else None)


def _count(texts: pl.Series, time_format: str) -> int:
    """Return how many values the format reads as plausible times."""
    times = _read(texts, time_format)
    if time_format == "days":
        numbers = texts.str.replace(",", ".", literal=True).cast(pl.Float64, strict=False)
        inside = numbers.is_between(_FIRST_DAY, _LAST_DAY)
        return int(inside.sum()) if (numbers != numbers.floor()).any() else 0
    first = _EARLIEST if time_format in UNITS else datetime(1900, 1, 1, tzinfo=UTC)
    if time_format == "any":
        # Its numbers must be plausible, too.
        numeric = texts.cast(pl.Float64, strict=False).is_not_null()
        times = times.set(numeric & ~times.is_between(_EARLIEST, _LATEST), None)
    return int(times.is_between(first, _LATEST).sum())
