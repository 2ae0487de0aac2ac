import unicodedata

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset.cleaning.text import decode_entities, to_plain_text


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def clean(value: str | None) -> str:
    result: str = to_plain_text(text(value))[0]
    return result


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
        ("cut <a href='http://example.com/a", "cut"),
        ("cut <br", "cut"),
        ("<p>cut</p> here </di", "cut here"),
        ("text <!-- a comment without end", "text"),
        ("text <script>alert('x')", "text"),
        ('look <img src="x.png" alt=', "look"),
    ],
)
def test_markup_entities_and_invisible_characters_go(raw, expected):
    assert clean(raw) == expected


@pytest.mark.parametrize(
    "kept",
    [
        "a < b and c > d",
        "a <b and c> d",
        "a <b",
        "x <time",
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
