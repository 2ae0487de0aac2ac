import numpy as np
import polars as pl
import pytest

from recsys.dataset.values import list_values, mark_values


@pytest.mark.parametrize(
    ("column", "expected"),
    [
        (["Ann, Bo", "Bo", "", None, "Bo, Ann, Bo"], [["Ann", "Bo"], ["Bo"], [], [], ["Bo", "Ann"]]),
        # Only the separator that ingest writes splits a text.
        (["Ann,Bo", "é; 文", "a, , b"], [["Ann,Bo"], ["é; 文"], ["a", "b"]]),
        ([["x", "", "y", "x"], [], None, ["x, y"]], [["x", "y"], [], [], ["x, y"]]),
        ([2008, None], [["2008"], []]),
        ([None, None], [[], []]),
    ],
)
def test_values_of_each_item(column, expected):
    assert list_values(pl.Series(column)).to_list() == expected


def test_marks_have_a_sorted_column_per_value():
    marks, names = mark_values(pl.Series(["b, a", None, "ñ", "a", "文, ñ"]))
    assert names.to_list() == ["a", "b", "ñ", "文"]
    assert marks.toarray().tolist() == [[1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 1]]
    assert marks.dtype == np.float32
    assert marks.has_sorted_indices


def test_marks_of_a_column_without_values():
    marks, names = mark_values(pl.Series(["", None], dtype=pl.String))
    assert (marks.shape, len(names)) == ((2, 0), 0)
