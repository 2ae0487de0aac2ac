import csv
import re

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.storage.csv_text import guard_formulas, sink_csv


def guard(text: str) -> str:
    return str(pl.select(guard_formulas(pl.lit(text))).item())


def restore(cell: str) -> str:
    return cell[1:] if re.match("'+[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]", cell) else cell


@pytest.mark.parametrize(
    "text", ["=1+1", "+49 30", "-2+3", "@SUM(A1)", "\t=1", "\r=1", '=HYPERLINK("x")', "\uff1d1", "-", "+", "'=1"]
)
def test_a_formula_becomes_text(text):
    assert guard(text) == f"'{text}"


@pytest.mark.parametrize("text", ["-5", "+5", "-0.5", "1e-7", "-1E+5", "", "a=b", "it's", "'quoted'", "书"])
def test_numbers_and_other_texts_stay(text):
    assert guard(text) == text


@given(st.text(alphabet="'=+-@\t\r15.ea", max_size=6))
def test_the_text_comes_back(text):
    assert restore(guard(text)) == text


def test_a_file_holds_quoted_line_breaks_and_plain_numbers(tmp_path):
    rows = pl.DataFrame({"user_id": ["=cmd|'/c calc'!A0", 'two\nlines, "quoted"'], "rank": [-1, 2], "score": [-0.5, 1]})
    sink_csv(rows.lazy(), tmp_path / "lists.csv")
    with (tmp_path / "lists.csv").open(newline="") as file:
        assert list(csv.reader(file)) == [
            ["user_id", "rank", "score"],
            ["'=cmd|'/c calc'!A0", "-1", "-0.5"],
            ['two\nlines, "quoted"', "2", "1.0"],
        ]
