import datetime as dt
import sys
import zipfile

import openpyxl
import polars as pl
import pytest
from raw_tables import failure, read

from recsys.dataset.cleaning.ids import is_rounded

# Without a zone, as sheets have them.
MORNING = dt.datetime(2021, 1, 2, 3, 4, 5, tzinfo=dt.UTC).replace(tzinfo=None)
MIDNIGHT = dt.datetime(2021, 1, 3, tzinfo=dt.UTC).replace(tzinfo=None)


@pytest.fixture
def orders(tmp_path):
    book = openpyxl.Workbook()
    sheet = book.active
    sheet.title = "Orders"
    for row in [
        [],
        ["id", "name", "when", "price", "flag"],
        [12, "Ann", MORNING, 1.5, True],
        ["013", None, MIDNIGHT.date(), 2, False],
        [None, None, None, None, None],
        [14.0, "Bob", None, 0.1, None],
    ]:
        sheet.append(row)
    book.save(tmp_path / "orders.xlsx")
    return tmp_path / "orders.xlsx"


def test_cells_are_text_and_times_as_they_look(orders):
    columns = {name: name for name in ("id", "name", "when", "price", "flag")}
    table = read(orders, columns)
    assert table.values == [
        ("12", "Ann", MORNING, "1.5", "true"),
        ("013", None, MIDNIGHT, "2", "false"),
        ("14", "Bob", None, "0.1", None),
    ]
    assert table.lines == [3, 4, 6]
    assert table.rows == [1, 2, 3]
    assert table.content[2] == {"id": "14", "name": "Bob", "when": None, "price": "0.1", "flag": None}
    assert table.frames[0].schema["when"] == pl.Datetime("us")


def test_sheets_by_name(orders):
    book = openpyxl.load_workbook(orders)
    book.create_sheet("Items").append(["id", "name"])
    book["Items"].append([1, "x"])
    book.create_sheet("Empty")
    book.save(orders)
    assert "has 3 sheets, 'Orders', 'Items', 'Empty'; set dataset.items.sheet" in failure(orders)
    assert read(orders, sheet="Items").values == [("1", "x")]
    assert "no sheet 'items'; found 'Orders', 'Items', 'Empty'" in failure(orders, sheet="items")
    assert "sheet 'Empty' is empty" in failure(orders, sheet="Empty")


def test_without_a_header(tmp_path):
    book = openpyxl.Workbook()
    for row in ([101, 5, 1609459200], [102, 6, 1609462800]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx", {"user": "1", "time": "3"}).values == [
        ("101", "1609459200"),
        ("102", "1609462800"),
    ]
    assert read(tmp_path / "a.xlsx", {"user": "u"}, names=["u"]).values == [("101",), ("102",)]
    assert "no column 'user'; found '1', '2', '3'" in failure(tmp_path / "a.xlsx", {"u": "user"})


def test_formulas_give_their_stored_value_and_those_without_are_reported(tmp_path, caplog):
    book = openpyxl.Workbook()
    for row in (["id", "name"], [1, "=A2*2"], [2, "=A3*2"]):
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    assert read(tmp_path / "a.xlsx").values == [("1", None), ("2", None)]
    assert "sheet 'Sheet': formulas without a stored value are read as blank cells: 2, such as B2" in caplog.text
    # What a spreadsheet program stores beside the formula.
    stored = tmp_path / "b.xlsx"
    with zipfile.ZipFile(tmp_path / "a.xlsx") as old, zipfile.ZipFile(stored, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            for value in ("2", "4"):
                data = data.replace(b"<v></v>", b"<v>" + value.encode() + b"</v>", 1).replace(
                    b"<v />", b"<v>" + value.encode() + b"</v>", 1
                )
            new.writestr(name, data)
    caplog.clear()
    assert read(stored).values == [("1", "2"), ("2", "4")]
    assert not caplog.text


def test_bad_workbooks(orders, tmp_path):
    broken = tmp_path / "broken.xlsx"
    with zipfile.ZipFile(broken, "w") as parts:
        parts.writestr("[Content_Types].xml", "<Types/>")
        parts.writestr("xl/workbook.xml", "<workbook")
    assert "broken.xlsx: cannot be read as a workbook" in failure(broken)
    assert "no column 'title'" in failure(orders, {"title": "title"})


@pytest.mark.parametrize("declared", [None, 10], ids=["honest", "lying"])
def test_a_workbook_that_expands_without_limit_is_refused(orders, tmp_path, declared):
    bomb = tmp_path / "bomb.xlsx"
    with zipfile.ZipFile(orders) as old, zipfile.ZipFile(bomb, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, old.read(name) + b" " * (8_000_000 if name.endswith("sheet1.xml") else 0))
        for part in new.infolist() if declared else ():
            part.file_size = declared
    assert "bomb.xlsx: expands to more than 0.002 GB" in failure(bomb, max_unpacked_gb=0.002)
    if declared is None:
        assert read(bomb).values == read(orders).values


def test_missing_extra_is_named(orders, monkeypatch):
    monkeypatch.setitem(sys.modules, "fastexcel", None)
    assert "pip install 'nightly-recsys[excel]'" in failure(orders)


def test_numbers_that_lost_digits_are_floats_and_the_same_text_is_not(tmp_path):
    book = openpyxl.Workbook()
    for row in [["id", "name"], [12345678901234567, "12345678901234567"], [12, "b"]]:
        book.active.append(row)
    book.save(tmp_path / "orders.xlsx")
    values = read(tmp_path / "orders.xlsx").values
    assert values[0][1] == "12345678901234567"
    assert values[0][0].endswith(".0")
    assert is_rounded(pl.lit(values[0][0])).pipe(pl.select).item()
    assert values[1] == ("12", "b")


def test_rows_of_a_title_above_the_header_are_left_out(tmp_path):
    book = openpyxl.Workbook()
    for row in [["Orders", "2025"], [], ["id", "name", "name"], [1, "a", "b"]]:
        book.active.append(row)
    book.save(tmp_path / "a.xlsx")
    table = read(tmp_path / "a.xlsx", {"id": "id"})
    assert table.values == [("1",)]
    assert table.lines == [4]
    assert "the header contains 'name' more than once; rename one" in failure(tmp_path / "a.xlsx")
