from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset.cleaning.times import parse_times


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)


def times(time_format: str, zone: str, *values: str | None) -> list[datetime | None]:
    return parse_times(text(*values), time_format, zone).to_list()


def test_iso_forms_mix_in_one_column():
    assert times(
        "iso",
        "Europe/Berlin",
        "2025-01-03T18:22:05Z",
        "2025-01-03 18:22:05.123",
        "2025-01-03",
        "2025-01-03t18:22+05:30",
        "2025-01-03 18:22:05,5 -0800",
        "2025-01-03 18:22:05.123456789+02",
        "2025-07-03 00:00:00 UTC",
    ) == [
        utc(2025, 1, 3, 18, 22, 5),
        utc(2025, 1, 3, 17, 22, 5, 123000),
        utc(2025, 1, 2, 23),
        utc(2025, 1, 3, 12, 52),
        utc(2025, 1, 4, 2, 22, 5, 500000),
        utc(2025, 1, 3, 16, 22, 5, 123456),
        utc(2025, 7, 3),
    ]


def test_unreadable_times_are_null():
    bad = ("03.01.2025", "2025-02-30", "2025-01-03T25:00", "2025-1-3", "1735900000", "now", "", None, "２０２５-01-03")
    assert times("iso", "UTC", *bad) == [None] * len(bad)
    assert times("date", "UTC", "2025-01-03", "2025-01-03 10:00") == [utc(2025, 1, 3), None]


def test_changing_clocks():
    assert times("iso", "Europe/Berlin", "2025-10-26 02:30", "2025-03-30 02:30", "2025-03-30 02:30+01:00") == [
        utc(2025, 10, 26, 0, 30),  # happens twice: the first
        None,  # never happened
        utc(2025, 3, 30, 1, 30),
    ]
    # That day began at 01:00 in Brazil.
    assert times("date", "America/Sao_Paulo", "2017-10-15", "2017-10-16") == [
        utc(2017, 10, 15, 3),
        utc(2017, 10, 16, 2),
    ]


def test_epochs():
    assert times("seconds", "Asia/Tokyo", "0", "1735900000.5", "-1", "1735900000000", "x") == [
        utc(1970, 1, 1),
        utc(2025, 1, 3, 10, 26, 40, 500000),
        utc(1969, 12, 31, 23, 59, 59),
        None,
        None,
    ]
    assert times("milliseconds", "UTC", "1735900000123") == [utc(2025, 1, 3, 10, 26, 40, 123000)]
    assert times("any", "UTC", "1735900000", "1735900000000", "2025-01-03", None) == [
        *[utc(2025, 1, 3, 10, 26, 40)] * 2,
        utc(2025, 1, 3),
        None,
    ]


def test_boundaries_of_epoch_units():
    # The years 1 and 9999 to the second, in each unit.
    first, last = utc(1, 1, 1), utc(9999, 12, 31, 23, 59, 59)
    edges = ("-62135596800", "-62135596801", "253402300799", "253402300800")
    assert times("seconds", "UTC", *edges) == [first, None, last, None]
    assert times("milliseconds", "UTC", *(f"{edge}000" for edge in edges)) == [first, None, last, None]
    # From 10^11 on a number of unknown unit is milliseconds, on both sides of 1970.
    assert times("any", "UTC", "99999999999", "100000000000") == [
        utc(5138, 11, 16, 9, 46, 39),
        utc(1973, 3, 3, 9, 46, 40),
    ]
    assert times("any", "UTC", "-100000000000", "-62135596800") == [utc(1966, 10, 31, 14, 13, 20), first]


def test_epochs_round_to_the_nearest_microsecond():
    # Truncated, 0.000002 seconds as a float would be 1 microsecond, and 0.0000016 is nearer to 2.
    assert times("seconds", "UTC", "0.0000016", "-0.0000016", "0.29", "4.35") == [
        utc(1970, 1, 1, 0, 0, 0, 2),
        utc(1969, 12, 31, 23, 59, 59, 999998),
        utc(1970, 1, 1, 0, 0, 0, 290000),
        utc(1970, 1, 1, 0, 0, 4, 350000),
    ]
    assert times("milliseconds", "UTC", "1735900000000.0006") == [utc(2025, 1, 3, 10, 26, 40, 0)]
    assert times("milliseconds", "UTC", "1000.0006", "1000.0004") == [
        utc(1970, 1, 1, 0, 0, 1, 1),
        utc(1970, 1, 1, 0, 0, 1),
    ]


def test_real_times_are_taken_as_they_are():
    naive = pl.Series([datetime(2025, 1, 3, 18, tzinfo=UTC), None]).dt.replace_time_zone(None)
    assert parse_times(naive, "seconds", "Europe/Berlin").to_list() == [utc(2025, 1, 3, 17), None]
    aware = naive.dt.replace_time_zone("UTC")
    assert parse_times(aware, "seconds", "Europe/Berlin").to_list() == [utc(2025, 1, 3, 18), None]


@settings(max_examples=100, deadline=None)
@given(
    st.datetimes(min_value=datetime.fromisoformat("1900-01-02"), max_value=datetime.fromisoformat("2200-01-01")),
    st.integers(min_value=-14 * 60, max_value=14 * 60),
)
def test_what_python_writes_reads_back(naive, minutes):
    moment = naive.replace(tzinfo=timezone(timedelta(minutes=minutes)))
    assert times("iso", "UTC", moment.isoformat()) == [moment.astimezone(UTC)]


def test_finer_units_are_exact():
    assert times("microseconds", "UTC", "1735900000123457", None) == [utc(2025, 1, 3, 10, 26, 40, 123457), None]
    assert times("nanoseconds", "UTC", "1735900000123457999") == [utc(2025, 1, 3, 10, 26, 40, 123457)]
    assert times("microseconds", "UTC", "1.5", "x") == [utc(1970, 1, 1, 0, 0, 0, 2), None]
    assert times("nanoseconds", "UTC", "9223372036854775807", "9" * 24)[1] is None


def test_days_of_a_spreadsheet_are_local():
    assert times("days", "Europe/Berlin", "44197.5", "44197", "1", "x") == [
        utc(2021, 1, 1, 11),
        utc(2020, 12, 31, 23),
        utc(1899, 12, 30, 23),
        None,
    ]
    assert parse_times(text("44197,520833333"), "days", "UTC", ",").to_list() == [utc(2021, 1, 1, 12, 30)]


def test_compact_dates():
    assert times("compact", "UTC", "20150427", "20150427.0", "20150427183005", "20150231", "150427") == [
        utc(2015, 4, 27),
        utc(2015, 4, 27),
        utc(2015, 4, 27, 18, 30, 5),
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("pattern", "value", "expected"),
    [
        ("%d-%m-%Y", "27-04-2015", utc(2015, 4, 27)),
        ("%d-%m-%Y", "7-4-2015", utc(2015, 4, 7)),
        ("%d-%m-%Y", "27-04-15", None),
        ("%d-%m-%y", "27-04-15", utc(2015, 4, 27)),
        ("%m/%d/%Y %I:%M %p", "4/27/2015 3:04 PM", utc(2015, 4, 27, 15, 4)),
        ("%Y/%m/%d %H:%M:%S.%f", "2015/04/27 15:04:05.25", utc(2015, 4, 27, 15, 4, 5, 250000)),
        ("%d/%b/%Y:%H:%M:%S %z", "27/Apr/2015:15:04:05 +0200", utc(2015, 4, 27, 13, 4, 5)),
        ("%Q", "27", None),
    ],
)
def test_patterns(pattern, value, expected):
    assert times(pattern, "UTC", value, "x") == [expected, None]


@pytest.mark.parametrize("zone", ["UTC", "Europe/Berlin"])
@pytest.mark.parametrize("suffix", ["", "Z"])
def test_columns_of_one_plain_form_are_read_as_mixed_ones_are(zone, suffix):
    plain = [f"2025-03-30{mark}{clock}{suffix}" for mark in "T " for clock in ("00:59:59", "03:00:00", "23:59:59")]
    alone = times("iso", zone, *plain)
    assert None not in alone
    assert times("iso", zone, *plain, "2025-03-30T00:00:00.5") == [*alone, *times("iso", zone, "2025-03-30T00:00:00.5")]
    assert times("iso", zone, *plain, plain[0][:11] + "24:00:00" + suffix) == [*alone, None]
