"""Times in any usual form, read as instants in UTC."""

from __future__ import annotations

import polars as pl
import pyarrow as pa

from recsys.dataset.cleaning.numbers import parse_numbers

# Units of numbers since 1970: how many there are in a second.
UNITS = {"seconds": 1, "milliseconds": 1_000, "microseconds": 1_000_000, "nanoseconds": 1_000_000_000}
_ISO = (
    r"^(?<date>[0-9]{4}-[0-9]{2}-[0-9]{2})"
    r"(?:(?:[Tt]| +)(?<minutes>[0-9]{2}:[0-9]{2})(?<seconds>:[0-9]{2}(?:[.,][0-9]{1,9})?)?"
    r" *(?<zone>[Zz]|UTC|GMT|[+-][0-9]{2}(?::?[0-9]{2})?)?)?$"
)
# YYYY-MM-DD, with minutes, with seconds, with Z.
_PLAIN_LENGTHS = {10: None, 16: None, 19: None, 20: "UTC"}
# Years 1 to 9999, the range that other tools can read.
_FIRST, _LAST = -62_135_596_800, 253_402_300_799
# Days from the day 0 of spreadsheets to 1970-01-01.
_SPREADSHEET_DAYS = 25_569
_FORMS = {
    "seconds": "seconds since 1970, such as 1735900000",
    "milliseconds": "milliseconds since 1970, such as 1735900000123",
    "microseconds": "microseconds since 1970, such as 1735900000123456",
    "nanoseconds": "nanoseconds since 1970, such as 1735900000123456789",
    "days": "days of a spreadsheet, such as 44197.5",
    "iso": "ISO 8601, such as 2025-01-03T18:22:05Z or 2025-01-03",
    "date": "YYYY-MM-DD",
    "compact": "YYYYMMDD",
    "any": "ISO 8601, or seconds or milliseconds since 1970",
}


def describe_format(time_format: str) -> str:
    """Return the form that a time format expects, for messages."""
    return _FORMS.get(time_format, f"the form '{time_format}'")


def parse_times(values: pl.Series, time_format: str, time_zone: str, decimal: str | None = None) -> pl.Series:
    """Return Datetime in UTC, microseconds; null where the value is not a time.

    Columns of a time type (Parquet) are kept, whatever the format is.

    Args:
        values: text, or Datetime with or without a zone.
        time_format: `seconds`, `milliseconds`, `microseconds` or `nanoseconds` since 1970 (fractions allowed, rounded
            to a microsecond); `days` of a spreadsheet, 1.0 on 1899-12-31; `iso`: ISO 8601 date and time, or a date,
            with or without an offset, in any mixture; `date`: YYYY-MM-DD; `compact`: YYYYMMDD or YYYYMMDDHHMMSS;
            `any`: iso, or a number, which is milliseconds from 10^11 on (as seconds that would be the year 5138);
            or a pattern such as `%d-%m-%Y %H:%M`, in which %Y is a year of four digits.
        time_zone: zone of values without a zone. In an hour that clocks repeat, the first is meant; a time in an hour
            that clocks skip is null, except midnight: such a day starts at its first instant.
        decimal: as for `parse_numbers`.
    """
    if isinstance(values.dtype, pl.Datetime):
        return values if values.dtype.time_zone else _to_utc(values, time_zone)
    if time_format in UNITS:
        return _from_epoch(values, time_format, decimal)
    if time_format == "days":
        return _from_days(parse_numbers(values, decimal), time_zone)
    texts = values.cast(pl.String).str.strip_chars()
    if time_format == "date":
        return _from_iso(texts.set(texts.str.len_bytes() != 10, None), time_zone)
    if time_format == "compact":
        return _from_compact(texts, time_zone)
    if "%" in time_format:
        return _from_pattern(texts, time_format, time_zone)
    times = _from_iso(texts, time_zone)
    if time_format == "any":
        numbers = parse_numbers(values, decimal)
        seconds = pl.DataFrame({"n": numbers}).select(
            pl.when(pl.col("n").abs() < 1e11).then("n").otherwise(pl.col("n") / 1000)
        )
        times = times.fill_null(_from_seconds(seconds.to_series()))
    return times


def _from_epoch(values: pl.Series, unit: str, decimal: str | None) -> pl.Series:
    if unit in ("microseconds", "nanoseconds"):
        # As floats, today's nanoseconds are multiples of 256.
        exact = values.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
        if exact.null_count() == values.null_count():
            return _from_microseconds(exact if unit == "microseconds" else exact // 1000)
    return _from_seconds(parse_numbers(values, decimal) / UNITS[unit])


def _from_microseconds(microseconds: pl.Series) -> pl.Series:
    outside = ~microseconds.is_between(_FIRST * 1_000_000, _LAST * 1_000_000)
    return microseconds.set(outside, None).cast(pl.Datetime("us", "UTC"))


def _from_seconds(seconds: pl.Series) -> pl.Series:
    seconds = seconds.set(~seconds.is_between(_FIRST, _LAST), None)
    return (seconds * 1e6).round().cast(pl.Int64).cast(pl.Datetime("us", "UTC"))


def _from_days(days: pl.Series, time_zone: str) -> pl.Series:
    seconds = (days - _SPREADSHEET_DAYS) * 86_400
    seconds = seconds.set(~seconds.is_between(_FIRST, _LAST), None)
    # A fraction of a day has an error of a microsecond; spreadsheets show milliseconds.
    milliseconds = (seconds * 1e3).round().cast(pl.Int64)
    return _to_utc((milliseconds * 1000).cast(pl.Datetime("us")), time_zone)


def _from_compact(texts: pl.Series, time_zone: str) -> pl.Series:
    texts = texts.str.replace(r"\.0+$", "")
    texts = texts.set(~texts.str.contains(r"^[0-9]{8}(?:[0-9]{6})?$"), None).str.pad_end(14, "0")
    return _to_utc(texts.str.to_datetime("%Y%m%d%H%M%S", time_unit="us", strict=False), time_zone)


def _from_pattern(texts: pl.Series, pattern: str, time_zone: str) -> pl.Series:
    # Python's %f is a fraction after a point, polars' %.f has the point.
    pattern = pattern.replace(".%f", "%.f")
    zoned = "%z" in pattern or "%Z" in pattern
    try:
        times = texts.str.to_datetime(pattern, time_unit="us", time_zone="UTC" if zoned else None, strict=False)
    except pl.exceptions.PolarsError:
        return pl.repeat(None, len(texts), dtype=pl.Datetime("us", "UTC"), eager=True)
    times = times.set(~times.dt.year().is_between(1000, 9999), None)
    return times.dt.convert_time_zone("UTC") if zoned else _to_utc(times, time_zone)


def _from_iso(texts: pl.Series, time_zone: str) -> pl.Series:
    times = _from_plain_iso(texts)
    if times is None:
        return _from_any_iso(texts, time_zone)
    return times if times.dtype.time_zone else _to_utc(times, time_zone)  # type: ignore[attr-defined]


def _from_plain_iso(texts: pl.Series) -> pl.Series | None:
    """Return the times of texts that all have one plain form, fast; None where some have another form or no time."""
    lengths = texts.str.len_bytes()
    length = lengths.max()
    if not isinstance(length, int) or length not in _PLAIN_LENGTHS or lengths.min() != length:
        return None
    zone = _PLAIN_LENGTHS[length]
    if zone and not texts.str.ends_with("Z").fill_null(True).all():
        return None
    try:
        times = texts.to_arrow().cast(pa.timestamp("us", zone))
    except pa.ArrowInvalid:
        return None
    return pl.Series(times).cast(pl.Datetime("us", zone))


def _from_any_iso(texts: pl.Series, time_zone: str) -> pl.Series:
    parts = texts.str.extract_groups(_ISO).struct.unnest()
    clock = pl.concat_str(
        pl.col("date"),
        pl.lit("T"),
        pl.col("minutes").fill_null("00:00"),
        pl.col("seconds").str.replace(",", ".", literal=True).fill_null(":00"),
    )
    frame = parts.select(clock=clock, zone="zone")
    local = frame["clock"].str.to_datetime("%Y-%m-%dT%H:%M:%S%.f", time_unit="us", strict=False)
    times = _to_utc(local, time_zone)
    if frame["zone"].null_count() == frame.height:
        return times
    offset = (
        pl.col("zone")
        .str.replace(r"^(?:[Zz]|UTC|GMT)$", "+0000")
        .str.replace(":", "", literal=True)
        .str.pad_end(5, "0")
    )
    with_zone = frame.select(pl.concat_str("clock", offset)).to_series()
    exact = with_zone.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="us", strict=False)
    return pl.select(pl.when(frame["zone"].is_null()).then(times).otherwise(exact)).to_series()


def _to_utc(local: pl.Series, time_zone: str) -> pl.Series:
    def convert(times: pl.Series) -> pl.Series:
        zoned = times.dt.replace_time_zone(time_zone, ambiguous="earliest", non_existent="null")
        return zoned.dt.convert_time_zone("UTC")

    times = convert(local)
    # Where clocks change at midnight, the day starts at 01:00.
    midnight = times.is_null() & (local.dt.truncate("1d") == local)
    return times.zip_with(~midnight.fill_null(False), convert(local.dt.offset_by("1h"))) if midnight.any() else times
