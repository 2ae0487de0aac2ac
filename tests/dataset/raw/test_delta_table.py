import sys

import pyarrow as pa
import pytest
from deltalake import DeltaTable, write_deltalake
from raw_tables import failure, read


@pytest.fixture
def table(tmp_path):
    rows = pa.table({"id": ["1", "2", "3"], "name": ["a", "b", "c"], "day": ["x", "x", "y"], "meta": [{"n": 1}] * 3})
    write_deltalake(str(tmp_path / "t"), rows, partition_by=["day"])
    return tmp_path / "t"


def test_deleted_rows_are_gone_and_partitions_are_columns(table):
    DeltaTable(str(table)).delete("id = '2'")
    result = read(table, {"id": "id", "day": "day", "n": "meta.n"})
    assert sorted(result.values) == [("1", "x", "1"), ("3", "y", "1")]
    assert result.lines == [1, 2]
    assert sorted(row["name"] for row in result.content) == ["a", "c"]


def test_newest_version_counts(table):
    rows = pa.table({"id": ["9"], "name": ["z"], "day": ["x"], "meta": [{"n": 1}]})
    write_deltalake(str(table), rows, mode="overwrite")
    assert read(table).values == [("9", "z")]


def test_bad_tables(table, monkeypatch):
    assert "no column 'title'; found 'id', 'name', 'day', 'meta'" in failure(table, {"title": "title"})
    next(table.glob("day=x/*.parquet")).unlink()
    assert "cannot be read as a Delta table" in failure(table)
    for file in (table / "_delta_log").iterdir():
        file.unlink()
    assert "cannot be read as a Delta table" in failure(table)
    monkeypatch.setitem(sys.modules, "deltalake", None)
    assert "pip install 'nightly-recsys[delta]'" in failure(table)
