import csv
import io
import json
from functools import partial

import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from raw_tables import COLUMNS, failure, read, write

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw import delimited, records
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.dialect import choose_dialect
from recsys.dataset.raw.encoding import Utf8Reader
from recsys.dataset.raw.reading import read_batches

# --- quotes ----------------------------------------------------------------------------------------------


def test_quoted_fields_keep_separators_quotes_and_lines(tmp_path):
    path = write(tmp_path / "a.csv", 'id,name\r\n1,"a, ""b"""\r\n2,"two\nlines"\r\n')
    assert read(path).values == [("1", 'a, "b"'), ("2", "two\nlines")]


def test_stray_quotes_in_unquoted_exports_swallow_no_row(tmp_path):
    path = write(tmp_path / "a.tsv", 'id\tname\n1\t"Heroes\n2\t5" nail\n3\tWar"\n4\t"whole"\n')
    assert read(path).values == [("1", '"Heroes'), ("2", '5" nail'), ("3", 'War"'), ("4", '"whole"')]


def test_fields_over_several_lines_stay_whole_where_the_header_is_quoted_or_the_file_is_csv(tmp_path):
    # Every line has as many separators as the header, so that alone cannot tell.
    path = write(tmp_path / "a.tsv", '"id"\t"name"\n"1"\t"two\n\tlines"\n')
    assert read(path).values == [("1", "two\n\tlines")]
    path = write(tmp_path / "a.csv", 'id,name\n1,"two\n,lines"\n')
    assert read(path).values == [("1", "two\n,lines")]
    path = write(tmp_path / "b.csv", 'id,name\n1,"Heroes\n2,b\n')
    assert read(path).values == [("1", '"Heroes'), ("2", "b")]


def test_quote_inside_a_field_is_a_letter(tmp_path):
    path = write(tmp_path / "a.tsv", 'id\tname\n1\t5" nail\n2\t"say ""hi"""\n')
    assert read(path).values == [("1", '5" nail'), ("2", 'say "hi"')]


def test_letters_and_quoted_lines_in_one_file(tmp_path):
    path = write(tmp_path / "a.csv", 'id,name\n1,5" nail\n2,"two\n\nlines, ""x"""\n3,c\n')
    table = read(path)
    assert table.values == [("1", '5" nail'), ("2", 'two\n\nlines, "x"'), ("3", "c")]
    assert table.lines == [2, 3, 6]


@pytest.mark.parametrize(
    ("cell", "value"),
    [
        (r'"shoes \"red\""', 'shoes "red"'),
        (r'"\"all\""', '"all"'),
        (r'"a \"b\", c"', 'a "b", c'),
        (r'"path \\"', "path \\"),
        ('"two \\"x\\"\nlines"', 'two "x"\nlines'),
    ],
)
def test_backslash_before_a_quote_escapes_it(tmp_path, cell, value):
    path = write(tmp_path / "a.csv", f'id,name\n"0","\\"q\\" x"\n"1",{cell}\n"2","z"\n')
    table = read(path)
    assert table.values == [("0", '"q" x'), ("1", value), ("2", "z")]
    assert table.content[1] == {"id": "1", "name": value}


def test_backslashes_are_letters_where_quotes_are_doubled(tmp_path):
    path = write(tmp_path / "a.csv", 'id,name\n"1","C:\\dir\\"\n"2","say ""hi"""\n')
    assert read(path).values == [("1", "C:\\dir\\"), ("2", 'say "hi"')]


def test_quotes_as_set(tmp_path):
    path = write(tmp_path / "a.csv", "id,name\n1,'a,b'\n2,'c'\n")
    assert read(path, quote="'").values == [("1", "a,b"), ("2", "c")]
    path = write(tmp_path / "b.csv", 'id,name\n1,"a"\n2,"b"\n')
    assert read(path, quote="").values == [("1", '"a"'), ("2", '"b"')]


def test_quoted_blocks_are_read_as_the_whole(tmp_path, monkeypatch):
    rows = [(str(n), f'{"x" * (n % 7)}"{n}",\n\n{n}' if n % 3 else f"plain {n}") for n in range(200)]
    text = "id,name\n" + "".join(f'{key},"{value.replace(chr(34), chr(34) * 2)}"\n' for key, value in rows)
    path = write(tmp_path / "a.csv", text)
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (97,))
    table = read(path)
    assert table.values == rows
    assert len(table.frames) > 20
    assert table.rows == list(range(1, 201))
    lines = text.split("\n")
    assert all(lines[line - 1].startswith(f"{key},") for line, (key, _) in zip(table.lines, rows, strict=True))
    assert [row["name"] for row in table.content] == [value for _, value in rows]


def test_a_later_block_that_contradicts_is_named(tmp_path, monkeypatch):
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (64,))
    lines = (
        [f'{n}\t"a{n}"' for n in range(50)] + ['50\t"Heroes', "51\tb", '52\tWar"'] + [f"{n}\tb" for n in range(53, 99)]
    )
    path = write(tmp_path / "a.tsv", "id\tname\n" + "\n".join(lines) + "\n")
    assert "a.tsv: line 52 has a misplaced quote" in failure(path)
    assert read(path, quote="").values[50] == ("50", '"Heroes')


# --- separators, headers, line ends ------------------------------------------------------------------------


def test_pandas_csv_with_index_and_old_line_ends(tmp_path):
    pd.DataFrame({"id": [1, 2], "name": ["a", None]}).to_csv(tmp_path / "a.csv")
    assert read(tmp_path / "a.csv").values == [("1", "a"), ("2", "")]
    assert read(write(tmp_path / "b.csv", "\r\rid , name\r1,a\r2,b\r")).values == [("1", "a"), ("2", "b")]


def test_separator_of_several_characters(tmp_path):
    path = write(tmp_path / "movies.dat", "1::Toy Story (1995)::Animation|Comedy\n2::A: B::Drama\n")
    table = read(path, {"id": "1", "name": "2", "genres": "3"})
    assert table.values == [("1", "Toy Story (1995)", "Animation|Comedy"), ("2", "A: B", "Drama")]
    assert table.content[0] == {"1": "1", "2": "Toy Story (1995)", "3": "Animation|Comedy"}
    path = write(tmp_path / "b.csv", 'id||name\n1||"a||b"\n2||c|d\n')
    table = read(path, separator="||")
    assert table.values == [("1", "a||b"), ("2", "c|d")]
    assert table.content[0] == {"id": "1", "name": "a||b"}
    path = write(tmp_path / "c.csv", "id¦name\n1¦a\n")
    assert read(path, separator="¦").values == [("1", "a")]


def test_columns_by_name_or_position_without_a_header(tmp_path):
    path = write(tmp_path / "a.csv", "u1,Ann,5\nu2,Bob,4\n")
    assert read(path, {"id": "1", "n": "3"}, header=False).values == [("u1", "5"), ("u2", "4")]
    assert read(path, {"id": "user", "n": "3"}, names=["user", "name"]).values == [("u1", "5"), ("u2", "4")]
    message = failure(path, {"id": "4"}, header=False)
    assert "a.csv: no column '4'; found '1', '2', '3'" in message
    assert "4 as in dataset.items.names" in failure(path, {"id": "a"}, names=["a", "b", "c", "d"])


def test_config_that_names_the_values_of_the_first_line(tmp_path):
    path = write(tmp_path / "u.data", "196\t242\t881250949\n186\t302\t891717742\n")
    message = failure(path, {"user_id": "196", "item_id": "2"})
    assert "the first line is data, not a header (every cell is a number): '196', '242', '881250949'" in message
    assert "set dataset.items.header: false and name the columns by position, 1 to 3" in message
    # Names that look like the values below are the header if the config knows all of them.
    path = write(tmp_path / "b.csv", "c1,c2\nx5,y6\nx7,y8\n")
    assert read(path, {"a": "c1", "b": "c2"}).values == [("x5", "y6"), ("x7", "y8")]
    assert read(path, {"a": "1"}).values == [("c1",), ("x5",), ("x7",)]


def test_empty_last_column_of_all_lines_is_no_error(tmp_path):
    path = write(tmp_path / "a.csv", "id,name\n1,a,\n2,b,\n")
    assert read(path).values == [("1", "a"), ("2", "b")]
    path = write(tmp_path / "b.csv", "id,name,\n1,a,\n")
    assert read(path).values == [("1", "a")]


def test_separator_line_of_a_spreadsheet_is_no_data(tmp_path):
    table = read(write(tmp_path / "a.csv", "sep=;\nid;name\n1;a\n"))
    assert table.values == [("1", "a")]
    assert table.lines == [3]


def test_lines_are_counted_as_an_editor_does(tmp_path):
    table = read(write(tmp_path / "a.csv", '\n\nid,name\n\n1,"a\n\nb"\n\r\n2,c\n3,d'))
    assert table.values == [("1", "a\n\nb"), ("2", "c"), ("3", "d")]
    assert table.lines == [5, 9, 10]
    assert table.rows == [1, 2, 3]


def test_only_chosen_rows_are_given_as_json(tmp_path):
    path = write(tmp_path / "a.csv", "id,name,extra\n1,a,x\n2,b,y\n3,c,z\n")
    (batch,) = read_batches("items", RawFiles(path=str(path)), {"id": "id"})
    chosen = pl.Series([0, 2])
    assert [json.loads(text) for text in batch.content(chosen)] == [
        {"id": "1", "name": "a", "extra": "x"},
        {"id": "3", "name": "c", "extra": "z"},
    ]
    assert batch.locate(chosen) == [2, 4]
    assert batch.content(pl.Series([], dtype=pl.UInt32)) == batch.locate(pl.Series([], dtype=pl.UInt32)) == []


# --- bad input -----------------------------------------------------------------------------------------------

BAD_FILES = {
    "header only": ("a.csv", b"id,name\n", ["no rows of data", "check the export"]),
    "missing column": ("a.csv", b"id,nmae\n1,a\n", ["a.csv: no column 'name'", "'id', 'nmae'", "did you mean 'nmae'"]),
    "other spelling": ("a.csv", b"id,Full_Name,NAME\n1,a,b\n", ["no column 'name'", "did you mean 'NAME'"]),
    "one column": ("a.csv", b"id~name\n1~a\n", ["no column 'id'", "'id~name'", "set dataset.items.separator"]),
    "repeated column": ("a.csv", b"id,id,name\n1,2,3\n", ["a.csv: the header contains 'id' more than once", "rename"]),
    "too many fields": ("a.csv", b"id,name\n1,a\n\n2,b,c\n", ["a.csv: line 4 has 3 fields, expected 2", "2,b,c"]),
    "too few fields": ("a.tsv", b"id\tname\n1\ta\n2\n", ["a.tsv: line 3 has 1 field, expected 2", "separator"]),
    "open quote": ("a.csv", b'id,name\n1,"a,b"\n2,"c\n3,d\n4\n', ["a.csv: line 3 ", "misplaced quote", '""']),
    "closed quote": ("a.csv", b'id,name\n1,"a,b" c\n2,"x\ny"\n', ["a.csv: line 2 ", "misplaced quote"]),
    "control characters": (
        "a.csv",
        b"id||name\n" + b"1||a\n" * 20_000 + b"1||\x1f\x1e\x1d\x1c\x02\x03\x04\x05\n",
        ["control character"],
    ),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_names_itself_and_the_next_step(tmp_path, case):
    name, content, expected = BAD_FILES[case]
    form = {"separator": "||"} if case == "control characters" else {}
    message = failure(write(tmp_path / name, content), **form)
    for part in expected:
        assert part in message


def test_repeated_names_of_columns_that_nobody_needs(tmp_path):
    table = read(write(tmp_path / "a.csv", "id,x,x,name\n1,2,3,a\n"))
    assert table.values == [("1", "a")]
    assert table.content == [{"id": "1", "x": "2", "x.2": "3", "name": "a"}]


def test_a_cell_that_never_ends(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "_LARGEST_RECORD", 10_000)
    monkeypatch.setattr(delimited.Fields.__init__, "__defaults__", (4096,))
    body = "".join(f"{n},b{n}\n" for n in range(9_000))
    path = write(tmp_path / "a.csv", 'id,name\n1,"x"\n2,"open\n' + body)
    assert "line 3: a cell of more than 16 MB, perhaps an unclosed quote" in failure(path, quote='"')
    path = write(tmp_path / "b.csv", "id,name\n1,a\n2," + "x" * 50_000 + "\n")
    assert "line 3: a cell of more than 16 MB" in failure(path)


def test_result_of_a_query_has_row_numbers_and_its_own_form():
    data = b'id,name\n1,"two\nlines"\n2,"\\"\n3,x;y\n'
    files = RawFiles(path="postgresql://host/shop", query="SELECT 1", separator=";", header=False)
    source = Source("shop", "csv", partial(io.BytesIO, data), partial(io.BytesIO, data))
    (block,) = delimited.read_delimited("items", source, files, ["id", "name"])
    assert block.columns.rows() == [("1", "two\nlines"), ("2", "\\"), ("3", "x;y")]
    assert block.locate(pl.Series([0, 2])) == [1, 3]


CELL = st.text(st.sampled_from(list('ab1 ,;|\n"\\é书')), max_size=6)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.tuples(CELL, CELL), min_size=1, max_size=12),
    separator=st.sampled_from([",", ";", "\t", "|"]),
    style=st.sampled_from(["minimal", "all", "backslash"]),
    ends=st.sampled_from(["\n", "\r\n"]),
    block=st.integers(1, 200),
)
def test_what_the_csv_module_writes_is_read_back(tmp_path, rows, separator, style, ends, block):
    text = io.StringIO()
    writer = csv.writer(
        text,
        delimiter=separator,
        quoting=csv.QUOTE_MINIMAL if style == "minimal" else csv.QUOTE_ALL,
        lineterminator=ends,
        doublequote=style != "backslash",
        escapechar="\\" if style == "backslash" else None,
    )
    writer.writerow(["id", "name"])
    writer.writerows(rows)
    path = write(tmp_path / "a.csv", text.getvalue())
    escape = "backslash" if style == "backslash" else "doubled"
    files = RawFiles(path=str(path), separator=separator, header=True, quote='"', escape=escape)
    source = Source("a.csv", "csv", partial(path.open, "rb"), partial(path.open, "rb"))
    dialect = choose_dialect("items", "a.csv", path.read_bytes(), files, COLUMNS)
    fields = delimited.Fields("items", "a.csv", files, dialect, list(COLUMNS), block_bytes=block)
    with source.open() as stream:
        blocks = list(fields.blocks(Utf8Reader("items", "a.csv", stream, b"", "utf-8", fixed=True)))
    assert [row for part in blocks for row in part.columns.rows()] == rows
    every = [pl.Series(range(part.columns.height), dtype=pl.UInt32) for part in blocks]
    whole = [json.loads(text) for part, chosen in zip(blocks, every, strict=True) for text in part.content(chosen)]
    assert [(row["id"], row["name"]) for row in whole] == rows
