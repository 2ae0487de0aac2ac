import json

import polars as pl
import pytest
from raw_tables import failure, read, write

from recsys.dataset.raw import delimited


@pytest.fixture(params=[16, 1 << 24])
def blocks(request, monkeypatch):
    """Blocks of a line or two, and a single one."""
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (request.param,))


# --- columns from paths --------------------------------------------------------------------------------------


def test_folders_and_file_names_become_columns(tmp_path):
    write(tmp_path / "day=2025-01-01/de-web.csv", "id,name\n1,a\n")
    write(tmp_path / "day=2025-01-02/fr-app.csv", "id,name\n2,b\n")
    columns = {"id": "id", "day": "day", "land": "land", "where": ("place", "name")}
    table = read(tmp_path, columns, file_name=r"(?P<land>\w\w)-(?P<place>\w+)\.csv")
    assert table.values == [("1", "2025-01-01", "de", "web"), ("2", "2025-01-02", "fr", "app")]
    assert table.content[0] == {"id": "1", "name": "a"}
    assert "fr-app.csv: its path does not match dataset.items.file_name" in failure(
        tmp_path, columns, file_name=r"(?P<land>de)-(?P<place>\w+)\.csv"
    )


# --- fill_down -----------------------------------------------------------------------------------------------


def test_blank_cells_repeat_the_cell_above_within_a_file(tmp_path, blocks):
    write(tmp_path / "a.csv", "order,who,sku\n1,ann,x\n1,,y\n, ,z\n2,bob,x\n,,y\n")
    write(tmp_path / "b.csv", "order,who,sku\n,,x\n3,cy,y\n")
    table = read(tmp_path, {"order": "order", "who": "who", "sku": "sku"}, fill_down=["order", "who"])
    assert table.values == [
        *[("1", "ann", "x"), ("1", "ann", "y"), ("1", "ann", "z"), ("2", "bob", "x"), ("2", "bob", "y")],
        *[(None, None, "x"), ("3", "cy", "y")],
    ]
    assert table.content[2] == {"order": "", "who": " ", "sku": "z"}


# --- unfold --------------------------------------------------------------------------------------------------


def test_delimited_cell_with_a_pattern(tmp_path, blocks):
    path = write(tmp_path / "a.tsv", "u\tshown\nu1\tN5-1 N7-0\nu2\t\nu3\tN9-1  N1\n")
    columns = {"user": "u", "item": "shown.item", "clicked": "shown.outcome", "at": "shown.position", "text": "shown"}
    table = read(path, columns, unfold={"column": "shown", "pattern": "(?P<item>.+)-(?P<outcome>[01])"})
    assert table.values == [
        ("u1", "N5", "1", "1", "N5-1"),
        ("u1", "N7", "0", "2", "N7-0"),
        ("u3", "N9", "1", "1", "N9-1"),
        ("u3", None, None, "2", "N1"),
    ]
    assert table.rows == [1, 1, 3, 3]
    assert table.lines == [2, 2, 4, 4]
    assert table.content[1] == {"u": "u1", "shown": "N5-1 N7-0"}
    # Python's look-behind.
    table = read(path, {"item": "shown.item"}, unfold={"column": "shown", "pattern": "(?P<item>.+)(?<=-[01])"})
    assert table.values == [("N5-1",), ("N7-0",), ("N9-1",), (None,)]
    message = failure(path, {"i": "shown.id"}, unfold={"column": "shown", "pattern": "(?P<item>.+)"})
    assert "no column 'shown.id'; found 'shown.item', 'shown.position'" in message


@pytest.mark.parametrize("cell", ['"[""a"", ""b""]"', "\"['a', 'b']\"", "a;b", '"a ; ;b"'])
def test_lists_in_a_csv(tmp_path, cell):
    path = write(tmp_path / "a.csv", f"id,tags,x\n1,{cell},y\n2,c,z\n")
    table = read(path, {"id": "id", "tag": "tags"}, unfold={"column": "tags", "separator": ";"}, separator=",")
    assert table.values == [("1", "a"), ("1", "b"), ("2", "c")]


EVENTS = [
    {"user": "u1", "name": "purchase", "items": [{"item_id": 5, "q": {"n": 2}}, {"item_id": "b", "price": [1]}]},
    {"user": "u2", "name": "page_view", "items": []},
    {"user": "u3", "name": "purchase", "items": [{"item_id": "c", "q": {"n": 1}}]},
]
KEYS = {"user": "user", "item": "items.item_id", "n": "items.q.n", "at": "items.position"}
UNFOLDED = [("u1", "5", "2", "1"), ("u1", "b", None, "2"), ("u3", "c", "1", "1")]


def test_objects_in_json_lines(tmp_path):
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, EVENTS)))
    table = read(path, KEYS, unfold={"column": "items"})
    assert table.values == UNFOLDED
    assert table.content[1] == EVENTS[0]
    assert table.lines == [1, 1, 3]


def test_objects_in_parquet(tmp_path):
    schema = {
        "user": pl.String,
        "items": pl.List(pl.Struct({"item_id": pl.String, "q": pl.Struct({"n": pl.Int64})})),
    }
    rows = [
        {"user": "u1", "items": [{"item_id": "5", "q": {"n": 2}}, {"item_id": "b", "q": None}]},
        {"user": "u2", "items": None},
        {"user": "u3", "items": [{"item_id": "c", "q": {"n": 1}}]},
    ]
    pl.DataFrame(rows, schema=schema).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", KEYS, unfold={"column": "items"}).values == UNFOLDED
    message = failure(tmp_path / "a.parquet", {"i": "items.id"}, unfold={"column": "items"})
    assert "no column 'items.id'; found 'items.item_id', 'items.q'" in message
    assert "give each member a row with dataset.items.unfold: {column: items}" in failure(
        tmp_path / "a.parquet", {"i": "items"}
    )


def test_plain_lists_in_parquet(tmp_path):
    pl.DataFrame({"u": ["a", "b"], "items": [[1, 2], [3]]}).write_parquet(tmp_path / "a.parquet")
    table = read(tmp_path / "a.parquet", {"u": "u", "i": "items"}, unfold={"column": "items"})
    assert table.values == [("a", "1"), ("a", "2"), ("b", "3")]


# --- keep_rows -----------------------------------------------------------------------------------------------

FILTERS = {
    "state == paid": ["1"],
    "state != paid": ["2", "3", "4"],
    "state ==": ["3"],
    "state !=": ["1", "2", "4"],
    "n > 9": ["1", "4"],
    "n >= 9": ["1", "3", "4"],
    "n < 10": ["3"],
    "n == 10": ["1", "4"],
    "n != 10": ["2", "3"],
    "day >= 2025-01-02": ["2", "3"],
}


@pytest.mark.parametrize("condition", FILTERS)
def test_rows_that_meet_a_condition_are_kept_and_the_others_counted(tmp_path, blocks, condition):
    text = "id,state,n,day\n1,paid,10,2025-01-01\n2,refunded,,2025-01-02\n3, ,9,2025-01-03\n4,PAID,10.0,\n"
    table = read(write(tmp_path / "a.csv", text), {"id": "id"}, keep_rows=[condition])
    assert [row[0] for row in table.values] == FILTERS[condition]
    assert table.skipped == 4 - len(table.values)
    assert table.rows == [int(row[0]) for row in table.values]


def test_filters_see_filled_and_unfolded_cells_and_other_types(tmp_path):
    path = write(tmp_path / "a.csv", "o,state,items\n1,paid,a b c\n,,d\n2,refunded,e\n,,f\n")
    table = read(
        *(path, {"i": "items"}),
        fill_down=["state"],
        unfold={"column": "items"},
        keep_rows=["state != refunded", "items.position <= 2"],
    )
    assert table.values == [("a",), ("b",), ("d",)]
    assert table.skipped == 3
    frame = pl.DataFrame({"id": [1, 2], "ok": [True, False], "day": ["2025-01-01", "2025-01-02"]})
    frame.with_columns(pl.col("day").str.to_date()).write_parquet(tmp_path / "b.parquet")
    conditions = ["ok == true", "day < 2025-01-02"]
    assert read(tmp_path / "b.parquet", {"id": "id"}, keep_rows=conditions).values == [("1",)]


def test_filter_that_leaves_nothing_and_filter_of_an_unknown_column(tmp_path):
    path = write(tmp_path / "a.csv", "id,name\n1,a\n2,b\n")
    assert "keep_rows excludes all 2 rows; fix dataset.items.keep_rows" in failure(path, keep_rows=["id > 5"])
    assert "no column 'state'" in failure(path, keep_rows=["state == paid"])


def test_filters_of_lists_and_decimal_commas(tmp_path):
    path = write(tmp_path / "a.csv", "id;price\n1;0,99\n2;10,50\n")
    assert read(path, {"id": "id"}, keep_rows=["price > 5"], decimal=",").values == [("2",)]
    pl.DataFrame({"id": ["1", "2"], "tags": [["a", "b"], ["c"]]}).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet", {"id": "id"}, keep_rows=["tags == a, b"]).values == [("1",)]


@pytest.mark.parametrize("kind", ["csv", "jsonl", "parquet"])
def test_fields_that_all_come_from_folders(tmp_path, kind):
    path = tmp_path / f"user=u1/item=i1/a.{kind}"
    path.parent.mkdir(parents=True)
    frame = pl.DataFrame({"x": [1, 2]})
    {"csv": frame.write_csv, "jsonl": frame.write_ndjson, "parquet": frame.write_parquet}[kind](path)
    table = read(tmp_path, {"user_id": "user", "item_id": "item"})
    assert table.values == [("u1", "i1")] * 2
    assert [int(row["x"]) for row in table.content] == [1, 2]
