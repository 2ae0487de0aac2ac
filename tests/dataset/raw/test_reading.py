import zipfile

import polars as pl
import pytest
from raw_tables import COLUMNS, failure, read, write

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw import reading
from recsys.dataset.raw.reading import read_all, read_batches
from recsys.dataset.raw.setting_names import HOLDOUT
from recsys.errors import DataError


def test_files_are_read_in_order_with_their_own_form(tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,a\n2,b\n")
    write(tmp_path / "b.csv", "name;id\nc;3\n")
    table = read(tmp_path)
    assert table.values == [("1", "a"), ("2", "b"), ("3", "c")]
    assert table.rows == [1, 2, 1]
    assert [file.rsplit("/", 1)[-1] for file in table.files] == ["a.csv", "a.csv", "b.csv"]


def test_limit_counts_rows_of_each_file(tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,a\n2,b\n3,c\n")
    write(tmp_path / "b.csv", "id,name\n4,d\n")
    table = read(tmp_path, limit=2)
    assert table.values == [("1", "a"), ("2", "b"), ("4", "d")]
    assert table.content[1] == {"id": "2", "name": "b"}


def test_batches_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "_BATCH_ROWS", 2)
    path = write(tmp_path / "a.csv", "id,name\n" + "".join(f"{n},x{n}\n" for n in range(5)))
    table = read(path)
    assert [frame.height for frame in table.frames] == [2, 2, 1]
    assert table.rows == [1, 2, 3, 4, 5]
    assert table.lines == [2, 3, 4, 5, 6]
    assert [row["name"] for row in table.content] == ["x0", "x1", "x2", "x3", "x4"]
    assert len(read(path, limit=3).values) == 3


@pytest.mark.parametrize(
    ("name", "content"),
    [("a.csv", "id,name\n1,a\n2,b"), ("a.jsonl", '{"id": 1, "name": "a"}\n{"id": 2, "name": "b"}')],
)
def test_a_small_file_is_a_single_batch(tmp_path, name, content):
    assert [frame.rows() for frame in read(write(tmp_path / name, content)).frames] == [[("1", "a"), ("2", "b")]]


def test_format_as_set(tmp_path):
    path = write(tmp_path / "a.csv", '{"id": 1, "name": "x"}\n')
    assert read(path, format="json").values == [("1", "x")]


def test_a_file_without_rows_among_others_is_no_error(tmp_path):
    write(tmp_path / "a.csv", "id,name\n")
    write(tmp_path / "b.csv", "id,name\n1,a\n")
    assert read(tmp_path).values == [("1", "a")]
    assert "no rows of data, only a header; check the export" in failure(tmp_path / "a.csv")


def test_missing_column_of_a_later_file_is_named(tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,a\n")
    write(tmp_path / "b.csv", "id,title\n2,b\n")
    batches = read_batches("items", RawFiles(path=str(tmp_path)), {"id": "id", "name": "name"})
    assert next(batches).values.rows() == [("1", "a")]
    with pytest.raises(DataError, match=r"b.csv: no column 'name'; found 'id', 'title'"):
        next(batches)


def test_read_all_puts_all_batches_together(tmp_path):
    write(tmp_path / "a.csv", "u,i\n1,x\n")
    write(tmp_path / "b.csv", "i,u\ny,2\n")
    pairs = read_all("hold-out pairs", RawFiles(path=str(tmp_path)), {"user_id": "u", "item_id": "i"})
    assert pairs.rows() == [("1", "x"), ("2", "y")]


def test_a_field_that_no_file_has_values_for_is_text(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 1, "name": null}\n')
    assert str(read_all("items", RawFiles(path=str(path)), {"name": "name"})["name"].dtype) == "String"


def test_messages_about_hold_out_pairs_name_their_settings(tmp_path):
    assert "fix windows.holdout_path" in failure(tmp_path / "none.csv", what=HOLDOUT)
    write(tmp_path / "a.csv", "id;x\n1;2\n")
    assert "fix dataset.interactions in the config" in failure(tmp_path / "a.csv", what=HOLDOUT)


def test_a_missing_column_names_the_other_members_that_have_it(tmp_path):
    tables = {"orders.csv": "user,sku\nu,a\n", "people.csv": "who\nu\n", "products.csv": "id,name\n1,a\n"}
    with zipfile.ZipFile(tmp_path / "export.zip", "w") as archive:
        for name, content in tables.items():
            archive.writestr(name, content)
            write(tmp_path / "export" / name, content)
    for path in (tmp_path / "export.zip", tmp_path / "export"):
        message = failure(path)
        assert "orders.csv: no column 'id'; found 'user', 'sku'; fix dataset.items in the config;" in message
        chosen = f"{path}/products.csv"
        assert "also contains people.csv, products.csv: if these are different tables, read one of them" in message
        assert message.endswith(f"such as dataset.items.path: {chosen}")
        assert read(chosen).values == [("1", "a")]
        assert "also has" not in failure(path, {"id": "number"})
    with zipfile.ZipFile(tmp_path / "export.zip", "a") as archive:
        archive.writestr("more.jsonl", "{}")
    assert f"select one with a glob such as '{tmp_path}/export.zip/*.csv'" in failure(tmp_path / "export.zip")


def test_forms_without_lines_count_rows(tmp_path):
    write(tmp_path / "a.csv", "id,name\n1,a\n")
    pl.DataFrame({"id": ["1"], "name": ["a"]}).write_parquet(tmp_path / "a")
    units = [
        batch.unit
        for name in ("a.csv", "a")
        for batch in read_batches("items", RawFiles(path=str(tmp_path / name)), COLUMNS)
    ]
    assert units == ["line", "row"]
