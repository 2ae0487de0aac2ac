"""Messages about raw rows: the values, where they are, the form expected, and the setting that would read them."""

import json
import logging
import re

import polars as pl
import pytest
import yaml
from raw_shop import Shop

from recsys.config import InteractionFiles
from recsys.config.dataset import ItemFiles
from recsys.dataset.ingestion import interactions, items
from recsys.errors import DataError


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return Shop(tmp_path.resolve())


def refuse(shop: Shop, *parts: str, **given: object) -> str:
    with pytest.raises(DataError) as caught:
        shop.ingest(**{"share": 0.0, **given})
    for part in parts:
        assert part in str(caught.value), str(caught.value)
    return str(caught.value)


def test_other_date_form_is_named_with_a_value_that_decides(shop):
    shop.interactions("user_id,item_id,at", "u,a,01-01-2021", "u,b,05-02-2021", "u,c,27-04-2021")
    refuse(
        shop,
        "no rows of interactions are left: bad_time 3, such as '01-01-2021' in log.csv line 2, '05-02-2021' in log.csv",
        "time_format date expects YYYY-MM-DD; '27-04-2021' can be read with time_format: '%d-%m-%Y'",
        columns={"time": "at"},
        time_format="date",
    )


@pytest.mark.parametrize(
    ("given", "factor", "fitting"),
    [("milliseconds", 1, "seconds"), ("microseconds", 1000, "milliseconds"), ("seconds", 1000, "milliseconds")],
)
def test_unit_that_cannot_be_right_is_refused_with_the_one_that_fits(shop, given, factor, fitting):
    shop.interactions("user_id,item_id,at", *(f"u{n},a,{(1609459200 + n * 86400) * factor}" for n in range(50)))
    message = refuse(shop, "2021-01-01 ... 2021-02-19", share=1.0, columns={"time": "at"}, time_format=given)
    assert re.search(f"time_format:? (to )?'?{fitting}", message)


def test_days_of_a_spreadsheet_read_as_seconds_are_refused(shop):
    shop.interactions("user_id,item_id,at", *(f"u,{item},{44197 + n}.5" for n, item in enumerate("abc")))
    given = {"columns": {"time": "at"}, "time_format": "seconds"}
    refuse(shop, "3 of 3 values of time are implausible", "set dataset.interactions.time_format to 'days'", **given)
    # Times that no unit explains may be counters.
    shop.interactions("user_id,item_id,at", "u,a,1", "u,b,2")
    assert shop.ingest(**given).interactions.height == 2


@pytest.mark.parametrize(
    ("given", "values", "fitting"),
    [
        ("seconds", ("20210101", "20210819", "20220301"), "compact"),
        ("milliseconds", ("1609459200", "1612137600", "1614556800"), "seconds"),
        ("days", ("1995", "2003", "2021"), "%Y"),
    ],
)
def test_creation_times_in_another_unit_are_refused_with_the_one_that_fits(shop, given, values, fitting):
    shop.items("item_id,title,born", *(f"{item},T,{value}" for item, value in zip("abc", values, strict=True)))
    shop.interactions("user_id,item_id,at", "u,a,2022-05-01", "u,b,2022-05-02")
    files = {"columns": {"created_at": "born"}, "time_format": given}
    message = refuse(
        shop, "items: 3 of 3 values of created_at are implausible", items=files, columns={"time": "at"}, share=1.0
    )
    assert f"set dataset.items.time_format to '{fitting}'" in message
    read = shop.ingest(items={**files, "time_format": fitting}, columns={"time": "at"})
    assert read.items["created_at"].dt.year().is_between(1995, 2022).all()


def test_time_format_is_detected_once_and_logged(shop, caplog):
    shop.interactions("user_id,item_id,at", "u,a,01/02/2021", "u,b,13/02/2021", "u,c,2021-03-01")
    with caplog.at_level(logging.INFO):
        result = shop.ingest(columns={"time": "at"})
    assert result.interactions["time"].dt.to_string("%F").to_list() == ["2021-02-01", "2021-02-13"]
    assert result.counts["interactions"].rejected == {"bad_time": 1}
    assert "time is read with time_format %d/%m/%Y" in caplog.text


def test_day_and_month_that_cannot_be_told_apart_are_asked_for(shop):
    shop.interactions("user_id,item_id,at", "u,a,01/02/2021", "u,b,12/02/2021")
    parts = ("'01/02/2021' is ambiguous, and no value decides", "'%d/%m/%Y' (2021-02-01) or '%m/%d/%Y' (2021-01-02)")
    refuse(shop, *parts, columns={"time": "at"})


def test_decimal_commas_are_read_or_explained(shop, caplog):
    shop.interactions("user_id;item_id;stars".replace(";", ","), 'u,a,"4,5"', 'u,b,"3,0"', "u,c,2")
    with caplog.at_level(logging.INFO):
        assert shop.ingest(columns={"value": "stars"}).interactions["value"].to_list() == [4.5, 3.0, 2.0]
    assert "value are read with a decimal comma" in caplog.text
    refuse(shop, "'4,5' can be read with decimal: ','", columns={"value": "stars"}, decimal=".")


def test_blank_cells_are_missing_and_not_unknown(shop):
    shop.interactions("user_id,item_id,kind", "u,a,buy", "u,b,", "u,c,")
    message = refuse(
        shop,
        "missing_event 2, such as log.csv line 3",
        "fill_down",
        columns={"event": "kind"},
        event_weights={"buy": 1},
    )
    assert "unknown" not in message


def test_unknown_kinds_show_the_known_ones(shop):
    shop.interactions("user_id,item_id,kind", "u,a,buy", "u,b,look")
    parts = ("unknown_event 1, such as 'look' in log.csv line 3", "event_weights has buy; add the kinds to use")
    refuse(shop, *parts, columns={"event": "kind"}, event_weights={"buy": 1})


@pytest.mark.parametrize(
    ("cell", "advice"),
    [
        ("a b c", "unfold: {column: things} and dataset.interactions.columns.item_id: things)"),
        ('"[""a"", ""b"", ""c""]"', "unfold: {column: things} and dataset.interactions.columns.item_id: things)"),
        ("\"['a', 'b', 'c', 'gone']\"", "unfold: {column: things} and dataset.interactions.columns.item_id: things)"),
        ("a|b|c", "unfold: {column: things, separator: '|'} and dataset.interactions.columns.item_id: things)"),
        ('"a, b,c"', "unfold: {column: things, separator: ','} and dataset.interactions.columns.item_id: things)"),
        (
            '"[{""n"": 1, ""sku"": ""a""}, {""n"": 2, ""sku"": ""b""}, {""n"": 1, ""sku"": ""c""}]"',
            "unfold: {column: things} and dataset.interactions.columns.item_id: things.sku)",
        ),
        (
            "a-1 b-0 c-0",
            "unfold: {column: things, pattern: '(?P<item>.+)-(?P<outcome>[01])'} and "
            "dataset.interactions.columns.item_id: things.item)",
        ),
    ],
)
def test_cells_with_several_ids_are_to_be_unfolded(shop, cell, advice):
    shop.interactions("user_id,things", f"u,{cell}", f"v,{cell}")
    message = refuse(shop, "contains several ids; split them into rows with ", columns={"item_id": "things"})
    assert advice in message
    # The advice reads the file.
    found = re.search(r"\.unfold: (.*) and dataset\.interactions\.columns\.item_id: (.*?)\);", message)
    assert found is not None
    unfold, item = found.groups()
    read = shop.ingest(unfold=yaml.safe_load(unfold), columns={"item_id": yaml.safe_load(item)})
    assert read.interactions.select("user_id", "item_id").rows() == [(user, one) for user in "uv" for one in "abc"]


def test_nearly_known_ids_are_named(shop):
    shop.items("item_id,title", "7,A")
    shop.interactions("user_id,item_id", "u,007", "v,8")
    refuse(shop, "'007' is unknown but '7' is not: leading zeros")


def test_parquet_has_rows_and_no_lines(shop):
    pl.DataFrame({"user_id": ["u", "v"], "item_id": ["a", "x"]}).write_parquet(shop.folder / "log.parquet")
    refuse(shop, "unknown_item 1, such as 'x' in log.parquet row 2", path="log.parquet")


def test_words_of_the_config_are_missing_values(shop):
    shop.interactions("user_id,item_id,stars,at", "0,a,4,2021-01-01", "u,a,0,2021-01-01", "u,b,3,never")
    columns = {"value": "stars", "time": "at"}
    missing = {"user_id": ["0"], "value": ["0"], "time": ["never"]}
    result = shop.ingest(columns=columns, missing=missing)
    assert result.counts["interactions"].rejected == {"missing_time": 1, "missing_user_id": 1}
    assert result.interactions["value"].to_list() == [None]


# --- repeats, returns, meaning -------------------------------------------------------------------------------


@pytest.mark.parametrize(("keep", "title", "value"), [("first", "one", 4.0), ("last", "two", 5.0)])
def test_keep_decides_where_repeats_differ(shop, keep, title, value):
    shop.items("item_id,title", "a,one", "a,one", "a,two")
    shop.interactions("user_id,item_id,at,stars", "u,a,2021-01-01,4", "u,a,2021-01-01,4", "u,a,2021-01-01,5")
    result = shop.ingest(items={"keep": keep}, keep=keep, columns={"time": "at", "value": "stars"})
    assert result.items["title"].to_list() == [title]
    assert result.interactions["value"].to_list() == [value]
    for counts in result.counts.values():
        assert (counts.kept, counts.rejected) == (1, {})
        assert (counts.repeats, counts.differing) == ((1, 1) if keep == "first" else (0, 2))


def test_returns_take_purchases_back_unless_values_are_ratings(shop):
    lines = ["u,a,2021-01-01,2", "u,b,2021-01-01,1", "u,a,2021-01-03,-2", "u,c,2021-01-04,-1", "u,b,2021-01-02,"]
    shop.interactions("user_id,item_id,at,n", *lines)
    columns = {"time": "at", "value": "n"}
    result = shop.ingest(columns=columns)
    assert result.interactions.select("item_id", "step", "value").rows() == [("b", 0, 1.0), ("b", 1, None)]
    counts = result.counts["interactions"]
    assert (counts.returns, counts.taken_back, counts.lone_returns, counts.kept) == (2, 1, 1, 2)
    assert shop.ingest(columns=columns, positive_value=1).interactions.height == 5
    assert shop.ingest(columns=columns, negative_values="keep").interactions.height == 5


def test_return_of_the_same_instant_follows_the_purchase(shop):
    shop.interactions("user_id,item_id,at,n", "u,a,2021-01-01,-1", "u,a,2021-01-01,1", "u,b,2021-01-01,1")
    result = shop.ingest(columns={"time": "at", "value": "n"})
    assert result.interactions["item_id"].to_list() == ["b"]


def test_nothing_left_after_returns_is_an_error(shop):
    shop.interactions("user_id,item_id,n", "u,a,-1", "u,a,1")
    refuse(shop, "no interactions are left: returns (negative values) cancelled all events", columns={"value": "n"})


@pytest.mark.parametrize(
    ("value_weight", "expected"),
    [("none", [2.0, 2.0, 2.0]), ("linear", [6.0, 1.0, 2.0]), ("log1p", [2.772588, 0.81093, 1.386294])],
)
def test_values_weigh(shop, value_weight, expected):
    shop.interactions("user_id,item_id,at,n", "u,a,2021-01-01,3", "u,b,2021-01-02,0.5", "u,c,2021-01-03,")
    result = shop.ingest(columns={"time": "at", "value": "n"}, event_weights={"buy": 2.0}, value_weight=value_weight)
    assert result.interactions["weight"].to_list() == pytest.approx(expected, rel=1e-5)


def test_values_of_zero_have_no_weight(shop):
    shop.interactions("user_id,item_id,hours", "u,a,3", "u,b,0")
    result = shop.ingest(columns={"value": "hours"}, value_weight="linear")
    assert result.counts["interactions"].rejected == {"zero_value": 1}
    assert shop.ingest(columns={"value": "hours"}).counts["interactions"].rejected == {}


def test_owned_items_are_consumed_and_not_predicted(shop):
    shop.interactions("user_id,item_id,shelf", "u,a,read", "u,b,to-read", "u,c,seen")
    result = shop.ingest(
        columns={"event": "shelf"},
        event_weights={"read": 1.0, "to-read": 0.5, "seen": 0.2},
        owned_events=["to-read"],
        positive_events=["read"],
    )
    assert result.interactions.select("item_id", "consumed", "positive").rows() == [
        ("a", True, True),
        ("b", True, False),
        ("c", False, False),
    ]
    # Without positive_events all kinds but the owned ones are positive.
    result = shop.ingest(
        columns={"event": "shelf"}, event_weights={"read": 1, "to-read": 1, "seen": 1}, owned_events=["to-read"]
    )
    assert result.interactions["positive"].to_list() == [True, False, True]


def test_summary_tells_what_was_read(shop):
    shop.items("item_id,title,text", "a,The one,<p>Words</p>", "b,The one,", "c,The one,", "d,Other,")
    shop.interactions(
        "user_id,item_id,at,kind", "u,a,2021-01-02,buy", "v,a,2021-03-04T05:06:07Z,look", "u,b,2021-01-03,look"
    )
    result = shop.ingest(
        items={"columns": {"description": "text"}},
        columns={"time": "at", "event": "kind"},
        event_weights={"buy": 1, "look": 1},
        positive_events=["buy"],
    )
    summary = result.summary
    assert (summary.users, summary.items, summary.items_with_interactions, summary.interactions) == (2, 4, 2, 3)
    assert (summary.events, summary.positive) == ({"look": 2, "buy": 1}, 1)
    assert (summary.first_time, summary.last_time) == ("2021-01-02T00:00:00+00:00", "2021-03-04T05:06:07+00:00")
    assert (summary.texts["description"].share, summary.texts["description"].median_length) == (0.25, 5)
    assert summary.languages["English"] == 0.75
    assert summary.warnings == [
        "3 of 4 titles are 'The one', so texts cannot distinguish these items; is title the right column?"
    ]
    assert json.loads(json.dumps(summary.as_dict()))["rows"]["items"]["kept"] == 4
    assert summary.lines()[-2:] == [
        "items: 4 of 4 rows kept; rejected: none",
        "interactions: 3 of 3 rows kept; rejected: none",
    ]


def test_unknown_rules_are_named(shop):
    with pytest.raises(ValueError, match=r"no rule 'unknwn_item'; expected total, forgotten, missing_.*, unknown_item"):
        shop.config(max_rejected={"unknwn_item": 0.1})


def test_rules_of_the_config_are_those_that_are_checked():
    for files, module in ((ItemFiles, items), (InteractionFiles, interactions)):
        described = re.sub(r"(?s)\(.*?\)", "", str(module.__doc__).partition(":")[2])
        assert re.findall(r"[a-z_]+", described) == list(files.rules)


def test_values_are_shown_without_characters_that_disturb_a_line(shop):
    shop.interactions("user_id,item_id", "u\x00x,a", "\u202eu\x1b[31m,d")
    refuse(shop, r"such as 'u\x00x' in log.csv line 2", r"'\u202eu\x1b[31m' in log.csv line 3")


def test_files_with_day_and_month_exchanged_are_named(shop):
    for name, form in (("a", "{month:02}/{day:02}/2025"), ("b", "{day:02}/{month:02}/2025")):
        rows = [f"u{day},a,{form.format(month=4, day=day)}" for day in range(1, 29)]
        (shop.folder / "log").mkdir(exist_ok=True)
        (shop.folder / "log" / f"{name}.csv").write_text("\n".join(["user_id,item_id,at", *rows]), encoding="utf-8")
    parts = ("bad_time 16, such as '13/04/2025' in log/b.csv line 14", "can be read with time_format: '%d/%m/%Y'")
    refuse(shop, *parts, path="log", columns={"time": "at"}, share=0.05)


def test_days_of_a_spreadsheet_with_a_decimal_comma(shop):
    shop.interactions("user_id;item_id;at", "u;a;45660,5", "u;b;45661,25")
    times = shop.ingest(columns={"time": "at"}).interactions["time"]
    assert [str(time) for time in times] == ["2025-01-03 12:00:00+00:00", "2025-01-04 06:00:00+00:00"]
