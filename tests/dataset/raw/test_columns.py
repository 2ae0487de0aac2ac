import polars as pl
import pytest
from raw_tables import read, write

from recsys.config.dataset import ItemFiles
from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.columns import names_of, pick_columns

FILES = RawFiles(path="x")


def pick(frame: pl.DataFrame, field: str, names: tuple[str, ...], files: RawFiles = FILES) -> list[object]:
    return pick_columns("items", "a.csv", frame, {field: names}, files)[field].to_list()


def test_names_come_once():
    assert names_of({"a": "x", "b": ("y", "x"), "c": "z"}) == ["x", "y", "z"]


def test_ids_of_several_columns_never_meet():
    frame = pl.DataFrame({"a": ["x|y", "x", " 12.0 ", None, "nan", "x"], "b": ["z", "y|z", "1", "5", "1", " "]})
    assert pick(frame, "item_id", ("a", "b")) == ["x||y|z", "x|y||z", "12|1", None, None, None]


def test_ids_of_numbers_and_text():
    frame = pl.DataFrame({"a": [1, 2], "b": [1.0, None]})
    assert pick(frame, "user_id", ("a", "b")) == ["1|1", None]


def test_texts_are_joined_by_a_space():
    frame = pl.DataFrame({"a": ["Dune", None, " ", None], "b": [["x", "y"], ["z"], None, None]})
    assert pick(frame, "title", ("a", "b")) == ["Dune x, y", "z", "", ""]


def test_tags_of_several_columns_are_put_together():
    frame = pl.DataFrame({"a": ["x|y", None, '["p", "q"]'], "b": ["y", "z", None], "c": [["l"], None, ["m"]]})
    files = ItemFiles(path="x", tags_separator="|")
    assert pick(frame, "tags", ("a", "b", "c"), files) == [["x", "y", "y", "l"], ["z"], ["p", "q", "m"]]


def test_first_value_that_is_not_blank_counts():
    frame = pl.DataFrame({"a": ["", " ", None, "1"], "b": ["2", "3", None, "4"]})
    assert pick(frame, "time", ("a", "b")) == ["2", "3", None, "1"]
    times = pl.Series(["2025-01-01T10:00:00", None]).str.to_datetime()
    same = pl.DataFrame({"a": times, "b": times.reverse()})
    picked = pick_columns("items", "x", same, {"time": ("a", "b")}, FILES)["time"]
    assert picked.dtype == pl.Datetime("us")
    assert picked.null_count() == 0
    mixed = pl.DataFrame({"a": times, "b": ["x", "2025-01-02"]})
    assert pick(mixed, "time", ("a", "b")) == ["2025-01-01T10:00:00.000000", "2025-01-02"]


@pytest.mark.parametrize(
    ("kind", "content"),
    [("csv", "id,a,b\n1,x,y\n2,,z\n"), ("jsonl", '{"id": 1, "a": "x", "b": "y"}\n{"id": 2, "b": "z"}\n')],
)
def test_several_columns_of_a_file(tmp_path, kind, content):
    path = write(tmp_path / f"a.{kind}", content)
    table = read(path, {"item_id": ("id", "b"), "title": ("a", "b"), "time": ("a", "b")})
    assert table.values == [("1|y", "x y", "x"), ("2|z", "z", "z")]
