import json
from pathlib import Path

import openpyxl
import polars as pl
import pyarrow as pa
import pytest
from deltalake import write_deltalake
from raw_tables import write

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.places import find_sources
from recsys.dataset.raw.sampling import Sample, read_sample


def sample(path: Path, rows: int = 100, **form: object) -> Sample:
    files = RawFiles.model_validate({"path": str(path)} | form)
    (source,) = find_sources("interactions", files)
    return read_sample(source, files, rows)


@pytest.mark.parametrize("quoted", [False, True])
def test_text_is_read_at_its_head_middle_and_end(tmp_path, quoted):
    name = '"a, ""b""\nc"' if quoted else "plain name"
    count = 250_000
    path = write(tmp_path / "a.csv", "n;name\n" + "".join(f"{n};{name}\n" for n in range(count)))
    result = sample(path)
    numbers = [int(number) for number in result.frame["n"]]
    assert numbers[:50] == list(range(50))
    assert numbers[-1] == count - 1
    assert result.frame.columns == ["n", "name"]
    assert result.frame["name"].unique().to_list() == ['a, "b"\nc' if quoted else name]
    assert any(count // 3 < number < count * 2 // 3 for number in numbers)
    assert len(numbers) == 100
    assert result.rows_estimate == pytest.approx(count, rel=0.1)
    assert result.dialect is not None
    assert result.dialect.separator == ";"
    assert result.format == "csv"


def test_small_and_compressed_text(tmp_path):
    path = write(tmp_path / "a.csv", "196\t242\t3\n186\t302\t5\n")
    result = sample(path)
    assert result.frame.rows() == [("196", "242", "3"), ("186", "302", "5")]
    assert result.frame.columns == ["1", "2", "3"]
    assert result.rows_estimate == 2
    assert sample(write(tmp_path / "day=1/b.csv", "id\n7\n")).frame.to_dicts() == [{"id": "7", "day": "1"}]


TITLES = ([["Loans of the library, Anytown"]], [["Loans"], [], ["Printed on", "2025-01-02"]], [["a b"] + [""] * 3])


@pytest.mark.parametrize("title", TITLES)
def test_lines_of_a_title_above_the_header_are_left_out(tmp_path, title):
    table = [["Reader", "Book", "Title", "Date"], *([f"R{n}", f"B{n}", f"A, {n}", "01/02/2024"] for n in range(9))]
    book = openpyxl.Workbook()
    for row in [*title, *table]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    text = "".join(";".join(row) + "\n" for row in [*title, *table])
    for path in (tmp_path / "a.xlsx", write(tmp_path / "a.csv", text)):
        result = sample(path)
        assert result.frame.columns == table[0]
        assert [list(row) for row in result.frame.rows()] == table[1:]
        assert result.rows_estimate == 9


@pytest.mark.parametrize(
    "text",
    [
        "id\n1\n2\n3\n",
        "text\nHello, a, 1\nWell, b, 2\n",
        "word;;\na;b;c\nd;e;f\n",
        "a;b;c\n1;2;3\n4;5;6\n",
    ],
)
def test_a_first_line_that_may_be_the_header_is_no_title(tmp_path, text):
    assert sample(write(tmp_path / "a.csv", text)).frame.height == text.count("\n") - 1


def test_json_lines_with_objects_inside(tmp_path):
    count = 40_000
    rows = [{"id": n, "meta": {"who": "A", "n": {"deep": n}}, "items": [{"a": n}]} for n in range(count)]
    rows[-1]["late"] = True
    result = sample(write(tmp_path / "a.jsonl", "\n".join(map(json.dumps, rows)) + "\n"))
    assert result.frame.columns == ["id", "meta.who", "meta.n.deep", "items", "late"]
    assert result.frame.row(1)[:4] == ("1", "A", "1", '[{"a": 1}]')
    assert result.frame["id"][-1] == str(count - 1)
    assert result.frame["late"][-1] == "true"
    assert result.rows_estimate == pytest.approx(count, rel=0.1)
    result = sample(write(tmp_path / "b.json", json.dumps({"data": rows[:5]})))
    assert result.frame.height == result.rows_estimate == 5


def test_parquet_row_groups(tmp_path):
    times = pl.datetime_range(pl.datetime(2025, 1, 1), pl.datetime(2025, 1, 30), "1d", eager=True)
    frame = pl.DataFrame(
        {
            "n": range(30),
            "t": times,
            "s": [{"a": 1, "b": {"c": "x"}}] * 30,
            "tags": [["x"]] * 30,
            "l": [[{"k": 1}]] * 30,
        }
    )
    frame.write_parquet(tmp_path / "a.parquet", row_group_size=10)
    result = sample(tmp_path / "a.parquet", rows=6)
    assert result.frame["n"].to_list() == ["0", "1", "10", "11", "20", "21"]
    assert result.frame.columns == ["n", "t", "s.a", "s.b.c", "tags", "l"]
    assert result.frame.dtypes == [pl.String, pl.Datetime("us"), pl.String, pl.String, pl.List(pl.String), pl.String]
    assert result.frame["l"][0] == '[{"k": 1}]'
    assert result.rows_estimate == 30
    frame.clear().write_parquet(tmp_path / "b.parquet")
    assert sample(tmp_path / "b.parquet").frame.shape == (0, 6)


def test_workbook_and_delta(tmp_path):
    book = openpyxl.Workbook()
    for row in [["id", "name"], *([n, f"n{n}"] for n in range(50))]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    result = sample(tmp_path / "a.xlsx", rows=10)
    assert result.rows_estimate == 50
    assert result.frame["id"].to_list() == ["0", "1", "2", "3", "4", "13", "22", "31", "40", "49"]
    write_deltalake(str(tmp_path / "t"), pa.table({"id": ["1", "2"], "m": [{"k": 1}] * 2}))
    assert sample(tmp_path / "t").frame.rows() == [("1", "1"), ("2", "1")]
