import polars as pl
from hypothesis import given
from hypothesis import strategies as st

from recsys.dataset.cleaning.ids import clean_attributes, clean_ids, has_control_characters, is_rounded


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


@given(st.lists(st.sampled_from(["12.0", " 12 ", "007", "guest", "1.5", "", "é\n", None]), min_size=1))
def test_spelling_of_an_id_depends_on_that_id_alone(values):
    alone = [clean_ids(text(value))[0] for value in values]
    assert clean_ids(text(*values)).to_list() == alone
    assert clean_ids(text(*alone)).to_list() == alone


def test_ids_with_control_characters_and_rounded_numbers_are_recognised():
    ids = pl.DataFrame(
        {"id": ["a\nb", "a\x00", "é 书", "1.2345678901234568e+18", "1e5", "9e+05", "1e+16", "12345678901234567890"]}
    )
    assert ids.select(has_control_characters(pl.col("id"))).to_series().to_list() == [True, True, *[False] * 6]
    assert ids.select(is_rounded(pl.col("id"))).to_series().to_list() == [*[False] * 3, True, False, False, True, False]


def test_ids_lose_outer_space_and_the_decimals_of_whole_numbers():
    assert clean_ids(text("12.0", " 7", "007", "", None, "nan", "<NA>")).to_list() == ["12", "7", "007", *[None] * 4]
    assert clean_ids(text("12.00", "-3.0", "1.5", "a.0", "1.0.0", ".0")).to_list() == [
        "12",
        "-3",
        "1.5",
        "a.0",
        "1.0.0",
        ".0",
    ]
    assert clean_ids(text("书", "\u00a0x ")).to_list() == ["书", "x"]


def test_words_that_stand_for_a_missing_id():
    usual = text("None", "NULL", "null", r"\N", "NA", "N/A", "n/a", "-", "--", "(not set)", "Nan", "N", "0")
    assert clean_ids(usual).to_list() == [*[None] * 10, "Nan", "N", "0"]
    assert clean_ids(text("0", "unknown", "00"), ["0", "unknown"]).to_list() == [None, None, "00"]
    # An author may be called None, a country NA.
    assert clean_attributes(text("None", " NA ", "nan", "2008.0", "x"), ["x"]).to_list() == [
        "None",
        "NA",
        None,
        "2008",
        None,
    ]


def test_floats_that_lost_digits_keep_their_decimals():
    largest = 2**53 - 1
    others = ("9" * 15 + ".0", "1" * 17 + ".0", f"{largest - 90}.0")
    raw = text(f"{largest}.0", f"{largest + 1}.0", f"-{largest}.00", *others)
    ids = clean_ids(raw)
    assert ids.to_list() == [
        str(largest),
        f"{largest + 1}.0",
        f"-{largest}",
        "9" * 15,
        "1" * 17 + ".0",
        str(largest - 90),
    ]
    rounded = pl.DataFrame({"id": ids}).select(is_rounded(pl.col("id"))).to_series()
    assert rounded.to_list() == [False, True, False, False, True, False]


def test_formulas_that_keep_leading_zeros_are_the_id():
    raw = text('="0439023483"', ' ="12.0" ', '=""', '="NA"', '="a"b', "=A1", '"x"')
    assert clean_ids(raw, ["NA"]).to_list() == ["0439023483", "12", None, None, '="a"b', "=A1", '"x"']
