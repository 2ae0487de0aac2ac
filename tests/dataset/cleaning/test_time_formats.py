from random import Random

import polars as pl
import pytest

from recsys.dataset.cleaning.time_formats import detect_time_format, span


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["1609459200", "1620000000.5"], "seconds"),
        (["1609459200000"], "milliseconds"),
        (["1609459200000000"], "microseconds"),
        (["1609459200000000000"], "nanoseconds"),
        (["44197.5", "44198"], "days"),
        (["44197,5", "44198"], "days"),
        (["20210105", "20220101"], "compact"),
        (["2021-01-05", "2021-01-05T10:11:12.5Z", "NULL"], "iso"),
        (["2025-01-01T10:00+01:00", "1735900000"], "any"),
        (["27-04-2015", "01-02-2016"], "%d-%m-%Y"),
        (["04/27/2015", "01/02/2016"], "%m/%d/%Y"),
        (["5/6/2021 3:04 PM", "5/16/2021 3:04 PM"], "%m/%d/%Y %I:%M %p"),
        (["1.5.2021 10:00", "2.5.2021 9:30"], "%d.%m.%Y %H:%M"),
        (["2015/04/27"], "%Y/%m/%d"),
        (["05 Jan 2020, 12:34"], "%d %b %Y, %H:%M"),
        (["2021年1月5日"], "%Y年%m月%d日"),
        (["1/25/21", "1/5/21"], "%m/%d/%y"),
        (["09 13, 2009", "10 1, 2010"], "%m %d, %Y"),
        (["March 1, 2023 9:26 am", "May 30, 2023 12:01 pm"], "%B %d, %Y %I:%M %p"),
        (["Mar 1, 2023, 9:26:00 AM"], "%b %d, %Y, %I:%M:%S %p"),
        (["5. January 2021", "6. May 2022"], "%d. %B %Y"),
        (["20210105101112"], "compact"),
        (["Mar-01-23", "Dec-13-23"], "%b-%d-%y"),
        (["Mon, 05 Apr 2021 10:00:00 +0000"], "%a, %d %b %Y %H:%M:%S %z"),
        # Readable in two ways that are the same.
        (["02-02-2020", "03-03-2020"], "%d-%m-%Y"),
    ],
)
def test_format_of_a_column(values, expected):
    guess = detect_time_format(pl.Series(values))
    assert (guess.format, guess.ambiguous) == (expected, ())


@pytest.mark.parametrize(
    "values", [["x", "y"], ["1", "2", "3"], ["3.5"], ["2008", "2010"], ["44197"], ["$9.99"], ["-"], [None]]
)
def test_other_values_are_no_times(values):
    guess = detect_time_format(pl.Series(values, dtype=pl.String))
    assert (guess.format, guess.ambiguous) == (None, ())


def test_day_and_month_that_nothing_decides():
    dates = [f"{day:02}/{month:02}/2016" for day in range(1, 13) for month in range(1, 13)]
    Random(0).shuffle(dates)
    guess = detect_time_format(pl.Series(dates))
    assert guess.format is None
    assert guess.ambiguous == ("%d/%m/%Y", "%m/%d/%Y")
    # A single value among many decides.
    assert detect_time_format(pl.Series([*dates * 50, "01/13/2016"])).format == "%m/%d/%Y"


@pytest.mark.parametrize("step", [1, -1])
def test_rows_in_order_of_time_decide_between_day_and_month(step):
    dates = [f"{month:02}/{day:02}/2016" for month in range(1, 13) for day in range(1, 13)]
    guess = detect_time_format(pl.Series(dates[::step]))
    assert (guess.format, guess.ambiguous) == ("%m/%d/%Y", ())
    assert guess.evidence == "read this way, the rows are in time order: 2016-01-01 ... 2016-12-12"


def test_evidence_names_the_days_read():
    seconds = pl.Series(["1609459200", "1620000000"])
    assert detect_time_format(seconds).evidence == "reads 2 of 2 distinct values: 2021-01-01 ... 2021-05-03"
    assert span(seconds, "milliseconds") == "1970-01-19 ... 1970-01-19"
