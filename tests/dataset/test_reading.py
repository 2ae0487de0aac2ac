import gzip
import json
from pathlib import Path

import pandas as pd
import polars as pl
import pytest
import zstandard

from recsys.config import data_path
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.raw_files import display_name
from recsys.dataset.reading import RawTable, read_table
from recsys.errors import DataError

COLUMNS = {"id": "id", "name": "name"}
CSV = "id,name\n007,Ann\n008,\n"
LINES = '{"id": "007", "name": "Ann"}\n{"id": "008", "name": null}\n'


def read(path: Path, columns: dict[str, str] | None = None) -> RawTable:
    return read_table("items", path, columns or COLUMNS)


def write(path: Path, content: str | bytes) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def names(table: RawTable) -> list[tuple[str | None, str | None]]:
    return table.values.select("id", "name").rows()


def failure(path: Path, columns: dict[str, str] | None = None) -> str:
    with pytest.raises(DataError) as caught:
        read(path, columns)
    return str(caught.value)


# --- formats, compression, places ------------------------------------------------------------------------


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress, zstandard.ZstdCompressor().compress])
@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", CSV), ("a.tsv", CSV.replace(",", "\t")), ("a.jsonl", LINES), ("a.ndjson", LINES), ("a.json", LINES)],
)
def test_every_text_format_reads_plain_and_compressed(tmp_path, name, content, pack):
    suffix = {b"\x1f\x8b": ".gz", b"\x28\xb5": ".zst"}.get(pack(content.encode())[:2], "")
    table = read(write(tmp_path / (name + suffix), pack(content.encode())))
    assert [(key, value or "") for key, value in names(table)] == [("007", "Ann"), ("008", "")]
    assert table.locations["row"].to_list() == [1, 2]


def test_zst_with_two_frames_reads_whole(tmp_path):
    pack = zstandard.ZstdCompressor().compress
    path = write(tmp_path / "a.csv.zst", pack(b"id,name\n1,a\n") + pack(b"2,b\n"))
    assert names(read(path)) == [("1", "a"), ("2", "b")]


def test_folder_reads_sorted_and_skips_hidden_and_marker_files(tmp_path):
    write(tmp_path / "set/b/part.csv", "id,name\n2,b\n")
    write(tmp_path / "set/a.csv.gz", gzip.compress(b"name,extra,id\na,x,1\n"))
    for junk in ("_SUCCESS", ".a.csv.crc", ".hidden.csv", "_temporary/x.csv", "README.md"):
        write(tmp_path / "set" / junk, "junk")
    table = read(tmp_path / "set")
    assert names(table) == [("1", "a"), ("2", "b")]
    assert table.locations["row"].to_list() == [1, 1]
    assert table.locations["file"].str.split("/").list.last().to_list() == ["a.csv.gz", "part.csv"]
    assert [json.loads(text) for text in table.content(pl.Series([0, 1]))] == [
        {"name": "a", "extra": "x", "id": "1"},
        {"id": "2", "name": "b"},
    ]


def test_glob_chooses_one_format_of_a_mixed_folder(tmp_path):
    write(tmp_path / "a.csv", CSV)
    write(tmp_path / "a.jsonl", LINES)
    assert names(read(tmp_path / "*.jsonl")) == [("007", "Ann"), ("008", None)]


def test_file_is_named_from_the_data_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    table = read(write(tmp_path.resolve() / "shop/a.csv", CSV))
    assert table.locations["file"].to_list() == ["shop/a.csv"] * 2
    assert display_name(Path("/elsewhere/a.csv")) == "/elsewhere/a.csv"


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_byte_order_marks_are_understood(tmp_path, encoding):
    assert names(read(write(tmp_path / "a.csv", "id,name\n1,书 😀\n".encode(encoding)))) == [("1", "书 😀")]


# --- CSV and TSV -------------------------------------------------------------------------------------------


def test_quoted_fields_keep_separators_quotes_and_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'id,name\r\n1,"a, ""b"""\r\n2,"two\nlines"\r\n')
    assert names(read(path)) == [("1", 'a, "b"'), ("2", "two\nlines")]


def test_stray_quotes_in_unquoted_exports_swallow_no_row(tmp_path):
    path = write(tmp_path / "a.tsv", 'id\tname\n1\t"Heroes\n2\t5" nail\n3\tWar"\n4\t"whole"\n')
    assert names(read(path)) == [("1", '"Heroes'), ("2", '5" nail'), ("3", 'War"'), ("4", '"whole"')]


def test_fields_over_several_lines_stay_whole_where_the_header_is_quoted_or_the_file_is_csv(tmp_path):
    # Every line has as many separators as the header, so that alone cannot tell.
    path = write(tmp_path / "a.tsv", '"id"\t"name"\n"1"\t"two\n\tlines"\n')
    assert names(read(path)) == [("1", "two\n\tlines")]
    path = write(tmp_path / "a.csv", 'id,name\n1,"two\n,lines"\n')
    assert names(read(path)) == [("1", "two\n,lines")]
    path = write(tmp_path / "b.csv", 'id,name\n1,"Heroes\n2,b\n')
    assert names(read(path)) == [("1", '"Heroes'), ("2", "b")]


def test_quote_inside_a_field_is_a_letter(tmp_path):
    path = write(tmp_path / "a.tsv", 'id\tname\n1\t5" nail\n2\t"say ""hi"""\n')
    assert names(read(path)) == [("1", '5" nail'), ("2", 'say "hi"')]


def test_pandas_csv_with_index_and_old_line_ends(tmp_path):
    pd.DataFrame({"id": [1, 2], "name": ["a", None]}).to_csv(tmp_path / "a.csv")
    assert names(read(tmp_path / "a.csv")) == [("1", "a"), ("2", "")]
    assert names(read(write(tmp_path / "b.csv", "\r\rid , name\r1,a\r2,b\r"))) == [("1", "a"), ("2", "b")]


# --- JSON lines --------------------------------------------------------------------------------------------


def test_json_values_read_as_text_and_missing_keys_as_null(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 7, "name": "x"}\n\n{"id": 12.0}\n{"name": true, "id": "007"}\n')
    table = read(path)
    assert names(table) == [("7", "x"), ("12", None), ("007", "true")]
    assert table.locations["row"].to_list() == [1, 3, 4]
    assert table.content(pl.Series([1])) == ['{"id": 12.0}']


def test_dots_reach_into_objects_of_any_shape(tmp_path):
    records = [
        {"id": 1, "meta": {"authors": ["A", "É"]}},
        {"id": 2, "meta": {"authors": "B", "n": {"deep": 1}}},
        {"id": 3, "meta": {}},
        {"id": 4, "meta": "text"},
        {"id": 5, "meta.authors": "plain key"},
        {"id": 6, "meta": float("nan")},
    ]
    path = write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, records)))
    table = read(path, {"id": "id", "who": "meta.authors", "deep": "meta.n.deep", "meta": "meta"})
    assert table.values["id"].to_list() == ["1", "2", "3", "4", "5", "6"]
    assert table.values["who"].to_list() == ['["A", "É"]', "B", None, None, "plain key", None]
    assert table.values["deep"].to_list() == [None, "1", None, None, None, None]
    assert table.values["meta"].to_list()[2:4] == ["{}", "text"]


@pytest.mark.parametrize("odd", ["", '{"id": 9, "name": ["forces the slow way"]}\n'])
def test_fast_and_slow_ways_agree(tmp_path, odd):
    rows = [{"id": 1, "m": {"a": "x"}}, {"id": "02", "m": None}, {"id": True, "m.a": "y"}, {"id": 2.5, "name": 12.0}]
    path = write(tmp_path / "a.jsonl", odd + "\n".join(map(json.dumps, rows)))
    table = read(path, {"id": "id", "a": "m.a", "name": "name"}).values.tail(4)
    assert table.rows() == [("1", "x", None), ("02", None, None), ("true", "y", None), ("2.5", None, "12")]


def test_an_odd_line_far_down_is_read_and_a_broken_one_is_named(tmp_path):
    lines = [json.dumps({"id": n, "name": "x"}) for n in range(45_000)]
    lines[30_000] = '{"id": 30000, "name": ["odd"]}'
    table = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert table.values["id"].to_list() == [str(n) for n in range(45_000)]
    assert table.values["name"][30_000] == '["odd"]'
    lines[40_000] = "{"
    assert "a.jsonl:40001: is not JSON" in failure(write(tmp_path / "a.jsonl", "\n".join(lines)))


# --- Parquet -----------------------------------------------------------------------------------------------


def test_pandas_parquet_types_read_as_text_lists_and_times(tmp_path):
    frame = pd.DataFrame(
        {
            "id": [1.0, None, 3.0],
            "kind": pd.Categorical(["a", "b", None]),
            "count": pd.array([1, None, 3], dtype="Int64"),
            "flag": pd.array([True, None, False], dtype="boolean"),
            "tags": [["x", "y"], None, []],
            "meta": [{"who": "A"}, {"who": None}, {"who": "B"}],
            "naive": pd.to_datetime(["2025-01-01 10:00", None, "2025-01-02 11:00"]),
            "aware": pd.to_datetime(["2025-01-01 10:00"] * 3).tz_localize("Europe/Berlin"),
        },
        index=[5, 6, 7],
    )
    frame.to_parquet(tmp_path / "a.parquet")
    fields = {name: name for name in frame.columns if name != "meta"} | {"who": "meta.who"}
    values = read(tmp_path / "a.parquet", fields).values
    assert values["id"].to_list() == ["1.0", None, "3.0"]
    assert values["kind"].to_list() == ["a", "b", None]
    assert values["count"].to_list() == ["1", None, "3"]
    assert values["flag"].to_list() == ["true", None, "false"]
    assert values["tags"].to_list() == [["x", "y"], None, []]
    assert values["who"].to_list() == ["A", None, "B"]
    assert values.schema["naive"] == pl.Datetime("us")
    assert values["aware"].dt.to_string("%F %T %Z").to_list() == ["2025-01-01 09:00:00 UTC"] * 3


def test_parquet_rows_become_valid_json(tmp_path):
    frame = pl.DataFrame({"id": ["1"], "name": ["é"], "x": [float("nan")], "b": [b"\xff"]})
    frame.write_parquet(tmp_path / "a.parquet")
    (text,) = read(tmp_path / "a.parquet").content(pl.Series([0]))
    assert json.loads(text)["name"] == "é"
    assert json.loads(text)["x"] is None


# --- bad input: each names the object and the next step ------------------------------------------------------

BAD_FILES = {
    "empty": ("a.csv", b"", ["a.csv: the file is empty", "write it again"]),
    "blank": ("a.jsonl", b"\n \n", ["a.jsonl: the file is empty"]),
    "header only": ("a.csv", b"id,name\n", ["a.csv: no rows of data", "check the export"]),
    "truncated gzip": ("a.csv.gz", gzip.compress(CSV.encode() * 99)[:-9], ["a.csv.gz: ", "cut short", "copy it again"]),
    "truncated zst": (
        "a.csv.zst",
        zstandard.ZstdCompressor().compress(CSV.encode() * 99)[:-4],
        ["a.csv.zst: ", "cut short", "copy it again"],
    ),
    "latin-1": ("a.csv", "id,name\n1,a\n2,café\n".encode("latin-1"), ["a.csv: line 3 is not UTF-8", "0xe9", "iconv"]),
    "gbk": ("a.jsonl", '{"id": 1, "name": "书"}'.encode("gbk"), ["a.jsonl: line 1 is not UTF-8"]),
    "utf-16 without mark": ("a.csv", CSV.encode("utf-16-le"), ["a.csv: looks like UTF-16", "save it as UTF-8"]),
    "missing column": ("a.csv", b"id,nmae\n1,a\n", ["a.csv: no column 'name'", "'id', 'nmae'", "did you mean 'nmae'"]),
    "wrong separator": ("a.csv", b"id;name\n1;a\n", ["a.csv: no column 'id'", "'id;name'", "is the separator"]),
    "repeated column": ("a.csv", b"id,id,name\n1,2,3\n", ["a.csv: the header has 'id' more than once", "rename"]),
    "too many fields": ("a.csv", b"id,name\n1,a\n\n2,b,c\n", ["a.csv: line 4 has 3 fields, expected 2", "2,b,c"]),
    "too few fields": ("a.tsv", b"id\tname\n1\ta\n2\n", ["a.tsv: line 3 has 1 fields, expected 2"]),
    "open quote": ("a.csv", b'id,name\n1,"a,b"\n2,"c\n3,d\n4\n', ["a.csv: line ", "quote in the wrong place", '""']),
    "closed quote": ("a.csv", b'id,name\n1,"a,b" c\n2,"x\ny"\n', ["a.csv: line 2 ", "quote in the wrong place"]),
    "broken json": ("a.jsonl", b'{"id": 1, "name": "a"}\n\n{"id": 2,\n', ["a.jsonl:3: is not JSON", "fix or delete"]),
    "json array": ("a.json", b'[{"id": 1}]', ["a.json:1: holds '[", "one JSON object a line"]),
    "two objects": ("a.jsonl", b'{"id":1,"name":"a"},{"id":2}', ["a.jsonl:1: is not JSON"]),
    "missing key": ("a.jsonl", b'{"id": 1, "meta": {"nam": 2}}', ["no column 'name'", "'id', 'meta.nam'"]),
    "not parquet": ("a.parquet", b"id,name\n", ["a.parquet: is not whole Parquet", "write it again"]),
    "unknown suffix": ("a.xlsx", b"PK", ["a.xlsx: unknown format '.xlsx'", ".csv", "rename"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_names_itself_and_the_next_step(tmp_path, case):
    name, content, expected = BAD_FILES[case]
    message = failure(write(tmp_path / name, content))
    for part in expected:
        assert part in message
    assert "\n" not in message


def test_truncated_parquet(tmp_path):
    pl.DataFrame({"id": range(999), "name": ["x"] * 999}).write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    assert "a.parquet: is not whole Parquet" in failure(write(tmp_path / "a.parquet", whole[:-50]))


def test_nested_parquet_column_needs_a_field(tmp_path):
    pl.DataFrame({"id": [1], "name": [{"first": "A"}]}).write_parquet(tmp_path / "a.parquet")
    assert "name a field inside it as 'name.FIELD'" in failure(tmp_path / "a.parquet")
    assert "no column 'name.last'" in failure(tmp_path / "a.parquet", {"id": "id", "n": "name.last"})


def test_files_of_unlike_types(tmp_path):
    pl.DataFrame({"id": [1], "name": ["a"]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"id": [1], "name": [["a"]]}).write_parquet(tmp_path / "b.parquet")
    assert "differ in a column's type" in failure(tmp_path)


def test_paths_without_data(tmp_path):
    (tmp_path / "void").mkdir()
    write(tmp_path / "void/README.md", "x")
    assert "no data file in this folder" in failure(tmp_path / "void")
    for absent in ("absent.csv", "absent/*.csv"):
        message = failure(tmp_path / absent)
        assert "no such file" in message
        assert "dataset.items.path" in message
        assert "RECSYS_DATA" in message


def test_mixed_formats(tmp_path):
    write(tmp_path / "a.csv", CSV)
    write(tmp_path / "b.jsonl", LINES)
    message = failure(tmp_path)
    assert "mixed formats: CSV (a.csv), JSON lines (b.jsonl)" in message
    assert "glob" in message


# --- paths -------------------------------------------------------------------------------------------------


@pytest.fixture
def odd_folder(tmp_path, monkeypatch):
    """A data folder whose name has every character that means something to globs and URLs."""
    folder = tmp_path.resolve() / "data [1] *? #2 100%20"
    folder.mkdir()
    # What a pattern made of the folder's name would match instead.
    write(tmp_path / "data 1 xy #2 100%20/a.csv", "id,name\n9,wrong\n")
    monkeypatch.setenv("RECSYS_DATA", str(folder))
    return folder


def test_data_folder_may_have_any_name(odd_folder):
    write(odd_folder / "a.csv", CSV)
    write(odd_folder / "b/c.csv", "id,name\n009,Cy\n")
    assert names(read(data_path("a.csv"))) == [("007", "Ann"), ("008", "")]
    assert names(read(data_path("*.csv"))) == names(read(data_path("a.csv")))
    assert names(read(data_path("b"))) == names(read(data_path("./b/[a-d].csv"))) == [("009", "Cy")]
    assert len(names(read(data_path("**/*.csv")))) == 3
    pl.DataFrame({"id": ["1"], "name": ["x"]}).write_parquet(odd_folder / "p.parquet")
    assert names(read(data_path("p.parquet"))) == [("1", "x")]
    assert "no such file" in failure(data_path("absent*.csv"))


def test_path_with_brackets_is_that_file_before_it_is_a_pattern(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    write(tmp_path / "a[1].csv", "id,name\n1,exact\n")
    write(tmp_path / "a1.csv", "id,name\n1,pattern\n")
    assert names(read(data_path("a[1].csv"))) == [("1", "exact")]
    (tmp_path / "a[1].csv").unlink()
    assert names(read(data_path("a[1].csv"))) == [("1", "pattern")]


@pytest.mark.parametrize("path", ["events", "events/*/*.csv", "events/**/*.csv", "events/*", "ev*"])
def test_linked_folders_are_followed_and_no_file_is_read_twice(tmp_path, monkeypatch, path):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    write(tmp_path / "events/day=1/x.csv", "id,name\n1,a\n")
    write(tmp_path / "archive/feb/x.csv", "id,name\n2,b\n")
    (tmp_path / "events/day=2").symlink_to(tmp_path / "archive/feb")
    (tmp_path / "events/day=3").symlink_to(tmp_path / "archive/feb")
    # A folder that contains itself.
    (tmp_path / "archive/feb/again").symlink_to(tmp_path / "archive")
    assert names(read(data_path(path))) == [("1", "a"), ("2", "b")]


@pytest.mark.parametrize(("dtype", "bits"), [(pl.Float64, 53), (pl.Float32, 24)])
def test_ids_as_floats_that_are_rounded_are_refused_by_name(tmp_path, dtype, bits):
    columns = {"item_id": "code", "value": "price"}
    frame = pl.DataFrame(
        {"code": [1, None, 2**bits - 1], "price": [2.0**bits] * 3}, schema={"code": dtype, "price": dtype}
    )
    frame.write_parquet(tmp_path / "a.parquet")
    assert clean_ids(read(tmp_path / "a.parquet", columns).values["item_id"]).to_list() == ["1", None, str(2**bits - 1)]
    for large in (2**bits, -(2**bits)):
        frame.with_columns(code=pl.lit(large, dtype=dtype)).write_parquet(tmp_path / "a.parquet")
        message = failure(tmp_path / "a.parquet", columns)
        assert f"a.parquet: column 'code' holds ids as {dtype} up to {2**bits}" in message
        assert "as integers or text" in message
