import json

import pytest
from raw_tables import failure, read, write

from recsys.dataset.raw import json_objects


def test_json_values_read_as_text_and_missing_keys_as_null(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 7, "name": "x"}\n\n{"id": 12.0}\n{"name": true, "id": "007"}\n')
    table = read(path)
    assert table.values == [("7", "x"), ("12", None), ("007", "true")]
    assert table.rows == [1, 2, 3]
    assert table.lines == [1, 3, 4]
    assert table.content[1] == {"id": 12.0}


def test_dots_reach_into_objects_and_lists_of_any_shape(tmp_path):
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
    assert [row[0] for row in table.values] == ["1", "2", "3", "4", "5", "6"]
    assert [row[1] for row in table.values] == ['["A", "É"]', "B", None, None, "plain key", None]
    assert [row[2] for row in table.values] == [None, "1", None, None, None, None]
    assert [row[3] for row in table.values][2:4] == ["{}", "text"]
    assert read(path, {"first": "meta.authors.0"}).values[:2] == [("A",), (None,)]


@pytest.mark.parametrize("odd", ["", '{"id": 9, "name": ["forces the slow way"]}\n'])
def test_fast_and_slow_ways_agree(tmp_path, odd):
    rows = [{"id": 1, "m": {"a": "x"}}, {"id": "02", "m": None}, {"id": True, "m.a": "y"}, {"id": 2.5, "name": 12.0}]
    path = write(tmp_path / "a.jsonl", odd + "\n".join(map(json.dumps, rows)))
    values = read(path, {"id": "id", "a": "m.a", "name": "name"}).values
    assert values[-4:] == [("1", "x", None), ("02", None, None), ("true", "y", None), ("2.5", None, "12")]


def test_an_odd_line_far_down_is_read_and_a_broken_one_is_named(tmp_path):
    lines = [json.dumps({"id": n, "name": "x"}) for n in range(25_000)]
    lines[15_000] = '{"id": 15000, "name": ["odd"]}'
    table = read(write(tmp_path / "a.jsonl", "\n".join(lines)))
    assert [row[0] for row in table.values] == [str(n) for n in range(25_000)]
    assert table.values[15_000][1] == '["odd"]'
    lines[22_000] = "{"
    assert "a.jsonl:22001: is not JSON" in failure(write(tmp_path / "a.jsonl", "\n".join(lines)))


RECORDS = [{"id": 1, "name": "a [}"}, {"id": 2, "name": 'b "x", {'}, {"id": 3, "more": [{"k": []}]}]
ARRAYS = {
    "array on a line": json.dumps(RECORDS),
    "array, an object per line": "[\n" + ",\n".join(map(json.dumps, RECORDS)) + "\n]\n",
    "pretty array": json.dumps(RECORDS, indent=2),
    "wrapped": json.dumps({"data": RECORDS}),
    "pretty and wrapped": json.dumps({"items": RECORDS}, indent=2),
    "wrapped with a count": json.dumps({"items": RECORDS, "total": 3}, indent=1),
    "pretty objects": "\n".join(json.dumps(record, indent=4) for record in RECORDS),
}


@pytest.mark.parametrize("case", ARRAYS)
@pytest.mark.parametrize("block", [7, 1 << 22])
def test_arrays_and_objects_over_several_lines(tmp_path, monkeypatch, case, block):
    monkeypatch.setattr(json_objects, "_BLOCK_BYTES", block)
    monkeypatch.setattr("recsys.dataset.raw.json_rows._HEAD_BYTES", max(block, 300))
    text = ARRAYS[case]
    table = read(write(tmp_path / "a.json", text))
    assert table.values == [("1", "a [}"), ("2", 'b "x", {'), ("3", None)]
    assert table.content == RECORDS
    starts = [text.count("\n", 0, text.index(f'"id": {n}')) + 1 for n in (1, 2, 3)]
    assert all(start - 1 <= line <= start for line, start in zip(table.lines, starts, strict=True))


def test_a_record_whose_only_value_is_a_list_of_objects_is_a_row_where_others_follow(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"items": [{"a": 1}]}\n{"items": []}\n')
    assert read(path, {"i": "items"}).values == [('[{"a": 1}]',), ("[]",)]


def test_key_that_no_row_of_any_file_has(tmp_path):
    write(tmp_path / "set/a.jsonl", '{"id": 1, "meta": {"nam": 2}}\n')
    write(tmp_path / "set/b.jsonl", '{"id": 2}\n')
    message = failure(tmp_path / "set")
    assert "a.jsonl: no column 'name'; found 'id', 'meta.nam'" in message
    # A key that is null everywhere is there; so is one that only the last file has.
    write(tmp_path / "set/b.jsonl", '{"id": 2, "name": null}\n')
    assert read(tmp_path / "set").values == [("1", None), ("2", None)]
    # The head of a file may lack a key.
    write(tmp_path / "c.jsonl", '{"id": 2}\n{"id": 3, "name": "x"}\n')
    assert read(tmp_path / "c.jsonl", limit=1).values == [("2", None)]


def test_line_without_an_end(tmp_path):
    path = write(tmp_path / "a.jsonl", '{"id": 1}\n{"id": "' + "x" * 30_000_000)
    assert "a.jsonl: line 2 has more than 16 MB" in failure(path)


BAD_FILES = {
    "gbk": ("a.jsonl", '{"id": 1, "name": "红楼梦"}'.encode("gbk"), ["a.jsonl: line 1 is neither UTF-8"]),
    "broken line": ("a.jsonl", b'{"id": 1, "name": "a"}\n\n{"id": 2,\n', ["a.jsonl:3: is not JSON", "fix or delete"]),
    "broken first line": ("a.jsonl", b'{"id": 1,\n{"id": 2}\n{"id": 3}\n', ["a.jsonl:1: is not JSON"]),
    "two objects": ("a.jsonl", b'{"id":1,"name":"a"},{"id":2}', ["a.jsonl:1: is not JSON"]),
    "no objects": ("a.json", b"[1, 2]", ["a.json:1: is not JSON (expected a JSON object", "1, 2"]),
    "a text": ("a.json", b'"x"\n', ["a.json:1: holds '\"x\"'", "a JSON object per line"]),
    "array without an end": ("a.json", b'[{"id": 1},\n{"id": 2}', ["a.json:2: is not JSON"]),
    "array cut in an object": ("a.json", b'[{"id": 1},\n{"id": ', ["a.json:2: is not JSON"]),
    "more after an array": (
        "a.json",
        b'[{"id": 1}]\n[{"id": 2}]',
        ["a.json:2: is not JSON (there is more text"],
    ),
    "deep": ("a.json", b'[{"id": ' + b"[" * 200_000, ["a.json:1: is not JSON"]),
    "empty array": ("a.json", b"[]", ["no rows of data"]),
}


@pytest.mark.parametrize("case", BAD_FILES)
def test_bad_file_names_itself_and_the_line(tmp_path, case):
    name, content, expected = BAD_FILES[case]
    message = failure(write(tmp_path / name, content))
    for part in expected:
        assert part in message


@pytest.mark.parametrize("before", ["", '"page": 1, "next": null, "q": "a, \\"b\\"", '])
def test_array_in_a_single_object_on_one_line(tmp_path, before):
    rows = '[{"id": "1", "name": "a"}, {"id": "2", "name": "b"}]'
    path = write(tmp_path / "a.json", f'{{{before}"data": {rows}, "total": 2}}\n')
    assert read(path).values == [("1", "a"), ("2", "b")]
    # A row with a list of objects of its own.
    path = write(tmp_path / "b.json", f'{{"id": "3", "name": "c", "parts": {rows}}}\n')
    assert read(path).values == [("3", "c")]


def test_floats_that_lost_digits_do_not_look_like_integers(tmp_path):
    path = write(
        tmp_path / "a.json", '{"id": 9007199254740993.0}\n{"id": 9007199254740993}\n{"id": 1e5}\n{"id": "x"}\n'
    )
    table = read(path, {"id": "id"})
    assert table.values == [("9007199254740992.0",), ("9007199254740993",), ("100000",), ("x",)]
