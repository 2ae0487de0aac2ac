import hashlib

import polars as pl
import pytest
from worlds import at, make_items

from recsys.text.item_text import ItemTexts, hash_texts, make_texts, name_columns

FIELDS = ("title", "tags", "description")


def text_of(fields: tuple[str, ...] = FIELDS, **row: object) -> str:
    """The text of one item."""
    return make_texts(make_items({"item_id": "1", **row}), fields)[0]


def test_fields_are_in_the_configured_order():
    row = {"title": "The Long Watch", "tags": ["space", "war"], "description": "A crew drifts."}
    assert text_of(**row) == "The Long Watch. space, war. A crew drifts"
    assert text_of(("description", "title"), **row) == "A crew drifts. The Long Watch"


@pytest.mark.parametrize("blank", ["", "  ", "\n\t", ".", " ... ", ". ."])
def test_an_empty_field_is_skipped(blank):
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
def test_fields_are_separated_by_one_full_stop(title, text):
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
        # A phrase of a single column equals the column.
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
def test_a_phrase_with_an_empty_column_is_skipped(blank):
    items = make_items({"item_id": "1", "author": blank}, {"item_id": "2", "author": "Ann"})
    assert make_texts(items, ("title", "by {author}")).to_list() == ["Title of 1", "Title of 2. by Ann"]


@pytest.mark.parametrize("value", ["{title}", "{}", "{0}", "{", "}}", "{author!r:>{year}}", "%s {{x}} \\1 $1"])
def test_braces_in_a_value_are_kept(value):
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


def test_item_texts_are_made_once_and_as_of_any_cutoff():
    items = make_items("a", {"item_id": "b", "created": 3, "tags": ["x", "y"]}, {"item_id": "c", "created": 5})
    texts = ItemTexts.from_items(items, ("title", "tags"))
    assert texts.texts.to_list() == make_texts(items, ("title", "tags")).to_list()
    assert texts.hashes.to_list() == hash_texts(texts.texts).to_list()
    assert texts.hashes is texts.hashes
    assert len(texts) == 3
    # An item added exactly at the cutoff is not known yet.
    assert texts.as_of(at(5)).to_list() == ["Title of a", "Title of b. x, y", ""]
    assert texts.known_at(at(5)).to_list() == [True, True, False]
    assert texts.as_of(None).to_list() == texts.texts.to_list()


def test_item_texts_split_by_field():
    items = make_items("a", {"item_id": "b", "tags": ["x", "y"]})
    texts = ItemTexts.from_items(items, ("title", "by {tags}"))
    assert texts.split_by_field() == [("Title of a", ""), ("Title of b", "by x, y")]
    assert ItemTexts.from_items(items.clear(), FIELDS).split_by_field() == []
