import unicodedata
from datetime import UTC, datetime, timedelta, timezone

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset.cleaning import (
    clean_ids,
    decode_entities,
    has_control_characters,
    is_blank,
    is_rounded,
    join_lists,
    parse_flags,
    parse_numbers,
    parse_times,
    split_tags,
    to_plain_text,
)


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def clean(value: str | None) -> str:
    result: str = to_plain_text(text(value))[0]
    return result


# --- text ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        (None, ""),
        ("<p>Hello<br/>you</p>", "Hello you"),
        ("<b>H</b>ello 我<em>爱</em>你", "Hello 我爱你"),
        ("<a href=\"x>y\" title='q' target=_blank>link</A >", "link"),
        ('<a href="x" target=_blank">stray quote</a>', "stray quote"),
        ('a<script type="x">if (a < b) { alert("<b>") }</script>b<style>p{}</style>c', "a b c"),
        ("a<!-- <b>no</b> -->b <![CDATA[x < y]]> <?xml version='1.0'?><!DOCTYPE html>", "a b x < y"),
        ("<input disabled><o:p>Word</o:p><h2 class=a>Head</h2>", "Word Head"),
        ("Tom &amp; Jerry&#8217;s &#x1F600;&nbsp;caf&eacute;", "Tom & Jerry’s 😀 café"),
        ("&lt;p&gt;AT&amp;amp;T &lt;b&gt;x&lt;/b&gt;&lt;/p&gt;", "AT&T x"),
        ("a\0b\x07c\td\r\ne\u3000f\u2028g\u00a0h\u0085i\x7f", "abc d e f g h i"),
        ("\ufeffzero\u200bwidth soft\u00adhyphen \u202eturned\u202c", "zerowidth softhyphen turned"),
        ("e\u0301", "é"),
        ("\u1112\u1161\u11ab", "한"),
        ("\u200d\u200c \u0301", ""),
        ("<br> <br/>&nbsp;", ""),
    ],
)
def test_markup_entities_and_invisible_characters_go(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    "kept",
    [
        "a < b and c > d",
        "a <b and c> d",
        "I <3 you",
        "List<String> and vector<int>",
        "Press <enter>",
        "mail <ann@example.com> or <https://example.com/a=b>",
        "R&D, AT&T, ?a=1&copy=2&section=3",
        "&notanentity; &",
        "می‌خواهم",  # Persian, with a zero-width non-joiner
        "श्री क्‍ष",  # Devanagari, with a zero-width joiner
        "👩‍👩‍👧 ❤️ 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f 👍🏽",
        "مرحبا بالعالم \u200f!",
        "万里挑一的4个生日尾数，男是状元郎！",
        "שָׁלוֹם ไทย ខ្មែរ አማርኛ ᚠᛇ 𓀀",
    ],
)
def test_plain_text_of_any_script_stays(kept):
    assert clean(kept) == unicodedata.normalize("NFC", kept)


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(categories=["L", "M", "N", "P", "S", "Zs"], exclude_characters="<&")))
def test_text_without_markup_only_loses_spaces(raw):
    expected = unicodedata.normalize("NFC", " ".join(f"x{raw}".split()))
    assert clean(f"x{raw}") == unicodedata.normalize("NFC", expected)


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_result_is_one_clean_line(raw):
    result = clean(raw)
    assert result == result.strip()
    assert "  " not in result
    assert unicodedata.is_normalized("NFC", result)
    assert not any(unicodedata.category(letter) == "Cc" for letter in result)


def test_other_rows_are_untouched_by_a_row_with_markup():
    raw = text("a", "<b>b</b>", None, "&amp;")
    assert to_plain_text(raw).to_list() == ["a", "b", "", "&"]
    assert raw.to_list() == ["a", "<b>b</b>", None, "&amp;"]


def test_named_entities_need_their_semicolon():
    assert decode_entities(text("&amp; &amp &lt;&unknown; &#65; &#x41;")).to_list() == ["& &amp <&unknown; A A"]


# --- tags and lists ----------------------------------------------------------------------------------------


def test_tags_come_from_text_json_python_and_real_lists():
    raw = text(" a, <b>b</b>,,a , ", '["x, y", null, "z", 3]', "['q', \"it's\"]", None, "[]", "[open", "{1: 2}")
    expected = [["a", "b"], ["x, y", "z", "3"], ["q", "it's"], [], [], ["[open"], ["{1: 2}"]]
    assert split_tags(raw, ",").to_list() == expected
    assert split_tags(text("rock &amp; roll;jazz"), ";").to_list() == [["rock & roll", "jazz"]]
    assert split_tags(pl.Series([["b ", None, "a", "b"], None, []]), ",").to_list() == [["b", "a"], [], []]
    assert split_tags(text(), ",").dtype == pl.List(pl.String)


def test_lists_join_into_text():
    assert join_lists(text("a", '["x","y"]', None, "[1, 2", '[{"a": 1}]')).to_list() == [
        "a",
        "x, y",
        None,
        "[1, 2",
        '[{"a": 1}]',
    ]
    assert join_lists(pl.Series([["x", None, "y"], []])).to_list() == ["x, y", ""]


# --- ids, numbers, flags -----------------------------------------------------------------------------------


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
    assert is_blank(text(" ", None, "x")).to_list() == [True, True, False]


# --- instants ------------------------------------------------------------------------------------------------


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
