import polars as pl

from recsys.dataset.cleaning.lists import join_lists, split_tags


def text(*values: str | None) -> pl.Series:
    return pl.Series(values, dtype=pl.String)


def test_tags_come_from_text_json_python_and_real_lists():
    raw = text(" a, <b>b</b>,,a , ", '["x, y", null, "z", 3]', "['q', \"it's\"]", None, "[]", "[open", "{1: 2}")
    expected = [["a", "b"], ["x, y", "z", "3"], ["q", "it's"], [], [], ["[open"], ["{1: 2}"]]
    assert split_tags(raw, ",").to_list() == expected
    assert split_tags(text("rock &amp; roll;jazz"), ";").to_list() == [["rock & roll", "jazz"]]
    assert split_tags(pl.Series([["b ", None, "a", "b"], None, []]), ",").to_list() == [["b", "a"], [], []]
    assert split_tags(text(), ",").dtype == pl.List(pl.String)


def test_lists_join_into_text():
    assert join_lists(text("a", '["x","y"]', None, "[1, 2", '[{"a": 1}]')).to_list() == [
        "a",
        "x, y",
        None,
        "[1, 2",
        '[{"a": 1}]',
    ]
    assert join_lists(pl.Series([["x", None, "y"], []])).to_list() == ["x, y", ""]
