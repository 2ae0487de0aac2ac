"""Which time format a column has, by its values."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache

import polars as pl

from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.cleaning.numbers import find_decimal
from recsys.dataset.cleaning.times import UNITS, parse_times
from recsys.progress import format_count

# Numbers are taken for times only if they fall between these instants.
_EARLIEST, _LATEST = datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC)
# Day numbers of a spreadsheet: the years 1954 to 2119.
_FIRST_DAY, _LAST_DAY = 20_000, 80_000
_DATES = (
    *("%Y/%m/%d", "%Y-%m-%d", "%Y.%m.%d", "%Y年%m月%d日"),
    *("%d-%m-%Y", "%m-%d-%Y", "%d/%m/%Y", "%m/%d/%Y", "%d.%m.%Y"),
    *("%d-%m-%y", "%m-%d-%y", "%d/%m/%y", "%m/%d/%y", "%d.%m.%y", "%m %d, %Y"),
    *("%d %b %Y", "%d-%b-%Y", "%d/%b/%Y", "%d-%b-%y", "%b %d, %Y", "%b %d %Y", "%b-%d-%y", "%b-%d-%Y"),
    *("%d %B %Y", "%d. %B %Y", "%B %d, %Y", "%B %d %Y"),
    *("%a %b %d %Y", "%a, %d %b %Y"),
)
_CLOCKS = (
    *("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p"),
    *(", %H:%M", ", %H:%M:%S", ", %I:%M %p", ", %I:%M:%S %p", "T%H:%M:%S"),
)
_WHOLE = (
    *("%d/%b/%Y:%H:%M:%S %z", "%a, %d %b %Y %H:%M:%S %z", "%a %b %d %H:%M:%S %z %Y"),
    *("%a %b %d %H:%M:%S %Y", "%m/%d/%Y %H:%M:%S %z", "%d/%m/%Y %H:%M:%S %z"),
)
# Regular expressions of the parts of a pattern.
_PARTS = {
    "%Y": r"\d{4}",
    "%y": r"\d{2}",
    "%f": r"\d+",
    "%p": r"[AaPp][Mm]",
    "%z": r"[+-]\d{2}:?\d{2}|Z",
    **dict.fromkeys(("%a", "%b", "%B"), r"[^\W\d_]+"),
    **dict.fromkeys(("%d", "%m", "%H", "%I", "%M", "%S"), r"\s?\d{1,2}"),
}
# Values that every format is tried on, and values that decide between two.
_SAMPLE, _EVIDENCE = 500, 500_000
_FIRST_LOOK = 20
# Steps from row to row, and shares of them in one direction: rows in order of time under one format, not under another.
_FEWEST_STEPS, _IN_ORDER, _OUT_OF_ORDER = 10, 0.999, 0.97


@dataclass(frozen=True)
class TimeGuess:
    """The format of a column of times.

    Attributes:
        format: a value for the setting `time_format`, or `any` for a mixture of ISO times and numbers; None where no
            format reads most values, or two read them differently.
        evidence: what speaks for it, for messages.
        ambiguous: the formats that read all values, but differently; empty otherwise.
        share: share of the different values that the format reads.
    """

    format: str | None
    evidence: str
    ambiguous: tuple[str, ...] = ()
    share: float = 0.0


def detect_time_format(values: pl.Series) -> TimeGuess:
    """Return the format that reads most values as times of 1900 to 2100.

    Numbers count only in units that put them into 1990 to 2100, and day numbers of a spreadsheet only if some have a
    fraction. Dates such as 27-04-2015 are decided by the values above 12; where there are none, by the rows if they are
    in order of time under one format only.
    """
    if isinstance(values.dtype, pl.Datetime):
        return TimeGuess("iso", "the column has a date or time type", share=1.0)
    texts = drop_missing(values).drop_nulls().head(_EVIDENCE).unique(maintain_order=True)
    if not len(texts):
        return TimeGuess(None, "no values")
    sample = texts.gather_every(max(1, len(texts) // _SAMPLE))
    counts = {name: _count(sample, name) for name in ("iso", "compact", *UNITS, "days", "any")}
    if max(counts.values()) < len(sample):
        counts |= {pattern: _count(sample, pattern) for pattern in _list_patterns(sample)}
    most = max(counts.values())
    if 2 * most <= len(sample):
        return TimeGuess(None, f"no format reads most of {format_count(len(sample), 'value')}, such as '{sample[0]}'")
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
            ordered = _find_ordered(texts, [best[0], *differing])
            if ordered is None:
                evidence = f"all {format_count(len(texts), 'value')} can be read in two ways"
                return TimeGuess(None, evidence, (best[0], *differing), counts[best[0]] / len(texts))
            evidence = f"read this way, the rows are in time order: {span(texts, ordered)}"
            return TimeGuess(ordered, evidence, share=counts[ordered] / len(texts))
    count = _count(texts, best[0])
    read = f"{count:,} of {format_count(len(texts), 'distinct value')}"
    return TimeGuess(best[0], f"reads {read}: {span(texts, best[0])}", share=count / len(texts))


def _find_ordered(texts: pl.Series, formats: list[str]) -> str | None:
    """Return the only format under which the rows are in order of time, forwards or backwards; None if none is."""
    shares = {name: _share_in_order(_read(texts, name)) for name in formats}
    ordered = [name for name, share in shares.items() if share >= _IN_ORDER]
    others = [share for name, share in shares.items() if name not in ordered]
    return ordered[0] if len(ordered) == 1 and max(others) < _OUT_OF_ORDER else None


def _share_in_order(times: pl.Series) -> float:
    steps = times.drop_nulls().cast(pl.Int64).diff().drop_nulls()
    steps = steps.filter(steps != 0)
    if len(steps) < _FEWEST_STEPS:
        return 0.0
    forwards = int((steps > 0).sum()) / len(steps)
    return max(forwards, 1 - forwards)


def span(values: pl.Series, time_format: str, time_zone: str = "UTC") -> str:
    """Return the first and the last day of values read in a format, such as `2021-01-01 ... 2021-09-19`."""
    times = parse_times(values, time_format, time_zone, find_decimal(values))
    first, last = times.min(), times.max()
    if not isinstance(first, datetime) or not isinstance(last, datetime):
        return "no times"
    return f"{first:%Y-%m-%d} ... {last:%Y-%m-%d}"


def _list_patterns(sample: pl.Series) -> list[str]:
    """Return the patterns that have the form of one of the first values: a quick look, since there are many."""
    first = [str(text) for text in sample.head(_FIRST_LOOK)]
    dates = [date for date in _DATES if any(_form(date).match(text) for text in first)]
    patterns = [*(date + clock for date in dates for clock in _CLOCKS), *_WHOLE]
    return [pattern for pattern in patterns if any(_form(pattern).fullmatch(text) for text in first)]


@cache
def _form(pattern: str) -> re.Pattern[str]:
    pieces = re.findall(r"%[A-Za-z]|[^%]+", pattern)
    return re.compile("".join(f"(?:{_PARTS[piece]})" if piece[0] == "%" else re.escape(piece) for piece in pieces))


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
        numeric = _read(texts, "iso").is_null()
        times = times.set(numeric & ~times.is_between(_EARLIEST, _LATEST), None)
    return int(times.is_between(first, _LATEST).sum())
