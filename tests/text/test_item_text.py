import hashlib

import polars as pl
import pytest
from worlds import make_items

from recsys.text.item_text import hash_texts, make_texts, name_columns

FIELDS = ("title", "tags", "description")


def text_of(fields: tuple[str, ...] = FIELDS, **row: object) -> str:
    """The text of one item."""
    return make_texts(make_items({"item_id": "1", **row}), fields)[0]


def test_fields_stand_in_the_order_asked_for():
    row = {"title": "The Long Watch", "tags": ["space", "war"], "description": "A crew drifts."}
    assert text_of(**row) == "The Long Watch. space, war. A crew drifts"
    assert text_of(("description", "title"), **row) == "A crew drifts. The Long Watch"


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", ".", " ... ", ". ."])
def test_an_empty_field_leaves_no_trace(blank):
    assert text_of(title="Alone", description=blank) == "Alone"
    assert text_of(title=blank, description="Alone") == "Alone"
    assert text_of(title=blank, description=blank) == ""


@pytest.mark.parametrize(
    ("title", "text"),
    [
        ("Ends. ", "Ends. x"),
        ("Drifts . . .", "Drifts. x"),
        ("Why?", "Why?. x"),
        ("长夜 🎬", "长夜 🎬. x"),
        ("שלום", "שלום. x"),
        ("...and justice", "...and justice. x"),
    ],
)
def test_one_full_stop_stands_between_fields(title, text):
    assert text_of(title=title, description="x") == text


def test_attributes_may_be_missing():
    items = make_items({"item_id": "1", "title": "A", "studio": "North"}, {"item_id": "2", "title": "B"})
    assert make_texts(items, ("title", "studio")).to_list() == ["A. North", "B"]
    assert make_texts(items, ("studio",)).to_list() == ["North", ""]


ITEM = {"title": "Dune", "tags": ["sand", "war"], "author": " F. Herbert. ", "year": "1965", "series": ""}


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        (("title", "by {author}"), "Dune. by F. Herbert"),
        (("{tags} / {year}", "title"), "sand, war / 1965. Dune"),
        # A column alone in a phrase is the column.
        (("{title}", "{tags}."), "Dune. sand, war"),
        (("{title}{year}",), "Dune1965"),
        (("title", "no. {year} of {series}", "{series}"), "Dune"),
        (("{series} {{}}",), ""),
        (("  {title} ({{{year}}})... ",), "Dune ({1965})"),
        (("{{title}} {title}",), "{title} Dune"),
        (("{title} {title} 书",), "Dune Dune 书"),
    ],
)
def test_phrases_around_columns(fields, text):
    assert text_of(fields, **ITEM) == text


@pytest.mark.parametrize("blank", [None, "", " ", "...", "\n."])
def test_a_phrase_is_left_out_where_a_column_of_it_is_empty(blank):
    items = make_items({"item_id": "1", "author": blank}, {"item_id": "2", "author": "Ann"})
    assert make_texts(items, ("title", "by {author}")).to_list() == ["Title of 1", "Title of 2. by Ann"]


@pytest.mark.parametrize("value", ["{title}", "{}", "{0}", "{", "}}", "{author!r:>{year}}", "%s {{x}} \\1 $1"])
def test_braces_in_a_value_are_only_letters(value):
    row = {"title": value, "author": value, "year": "1965"}
    assert text_of(("title", "by {author}, {year}"), **row) == f"{value}. by {value}, 1965"


def test_columns_are_named_once_in_order():
    assert name_columns(("title", "{tags} / {year}", "{{x}} {title} {a b}", "year", "x}")) == [
        *("title", "tags", "year", "a b", "x}"),
    ]


def test_order_is_kept_and_no_items_give_no_texts():
    items = make_items(*"cab")
    assert make_texts(items, ("title",)).to_list() == ["Title of a", "Title of b", "Title of c"]
    assert make_texts(items.clear(), FIELDS).to_list() == []


def test_hashes_are_of_the_utf8_text():
    texts = pl.Series(["", "长夜", "长夜 ", "长夜"])
    hashes = hash_texts(texts).to_list()
    assert hashes[1] == hashlib.sha256("长夜".encode()).hexdigest()
    assert hashes[1] == hashes[3]
    assert len(set(hashes)) == 3
    assert hash_texts(texts.clear()).dtype == pl.String
