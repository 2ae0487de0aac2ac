from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from threading import Thread

import pandas as pd
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from raw_tables import failure, read, write

from recsys.config.raw_files import RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.raw import parquet_rows
from recsys.dataset.raw.reading import read_all, read_batches

# Without a zone, as polars gives it.
NEW_YEAR = datetime(2025, 1, 1, tzinfo=UTC).replace(tzinfo=None)


def test_pandas_types_read_as_text_lists_and_times(tmp_path):
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
    (values,) = read(tmp_path / "a.parquet", fields).frames
    assert values["id"].to_list() == ["1.0", None, "3.0"]
    assert values["kind"].to_list() == ["a", "b", None]
    assert values["count"].to_list() == ["1", None, "3"]
    assert values["flag"].to_list() == ["true", None, "false"]
    assert values["tags"].to_list() == [["x", "y"], None, []]
    assert values["who"].to_list() == ["A", None, "B"]
    assert values.schema["naive"] == pl.Datetime("us")
    assert values["aware"].dt.to_string("%F %T %Z").to_list() == ["2025-01-01 09:00:00 UTC"] * 3


def test_other_types(tmp_path):
    table = pa.table(
        {
            "decimal": pa.array([Decimal("1.50"), None], pa.decimal128(10, 2)),
            "large": pa.array([Decimal("3.25"), None], pa.decimal256(60, 2)),
            "bytes": pa.array([b"abc", None], pa.binary()),
            "dictionary": pa.array(["x", None]).dictionary_encode(),
            "fixed": pa.array([[1, 2], [3, 4]], pa.list_(pa.int32(), 2)),
            "null": pa.nulls(2),
            "nan": pa.array([float("nan"), 1.5]),
            "date": pa.array([NEW_YEAR.date() + timedelta(days=1), None]),
            "map": pa.array([[("a", 1)], None], pa.map_(pa.string(), pa.int64())),
        }
    )
    pq.write_table(table, tmp_path / "a.parquet")
    result = read(tmp_path / "a.parquet", {name: name for name in table.column_names})
    assert result.values[0] == (
        *("1.50", "3.25", "abc", "x", ["1", "2"], None, None, NEW_YEAR + timedelta(days=1), '{"a": 1}'),
    )
    assert result.values[1] == (None, None, None, None, ["3", "4"], None, "1.5", None, None)
    assert result.content[0]["nan"] is None


def test_parts_with_other_units_zones_and_nulls(tmp_path):
    instants = pl.Series(["2025-01-01T10:00:00"]).str.to_datetime()
    parts = {
        "a": pl.Series([None], dtype=pl.Null),
        "b": instants.cast(pl.Datetime("ms")),
        "c": instants.cast(pl.Datetime("ns")).dt.replace_time_zone("Europe/Berlin"),
        "d": pl.Series(["2025-01-01"]),
    }
    for name, times in parts.items():
        pl.DataFrame({"id": [name], "time": times}).write_parquet(tmp_path / f"{name}.parquet")
    frames = read(tmp_path, {"id": "id", "time": "time"}).frames
    assert [frame.schema["time"] for frame in frames] == [
        *(pl.String, pl.Datetime("us"), pl.Datetime("us", "UTC"), pl.String)
    ]
    whole = read_all("items", RawFiles(path=str(tmp_path)), {"id": "id", "time": "time"})
    assert whole["time"].to_list() == [
        None,
        "2025-01-01T10:00:00.000000",
        "2025-01-01T09:00:00.000000+00:00",
        "2025-01-01",
    ]


def test_all_null_part_takes_the_type_of_the_others(tmp_path):
    pl.DataFrame({"id": ["1"], "tags": [["x"]]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"id": ["2"], "tags": [None]}).write_parquet(tmp_path / "b.parquet")
    whole = read_all("items", RawFiles(path=str(tmp_path)), {"id": "id", "tags": "tags"})
    assert whole["tags"].to_list() == [["x"], None]


def test_rows_of_later_batches_are_found_again(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_BLOCK_ROWS", 7)
    frame = pl.DataFrame({"id": range(50), "name": [f"n{n}" for n in range(50)], "meta": [{"n": n} for n in range(50)]})
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=20)
    table = read(tmp_path / "a.parquet")
    assert [row["meta"]["n"] for row in table.content] == list(range(50))
    assert table.rows == table.lines == list(range(1, 51))
    batches = list(read_batches("items", RawFiles(path=str(tmp_path / "a.parquet")), {"id": "id"}))
    backwards = [batch.content(pl.Series([0])) for batch in reversed(batches)]
    assert '"id": 0,' in backwards[-1][0]
    assert '"id": 7,' in backwards[-2][0]


def test_rows_are_found_while_another_thread_comes_to_the_end_of_the_file(tmp_path, monkeypatch):
    pl.DataFrame({"id": ["a", "b"], "name": ["A", "B"]}).write_parquet(tmp_path / "a.parquet")
    batches = read_batches("items", RawFiles(path=str(tmp_path / "a.parquet")), {"id": "id"})
    batch = next(batches)
    real, threads = parquet_rows.to_frame, []

    def read_to_the_end_meanwhile(rows):
        if not threads:
            threads.append(Thread(target=lambda: list(batches)))
            threads[0].start()
            threads[0].join(0.5)
        return real(rows)

    monkeypatch.setattr(parquet_rows, "to_frame", read_to_the_end_meanwhile)
    assert batch.content(pl.Series([1])) == ['{"id": "b", "name": "B"}']
    threads[0].join()


def test_vectors_of_which_some_are_null_do_not_matter(tmp_path):
    vectors = pa.array([[1, 2], None], pa.list_(pa.int32(), 2))
    pq.write_table(pa.table({"id": ["1", "2"], "name": ["a", "b"], "vector": vectors}), tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").content == [{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]


def test_rows_become_valid_json(tmp_path):
    pl.DataFrame({"id": ["1"], "name": ["é"], "x": [float("nan")], "b": [b"\xff"]}).write_parquet(
        tmp_path / "a.parquet"
    )
    (row,) = read(tmp_path / "a.parquet").content
    assert row["name"] == "é"
    assert row["x"] is None


def test_damaged_files(tmp_path):
    assert "a.parquet: is damaged or truncated Parquet" in failure(write(tmp_path / "a.parquet", "id,name\n"))
    pl.DataFrame({"id": range(999), "name": ["x"] * 999}).write_parquet(tmp_path / "a.parquet")
    whole = (tmp_path / "a.parquet").read_bytes()
    assert "a.parquet: is damaged or truncated Parquet" in failure(write(tmp_path / "a.parquet", whole[:-50]))
    damaged = whole[:20] + bytes(200) + whole[220:]
    assert "a.parquet: is damaged or truncated Parquet" in failure(write(tmp_path / "a.parquet", damaged))


def test_missing_and_nested_columns(tmp_path):
    pl.DataFrame({"id": [1], "name": [{"first": "A"}]}).write_parquet(tmp_path / "a.parquet")
    assert "name a field inside it, such as 'name.first'" in failure(tmp_path / "a.parquet")
    message = failure(tmp_path / "a.parquet", {"id": "id", "n": "name.last"})
    assert "no column 'name.last'; found 'name.first'" in message
    assert "no column 'key'; found 'id', 'name'" in failure(tmp_path / "a.parquet", {"id": "key"})
    assert read(tmp_path / "a.parquet", {"n": "name.first"}).values == [("A",)]


def test_lists_in_one_file_only(tmp_path):
    pl.DataFrame({"id": [1], "name": ["a"]}).write_parquet(tmp_path / "a.parquet")
    pl.DataFrame({"id": [1], "name": [["a"]]}).write_parquet(tmp_path / "b.parquet")
    with pytest.raises(Exception, match="type of a column differs"):
        read_all("items", RawFiles(path=str(tmp_path)), {"name": "name"})


@pytest.mark.parametrize(("dtype", "bits"), [(pl.Float64, 53), (pl.Float32, 24)])
def test_ids_as_floats_that_are_rounded_are_refused_by_name(tmp_path, dtype, bits):
    columns = {"item_id": "code", "value": "price"}
    frame = pl.DataFrame(
        {"code": [1, None, 2**bits - 1], "price": [2.0**bits] * 3}, schema={"code": dtype, "price": dtype}
    )
    path = tmp_path / "a.parquet"
    frame.write_parquet(path)
    (values,) = read(path, columns).frames
    assert clean_ids(values["item_id"]).to_list() == ["1", None, str(2**bits - 1)]
    for large in (2**bits, -(2**bits)):
        frame.with_columns(code=pl.lit(large, dtype=dtype)).write_parquet(path)
        for message in map(partial(failure, path), (columns, {"item_id": ("code", "price")})):
            assert f"a.parquet: column 'code' contains ids as {dtype} up to {2**bits}" in message
            assert "as integers or text" in message


def test_vectors_of_which_some_are_null_are_lists(tmp_path, monkeypatch):
    monkeypatch.setattr(parquet_rows, "_BLOCK_ROWS", 2)
    tags = pl.Series("name", [["x", "y"], None, ["z", "w"]], dtype=pl.Array(pl.String, 2))
    pl.DataFrame([pl.Series("id", ["a", "b", "c"]), tags]).write_parquet(tmp_path / "a.parquet")
    assert read(tmp_path / "a.parquet").values == [("a", ["x", "y"]), ("b", None), ("c", ["z", "w"])]
    assert read(tmp_path / "a.parquet").rows == [1, 2, 3]


def test_bytes_that_are_no_text_and_nested_columns_say_what_to_do(tmp_path):
    frame = pl.DataFrame({"id": [b"\xff", b"b"], "name": [[{"sku": "a"}], []]})
    frame.write_parquet(tmp_path / "a.parquet")
    assert "column 'id' is Binary and cannot be read as text (invalid utf8)" in failure(tmp_path / "a.parquet")
    assert "write it as text in UTF-8" in failure(tmp_path / "a.parquet")
    message = failure(tmp_path / "a.parquet", {"name": "name"}, what="interactions")
    assert (
        "with dataset.interactions.unfold: {column: name}, and then name a field inside it, such as 'name.sku'"
        in message
    )


def test_a_missing_field_is_no_matter_of_separators(tmp_path):
    pl.DataFrame({"user": [{"id": "u"}]}).write_parquet(tmp_path / "a.parquet")
    message = failure(tmp_path / "a.parquet", {"id": "user.uid"})
    assert "no column 'user.uid'; found 'user.id'" in message
    assert "separator" not in message


def test_few_bytes_that_stand_for_many_are_refused(tmp_path):
    path, columns = tmp_path / "bomb.parquet", {"id": "id"}
    pl.DataFrame({"id": ["u" * 100] * 300_000}).write_parquet(path)
    assert path.stat().st_size < 30_000
    assert "bomb.parquet: expands to more than 0.001 GB" in failure(path, columns, max_unpacked_gb=0.001)
    assert read_all("items", RawFiles(path=str(path)), columns).height == 300_000
