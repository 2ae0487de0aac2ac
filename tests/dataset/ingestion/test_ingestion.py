import gzip
import json
import logging
import os
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from raw_shop import Shop

from recsys.config import DatasetConfig
from recsys.dataset.ingestion import Ingested, ingest, interactions, items
from recsys.dataset.ingestion.judgement import TableCounts
from recsys.dataset.raw.batches import RawBatch
from recsys.errors import ConfigError, DataError


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return Shop(tmp_path.resolve())


@pytest.fixture
def cut_batches(monkeypatch):
    """Makes readers give batches of a few rows."""

    def cut(size: int) -> None:
        for module in (items, interactions):
            monkeypatch.setattr(module, "read_batches", partial(_cut, module.read_batches, size))

    return cut


def _cut(read: Callable[..., Iterator[RawBatch]], size: int, *given: Any, **named: Any) -> Iterator[RawBatch]:
    for batch in read(*given, **named):
        for start in range(0, len(batch.rows), size):
            yield RawBatch(
                batch.values[start : start + size],
                batch.file,
                batch.rows[start : start + size],
                lambda chosen, start=start, batch=batch: batch.locate(chosen + start),
                lambda chosen, start=start, batch=batch: batch.content(chosen + start),
            )


def rules(result: Ingested) -> list[tuple[str, int, str]]:
    return result.rejected.select("table", "row", "rule").rows()


# --- items ---------------------------------------------------------------------------------------------------


def test_items_are_clean_sorted_and_complete(shop):
    records = [
        {"id": "é", "t": "<b>Z</b>", "meta": {"authors": ["Ann", "Bo"]}, "tags": ["x", " x", ""], "ok": 0},
        {"id": 10, "t": None, "d": "only &amp; text", "tags": "p|q", "ok": "Yes", "born": "2025-01-01T10:00+01:00"},
        {"id": 9, "t": "nine", "born": 1735900000, "meta": {"authors": "Cy", "year": 2008.0}},
    ]
    (shop.folder / "items.jsonl").write_text("\n".join(map(json.dumps, records)))
    shop.interactions("user_id,item_id", "u,9")
    columns = {
        "item_id": "id",
        "title": "t",
        "description": "d",
        "tags": "tags",
        "available": "ok",
        "created_at": "born",
    }
    result = shop.ingest(
        items={
            "path": "items.jsonl",
            "columns": columns,
            "tags_separator": "|",
            "attributes": {"rule": "meta.year", "authors": "meta.authors"},
        }
    )
    expected = {
        "item_id": ["10", "9", "é"],
        "title": ["", "nine", "Z"],
        "description": ["only & text", "", ""],
        "tags": [["p", "q"], [], ["x"]],
        "available": [True, True, False],
        "created_at": [datetime(2025, 1, 1, 9, tzinfo=UTC), datetime(2025, 1, 3, 10, 26, 40, tzinfo=UTC), None],
        "rule": ["", "2008", ""],
        "authors": ["", "Cy", "Ann, Bo"],
    }
    assert result.items.columns == list(expected)
    assert result.items.to_dict(as_series=False) == expected
    assert result.counts == {"items": TableCounts(3, 3, {}), "interactions": TableCounts(1, 1, {})}


def test_each_item_rule_and_the_first_one_broken_counts(shop):
    shop.items(
        "item_id,title,ok,born",
        "a,A,1,2025-01-01",
        ",,perhaps,x",
        "b, <br> ,perhaps,x",
        "c,C,perhaps,x",
        "d,D,,x",
        "a,again,1,",
        "b,the first good b,,",
    )
    shop.interactions("user_id,item_id", "u,a", "u,b")
    result = shop.ingest(items={"columns": {"available": "ok", "created_at": "born"}})
    assert rules(result) == [
        ("items", 2, "missing_item_id"),
        ("items", 3, "empty_text"),
        ("items", 4, "bad_available"),
        ("items", 5, "bad_created_at"),
    ]
    assert result.items["title"].to_list() == ["A", "the first good b"]
    row = result.rejected.row(3, named=True)
    assert row["file"] == "items.csv"
    assert json.loads(row["content"]) == {"item_id": "d", "title": "D", "ok": "", "born": "x"}


@pytest.mark.parametrize("first", ["12.0", "guest"])
def test_odd_id_of_one_row_does_not_change_the_spelling_of_others(shop, first):
    shop.items("item_id,title", "7.0,A", "x,B")
    shop.interactions("user_id,item_id", f"{first},7", "12.0,7.00", " 13 ,x", "014,7.0")
    result = shop.ingest(share=0.5, repeats=True)
    expected = {first.removesuffix(".0"), "12", "13", "014"}
    assert set(result.interactions["user_id"]) == expected
    assert set(result.interactions["item_id"]) == {"7", "x"}


def test_ids_with_control_characters_and_rounded_ids_break_rules_of_their_own(shop):
    shop.items("item_id,title", "a,A", '"b\nc",B', "1.2345678901234568e+18,C")
    shop.interactions("user_id,item_id", "u,a", '"u\tv",a', 'u,"b\nc"', "1.2345678901234568e+18,a", "u,1e+19")
    result = shop.ingest()
    assert rules(result) == [
        ("items", 2, "unprintable_item_id"),
        ("items", 3, "rounded_item_id"),
        ("interactions", 2, "unprintable_user_id"),
        ("interactions", 3, "unprintable_item_id"),
        ("interactions", 4, "rounded_user_id"),
        ("interactions", 5, "rounded_item_id"),
    ]


def test_earliest_time_itself_is_early_enough(shop):
    shop.interactions(
        "user_id,item_id,at", "u,a,1990-01-01T00:00:00", "u,b,1989-12-31T23:59:59.999999", "u,c,1990-01-02"
    )
    result = shop.ingest(columns={"time": "at"}, earliest_time="1990-01-01T00:00:00Z")
    assert result.interactions["item_id"].to_list() == ["a", "c"]
    assert rules(result) == [("interactions", 2, "early_time")]
    # The instant counts, not its zone.
    result = shop.ingest(columns={"time": "at"}, earliest_time="1990-01-01T01:00:00+01:00")
    assert result.interactions["item_id"].to_list() == ["a", "c"]


def test_latest_time_is_a_day_after_now(shop):
    shop.interactions("user_id,item_id,at", "u,a,2025-06-02T00:00:00", "u,b,2025-06-02T00:00:00.000001")
    result = shop.ingest(columns={"time": "at"})
    assert result.interactions["item_id"].to_list() == ["a"]
    assert rules(result) == [("interactions", 2, "future_time")]


# --- interactions ----------------------------------------------------------------------------------------------


def test_each_interaction_rule_and_the_first_one_broken_counts(shop):
    good = "u,a,2025-01-02,view,4"
    shop.interactions(
        "user_id,item_id,at,kind,stars",
        good,
        ",,x,?,y",
        "u, ,x,?,y",
        "u,zzz,x,?,y",
        "u,zzz,1980-01-01,?,y",
        "u,zzz,2025-06-03,?,y",
        "u,zzz,2025-01-02,?,y",
        "u,a,2025-01-02,?,y",
        "u,a,2025-01-02,,4",
        "u,a,2025-01-02,view,inf",
        "u,a,2025-01-02,view,1e99",
        good,
        "u,a,2025-01-03,view,5",
        "u,a,2025-06-02,view,NULL",
        "u,a,,view,",
    )
    result = shop.ingest(
        columns={"time": "at", "event": "kind", "value": "stars"},
        event_weights={"view": 0.5},
        earliest_time="1990-01-01T00:00:00Z",
    )
    assert [(row, rule) for _, row, rule in rules(result)] == [
        (2, "missing_user_id"),
        (3, "missing_item_id"),
        (4, "bad_time"),
        (5, "early_time"),
        (6, "future_time"),
        (7, "unknown_item"),
        (8, "unknown_event"),
        (9, "missing_event"),
        (10, "bad_value"),
        (11, "bad_value"),
        (15, "missing_time"),
    ]
    assert result.counts["interactions"].kept == 3
    assert result.counts["interactions"].repeats == 1
    assert result.counts["interactions"].rejected["bad_value"] == 2
    assert result.interactions["value"].to_list() == [4.0, 5.0, None]
    assert result.interactions["weight"].to_list() == [0.5] * 3


@pytest.mark.parametrize("size", [1, 2, 5])
def test_rows_are_judged_alike_in_batches_of_any_size(shop, cut_batches, size):
    shop.items("item_id,title", "a,A", "b,B", ",C", "a,A", "c,C", "a,other")
    shop.interactions(
        "user_id,item_id,at,stars",
        *("7.0,a,2025-01-01,4", "8,b,2025-01-01,", ",a,2025-01-01,1", "7,a,2025-01-01,4.0", "8,b,2025-01-02,"),
        *("9,c,2025-01-01T01:00+01:00,x", "8,b,2025-01-01,", "9,c,2025-01-01,", "7,c,soon,3", "7.0,a,2025-01-01,5"),
    )
    given = {"columns": {"time": "at", "value": "stars"}}
    whole = shop.ingest(**given)
    cut_batches(size)
    parts = shop.ingest(**given)
    for table in ("items", "interactions", "rejected"):
        assert_frame_equal(getattr(parts, table), getattr(whole, table))
    assert parts.counts == whole.counts
    assert parts.summary == whole.summary
    assert rules(whole) == [
        ("items", 3, "missing_item_id"),
        ("interactions", 3, "missing_user_id"),
        ("interactions", 6, "bad_value"),
        ("interactions", 9, "bad_time"),
    ]
    items, interactions = whole.counts["items"], whole.counts["interactions"]
    assert (items.repeats, items.differing, items.kept) == (1, 1, 3)
    assert (interactions.repeats, interactions.differing, interactions.kept) == (2, 1, 4)


def test_rows_sort_by_time_within_users_and_ties_keep_the_file_order(shop):
    shop.interactions("user_id,item_id,at", "v,a,30", "u,c,20", "u,b,10", "u,a,20", "v,b,30")
    result = shop.ingest(columns={"time": "at"}, time_format="seconds")
    assert result.interactions.select("user_id", "item_id", "step").rows() == [
        ("u", "b", 0),
        ("u", "c", 1),
        ("u", "a", 2),
        ("v", "a", 0),
        ("v", "b", 1),
    ]
    assert result.interactions["time"].dt.timestamp("ms").to_list() == [10_000, 20_000, 20_000, 30_000, 30_000]


def test_many_rows_of_one_instant_keep_the_file_order(shop):
    wanted = [f"i{n * 7919 % 5000:04}" for n in range(5000)]
    shop.items("item_id,title", *(f"{item},T" for item in wanted))
    shop.interactions("user_id,item_id,at", *(f"u,{item},7" for item in wanted))
    result = shop.ingest(columns={"time": "at"}, time_format="seconds")
    assert result.interactions["item_id"].to_list() == wanted
    assert result.interactions["step"].to_list() == list(range(5000))


def test_order_column_sorts_by_number_however_large(shop):
    shop.interactions(
        "user_id,item_id,pos",
        "u,a,9007199254740993",
        "u,b,9007199254740992",
        "u,c,10",
        "u,a,9.5",
        "u,b,first",
        "u,c,",
        "u,c,10",
    )
    result = shop.ingest(columns={"order": "pos"})
    assert result.interactions["item_id"].to_list() == ["a", "c", "b", "a"]
    assert result.interactions["time"].null_count() == 4
    assert rules(result) == [
        ("interactions", 5, "bad_order"),
        ("interactions", 6, "missing_order"),
    ]
    assert result.counts["interactions"].repeats == 1


def test_without_time_and_order_repeats_stay_where_they_are_real(shop):
    shop.interactions("user_id,item_id", "u,a", "u,a", "u,b")
    assert shop.ingest(repeats=True).interactions["item_id"].to_list() == ["a", "a", "b"]


def test_a_low_value_is_taken_but_not_predicted_and_a_view_is_neither(shop):
    shop.interactions("user_id,item_id,kind,stars", "u,a,rate,5", "u,b,rate,1", "u,c,view,")
    result = shop.ingest(
        columns={"event": "kind", "value": "stars"},
        event_weights={"rate": 1.0, "view": 0.5},
        positive_events=["rate"],
        positive_value=4,
    )
    assert result.interactions.sort("item_id").select("item_id", "consumed", "positive").rows() == [
        ("a", True, True),
        ("b", True, False),
        ("c", False, False),
    ]


def test_without_time_and_order_there_are_no_positions_and_values_do_not_make_rows_distinct(shop):
    shop.interactions("user_id,item_id,kind,stars", "u,b,rate,5", "u,a,rate,1", "u,b,save,", "u,b,rate,4")
    result = shop.ingest(
        columns={"event": "kind", "value": "stars"},
        event_weights={"rate": 1.0, "save": 0.5},
        positive_value=4,
    )
    assert result.interactions.select("item_id", "event", "step", "positive").rows() == [
        ("b", "rate", 0, True),
        ("a", "rate", 0, False),
        ("b", "save", 0, True),
    ]
    counts = result.counts["interactions"]
    assert (counts.repeats, counts.differing, rules(result)) == (0, 1, [])


def test_places_are_whole_numbers_from_one_on_or_blank(shop):
    rows = ["u,a,1", "u,b,", "u,c,2.0", "v,a,0", "v,b,1.5", "v,c,first", "w,a,70000", "w,b,65535", "w,c,-1"]
    shop.interactions("user_id,item_id,slot", *rows)
    result = shop.ingest(columns={"position": "slot"})
    assert result.interactions.sort("user_id", "item_id")["position"].to_list() == [1, None, 2, 65535]
    assert result.interactions.schema["position"] == pl.UInt16
    assert rules(result) == [("interactions", row, "bad_position") for row in (4, 5, 6, 7, 9)]


def test_positive_needs_the_event_and_the_value(shop):
    shop.interactions("user_id,item_id,kind,stars", "u,a,buy,4.1", "u,b,buy,4", "u,c,view,5", "v,a,buy,", "v,b,view,")
    result = shop.ingest(
        columns={"event": "kind", "value": "stars"},
        event_weights={"buy": 2.0, "view": 0.1},
        positive_events=["buy"],
        # As Float32 4.1 would be a little less.
        positive_value=4.1,
    )
    assert result.interactions["positive"].to_list() == [True, False, False, True, False]


def test_time_zone_of_the_config_holds_for_times_without_one(shop):
    shop.interactions("user_id,item_id,at", "u,a,2025-03-30 01:30", "u,b,2025-03-30 02:30", "u,c,2025-03-30T02:30Z")
    result = shop.ingest(columns={"time": "at"}, time_zone="Europe/Berlin")
    assert result.interactions["time"].dt.to_string("%F %R").to_list() == ["2025-03-30 00:30", "2025-03-30 02:30"]
    assert rules(result) == [("interactions", 2, "bad_time")]
    with pytest.raises(ConfigError, match=r"time_zone: no zone 'Mars/Olympus'; expected a name such as UTC"):
        shop.ingest(time_zone="Mars/Olympus")


def test_now_needs_a_zone(shop):
    config = DatasetConfig.model_validate({"items": {"path": "items.csv"}, "interactions": {"path": "log.csv"}})
    with pytest.raises(DataError, match="without a time zone"):
        ingest(config, now=datetime.fromisoformat("2025-01-01"))


# --- pandas, formats, repeatability --------------------------------------------------------------------------


def test_float_ids_of_pandas_meet_the_integers_of_the_other_table(shop):
    pd.DataFrame({"item_id": [12, 13], "title": ["A", "B"]}).to_parquet(shop.folder / "items.parquet")
    log = pd.DataFrame({"user_id": [7, 8, 9], "item_id": [12, None, 13], "at": pd.to_datetime(["2025-01-01"] * 3)})
    log.to_csv(shop.folder / "log.csv")
    from_csv = shop.ingest(items={"path": "items.parquet"}, columns={"time": "at"})
    log.index = pd.Index([5, 6, 7])
    log.to_parquet(shop.folder / "log.parquet")
    from_parquet = shop.ingest(items={"path": "items.parquet"}, path="log.parquet", columns={"time": "at"})
    assert from_csv.interactions["item_id"].to_list() == ["12", "13"]
    assert rules(from_csv) == rules(from_parquet) == [("interactions", 2, "missing_item_id")]
    assert_frame_equal(from_csv.interactions, from_parquet.interactions)
    assert json.loads(from_parquet.rejected["content"][0])["__index_level_0__"] == 6


def test_rows_are_numbered_in_their_own_file(shop):
    for name, lines in {"b": ["v,zzz", "v,b"], "a": ["u,a", "u,zzz"]}.items():
        (shop.folder / "log").mkdir(exist_ok=True)
        packed = gzip.compress("\n".join(["user_id,item_id", *lines]).encode())
        (shop.folder / f"log/{name}.csv.gz").write_bytes(packed)
    result = shop.ingest(path="log")
    assert result.rejected.select("file", "row", "rule").rows() == [
        ("log/a.csv.gz", 2, "unknown_item"),
        ("log/b.csv.gz", 1, "unknown_item"),
    ]
    assert [json.loads(text) for text in result.rejected["content"]] == [
        {"user_id": "u", "item_id": "zzz"},
        {"user_id": "v", "item_id": "zzz"},
    ]
    again = shop.ingest(path="log/*.csv.gz")
    for name in ("items", "interactions", "rejected"):
        assert_frame_equal(getattr(result, name), getattr(again, name))


# --- too many, too few -----------------------------------------------------------------------------------------


def test_too_many_rejected_rows_stop_with_counts_values_and_lines(shop, caplog):
    shop.interactions("user_id,item_id", "u,a", "u,x", ",a", "u,y", "u,x", "u,b")
    with caplog.at_level(logging.INFO), pytest.raises(DataError) as caught:
        shop.ingest(max_rejected={"unknown_item": 0.4})
    assert str(caught.value) == (
        "interactions: 3 of 6 rows rejected (50.0%), expected at most 40.0%: unknown_item 3, such as 'x' in log.csv "
        "line 3, 'y' in log.csv line 5; fix the rows or dataset.interactions in the config, or allow more with "
        "dataset.interactions.max_rejected: {unknown_item: 0.51}"
    )
    caplog.clear()
    with caplog.at_level(logging.INFO):
        assert shop.ingest(max_rejected={"unknown_item": 0.5}).counts["interactions"].kept == 2
    assert [record.getMessage() for record in caplog.records] == [
        "items: 3 rows read, 3 good, 0 rejected",
        "interactions: 6 rows read, 2 good, 4 rejected: unknown_item 3, missing_user_id 1",
    ]


def test_rules_without_a_limit_of_their_own_share_one(shop):
    rows = [*(f"u{n},a,4,1" for n in range(8)), "u,a,four,1", "u,a,4,first"]
    shop.interactions("user_id,item_id,stars,slot", *rows)
    columns = {"value": "stars", "position": "slot"}
    message = (
        r"2 of 10 rows rejected \(20.0%\), expected at most 15.0%: bad_position 1, .*; bad_value 1, .*\{total: 0.21\}"
    )
    with pytest.raises(DataError, match=message):
        shop.ingest(columns=columns, max_rejected=0.15)
    assert shop.ingest(columns=columns, max_rejected={"total": 0.1, "bad_value": 0.1}).counts["interactions"].kept == 8


def test_limits_are_of_each_table_alone(shop):
    shop.items("item_id,title", "a,A", "b,")
    shop.interactions("user_id,item_id", *(f"u{n},a" for n in range(99)))
    with pytest.raises(DataError, match=r"items: 1 of 2 rows rejected .* empty_text 1, such as items.csv line 3;"):
        shop.ingest(items={"max_rejected": 0.05})
    assert shop.ingest(items={"max_rejected": {"empty_text": 0.5}}).counts["items"].kept == 1


def test_no_row_left_stops_whatever_the_limits_and_names_none(shop):
    shop.interactions("user_id,item_id", "u,zzz")
    message = "no rows of interactions are left: unknown_item 1, such as 'zzz' in log.csv line 2; fix the rows or"
    with pytest.raises(DataError, match=message) as caught:
        shop.ingest(share=1.0)
    assert "max_rejected" not in str(caught.value)


def test_missing_column_names_the_section_to_mend(shop):
    shop.interactions("user,item_id", "u,a")
    with pytest.raises(DataError, match=r"log.csv: no column 'user_id'; found 'user', 'item_id'; .*interactions"):
        shop.ingest()


def test_a_list_is_no_id(shop):
    pl.DataFrame({"user_id": [["u"]], "item_id": ["a"]}).write_parquet(shop.folder / "log.parquet")
    with pytest.raises(
        DataError, match=r"column 'user_id' contains lists, .*dataset.interactions.unfold: \{column: user_id\}"
    ):
        shop.ingest(path="log.parquet")


@pytest.mark.parametrize("suffix", ["csv", "jsonl"])
def test_a_list_written_as_text_is_no_id(shop, suffix):
    ids = ["[REC]", '["a", "b"]', "['a']", "[7, 8]", "[[1]]", "[]", '{"id": "a"}', "{3F25-04E0}", "[7] x"]
    frame = pl.DataFrame({"item_id": ids, "title": "T"})
    log = pl.DataFrame({"user_id": ids, "item_id": "[REC]"})
    for name, table in (("items", frame), ("log", log)):
        path = shop.folder / f"{name}.{suffix}"
        if suffix == "csv":
            table.write_csv(path)
        else:
            # Lists and objects themselves where the text is JSON.
            rows = [{key: as_json(value) for key, value in row.items()} for row in table.rows(named=True)]
            path.write_text("\n".join(map(json.dumps, rows)), "utf-8")
    result = shop.ingest(items={"path": f"items.{suffix}"}, path=f"log.{suffix}")
    assert sorted(result.items["item_id"]) == ["[7] x", "[REC]", "{3F25-04E0}"]
    assert sorted(result.interactions["user_id"]) == ["[7] x", "[REC]", "{3F25-04E0}"]
    assert {rule for _, _, rule in rules(result)} == {"list_item_id", "list_user_id"}
    message = (
        r"list_item_id 6, such as '\[\"a\", \"b\"\]' in .*expected a single id per row; split the ids into rows with "
        r"dataset\.items\.unfold: \{column: item_id\} and dataset\.items\.columns\.item_id: item_id"
    )
    with pytest.raises(DataError, match=message):
        shop.ingest(share=0, items={"path": f"items.{suffix}"}, path=f"log.{suffix}")


def as_json(text: str) -> object:
    try:
        return json.loads(text)
    except ValueError:
        return text


# --- real data -----------------------------------------------------------------------------------------------

DATA = Path(os.environ.get("RECSYS_TEST_DATA") or Path(__file__).parents[4] / "shared/data")
REAL_SETS = {
    # name: (items kept, interactions kept, rejected, further interaction settings)
    "online_retail": (
        3_659,
        386_278,
        {},
        {
            "columns": {"user_id": "user", "item_id": "item", "time": "ts", "value": "quantity"},
            "time_format": "seconds",
        },
    ),
    "ifdb": (
        6_103,
        59_859,
        {"early_time": 1_288},
        {
            "columns": {"user_id": "user", "item_id": "item", "time": "ts"},
            "time_format": "seconds",
            "earliest_time": "1990-01-01T00:00:00Z",
        },
    ),
}


@pytest.mark.realdata
@pytest.mark.parametrize("name", REAL_SETS)
def test_real_sets(name, monkeypatch):
    if not (DATA / name).is_dir():
        pytest.skip(f"no {name} in the real data")
    monkeypatch.setenv("RECSYS_DATA", str(DATA / name))
    n_items, n_interactions, rejected, settings = REAL_SETS[name]
    columns = {"item_id": "id", "description": "text", "tags": "meta.tags" if name == "ifdb" else None}
    items = {"path": "items.jsonl.gz", "columns": columns}
    interactions = {"path": "interactions.tsv.gz", **settings}
    config = DatasetConfig.model_validate({"items": items, "interactions": interactions})
    result = ingest(config, now=datetime(2027, 1, 1, tzinfo=UTC))
    assert (result.items.height, result.interactions.height) == (n_items, n_interactions)
    assert result.counts["interactions"].rejected == rejected
    assert result.interactions["user_id"].is_sorted()
    assert result.interactions.select((pl.col("step") == 0).sum() == pl.col("user_id").n_unique()).item()
