import polars as pl
import pytest

from recsys.dataset.cleaning.numbers import find_decimal, parse_flags, parse_numbers


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def test_numbers_and_flags():
    assert parse_numbers(text(" 2.5 ", "1e3", "nan", "inf", "x", "", None)).to_list() == [2.5, 1000.0, *[None] * 5]
    assert parse_flags(text("TRUE", "no", "1", "0.0", "", None, "maybe")).to_list() == [
        True,
        False,
        True,
        False,
        True,
        True,
        None,
    ]


def test_words_for_missing_numbers_and_flags():
    assert parse_numbers(text("NULL", "-", "0", "7"), words=["0"]).to_list() == [None, None, None, 7.0]
    assert parse_flags(text("N/A", "?"), words=["?"]).to_list() == [True, True]


@pytest.mark.parametrize(
    ("decimal", "expected"),
    [
        (None, [1234.5, 1_234_567.0, None, None, 1.5, 5.0, -3.0, None]),
        (".", [1234.5, 1_234_567.0, 1234.0, None, 1.5, 5.0, -3.0, None]),
        (",", [None, None, 1.234, 0.5, None, 5.0, -3.0, 1234.5]),
    ],
)
def test_points_commas_and_currencies(decimal, expected):
    raw = text("1,234.50", "1,234,567", "1,234", "0,5", "1.5", "$5", "-3 €", "1.234,50")
    assert parse_numbers(raw, decimal).to_list() == expected


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["0,5", "12", "1.234,5"], ","),
        (["0,99 €", None, "-"], ","),
        (["1,234", "2,500"], None),  # thousands, or three decimals
        (["0,5", "2.5"], None),
        (["0,5", "x"], None),
        (["1", "2"], None),
    ],
)
def test_decimal_comma_is_detected_where_nothing_else_is_possible(values, expected):
    assert find_decimal(text(*values)) == expected
