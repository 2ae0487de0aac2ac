import logging

import numpy as np
import polars as pl
import pytest
from worlds import at, make_interactions, make_items

from recsys.dataset.histories import build_histories
from recsys.dataset.id_map import IdMap
from recsys.dataset.user_items import UserItems, read_ids, warn_of_unknown_ids
from recsys.errors import DataError


def test_ids_of_a_list_are_spelt_as_ingest_spells_them(tmp_path):
    folder = tmp_path / "lists [1]"
    folder.mkdir()
    path = folder / "blocked*.csv"
    path.write_text('user_id,note,item_id\n76.0,x,40.00\n" 74 ",y,007\n76,z,40\n,w,9\n5,v,nan\n', encoding="utf-8")
    assert read_ids(path, ["user_id", "item_id"], "block list").rows() == [("76", "40"), ("74", "007")]
    assert read_ids(path, ["item_id"], "block list").to_series().to_list() == ["40", "007", "9"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "block list .*: no such file; give a CSV file with a header and the columns item_id"),
        (b"item\n1\n", "no column item_id; found item; give"),
        (b"", "not readable as CSV in UTF-8"),
        (b"item_id\n\xff\n", "not readable as CSV in UTF-8"),
    ],
)
def test_unreadable_list_names_itself_and_the_next_step(tmp_path, content, message):
    path = tmp_path / "blocked.csv"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_ids(path, ["item_id"], "block list")


def test_unknown_ids_are_counted_with_an_example(caplog):
    known = IdMap(pl.Series(["1", "2"]))
    with caplog.at_level(logging.WARNING):
        assert warn_of_unknown_ids(pl.Series(["2", "9", "1", "9", "8"]), known, "block list b.csv") == 2
        assert warn_of_unknown_ids(pl.Series(["2", "1"]), known, "block list b.csv") == 0
    assert [record.getMessage() for record in caplog.records] == [
        "block list b.csv: 2 of 4 item ids not in the catalogue (such as '9') and without effect"
    ]


def test_pairs_are_numbered_by_histories_and_selected_by_users():
    histories = build_histories(
        make_interactions(("u", "a", 1), ("v", "a", 1), ("w", "b", 1)), make_items("a", "b"), at(2)
    )
    pairs = pl.DataFrame(
        {
            "user_id": ["w", "u", "u", "x", "w"],
            "item_id": ["b", "b", "a", "a", "gone"],
            "value": [1.0, 2.0, 3.0, 4.0, 5.0],
        }
    )
    numbered = UserItems.number(pairs, histories)
    assert (numbered.starts.tolist(), numbered.items.tolist(), numbered.values.tolist()) == (
        [0, 2, 2, 3],
        [0, 1, 1],
        [3.0, 2.0, 1.0],
    )
    assert (numbered.starts.dtype, numbered.items.dtype, numbered.values.dtype) == (np.int64, np.int32, np.float32)
    tail = numbered.select(1, 2)
    assert (tail.starts.tolist(), tail.items.tolist()) == ([0, 0, 1], [1])
