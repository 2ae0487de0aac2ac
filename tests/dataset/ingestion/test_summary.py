import json

import polars as pl
import pytest
from raw_shop import Shop

from recsys.dataset.ingestion.judgement import TableCounts
from recsys.dataset.ingestion.summary import Summary, Texts
from recsys.dataset.languages import count_languages


def test_languages_by_script_and_common_words():
    texts = ["The art of war", "Der Name der Rose", "", "红楼梦", "ノルウェイの森", "Война и мир", "Xyzzy", "12:34"]
    shares = count_languages(pl.Series(texts))
    assert shares == dict.fromkeys(
        (
            *("Chinese", "English", "German", "Japanese", "Latin script, language unclear"),
            *("Russian or another in Cyrillic", "no letters"),
        ),
        round(1 / 7, 4),
    )


def test_rare_languages_and_empty_columns_are_left_out():
    assert count_languages(pl.Series(["the way of it"] * 200 + ["红"])) == {"English": round(200 / 201, 4)}
    assert count_languages(pl.Series(["", ""])) == {}


def test_accents_show_that_texts_without_common_words_are_not_english():
    texts = ["Großer Rucksack Grün", "Wanderschuh Weiß", "Kleiner Kocher", "The Café of the World"]
    shares = count_languages(pl.Series(texts))
    assert shares == {"Latin script, not English": 0.5, "English": 0.25, "Latin script, language unclear": 0.25}


def test_a_summary_comes_back_from_json():
    summary = Summary(
        *(2, 3, 1, 4, {"buy": 4}, 4, None, None, {"title": Texts(1.0, 5, 9)}, {"English": 1.0}),
        rows={"items": TableCounts(5, 3, {"empty_text": 1}, 1, 0, 7, 0, 0, 0)},
        warnings=["odd"],
    )
    assert Summary.from_dict(json.loads(json.dumps(summary.as_dict()))) == summary
    assert summary.lines() == [
        "users: 2; items: 3, 1 of them with interactions",
        "interactions: 4 (4 buy), 4 positive",
        "time: no times",
        "title: 100.0% of the items, median 5 characters, 90 % at most 9",
        "titles by language: English 100%",
        "warning: odd",
        "items: 3 of 5 rows kept; rejected: empty_text 1; repeated rows merged: 1, and 0 that differ in other fields; "
        "excluded by keep_rows: 7",
    ]


@pytest.mark.parametrize(
    ("created", "events", "warning"),
    [
        ("2025-01-03", "1999-01-01", "created_at of 3 of 3 items, such as 2025-01-03, is after the last event"),
        ("1970-01-02", "2025-01-01", "is decades before the first event; events are from 2025-01-01 to 2025-02-01"),
        ("2024-01-03", "2025-01-01", None),
    ],
)
def test_items_that_were_created_far_from_the_events_are_said(tmp_path, monkeypatch, created, events, warning):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    shop = Shop(tmp_path)
    shop.items("item_id,title,at", *(f"{name},{name},{created}" for name in "abc"))
    shop.interactions("user_id,item_id,at", f"u,a,{events}", f"v,b,{events[:5]}02-01")
    read = shop.ingest(items={"columns": {"created_at": "at"}}, columns={"time": "at"})
    assert len(read.summary.warnings) == (warning is not None)
    assert warning is None or warning in read.summary.warnings[0]
