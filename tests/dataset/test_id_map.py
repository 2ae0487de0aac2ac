import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys.dataset.id_map import IdMap, number_pairs

IDS = st.sets(st.sampled_from(["", "0", "10", "9", "B", "b", "ñ", "文", "ب", "🎈", "𐍈"])).map(
    lambda chosen: pl.Series(sorted(chosen, key=str.encode), dtype=pl.String)
)


@settings(max_examples=60)
@given(IDS, st.lists(st.sampled_from(["", "0", "9", "B", "ñ", "🎈", "zz", None])))
def test_indexes_agree_with_a_dictionary(ids, wanted):
    index = {item: number for number, item in enumerate(ids)}
    indexes = IdMap(ids).index_of(pl.Series(wanted, dtype=pl.String))
    assert indexes.dtype == np.int64
    assert indexes.tolist() == [index.get(item, -1) for item in wanted]


def test_ids_in_any_order_are_sorted_and_distinct():
    ids = IdMap.of(pl.Series(["b", "a", "文", "b"]))
    assert (ids.ids.to_list(), len(ids)) == (["a", "b", "文"], 3)
    assert ids.ids_of(np.array([2, 0, 0])).to_list() == ["文", "a", "a"]
    assert IdMap.of(pl.Series([], dtype=pl.String)).index_of(pl.Series(["a"])).tolist() == [-1]


@settings(max_examples=60)
@given(IDS, IDS)
def test_aligning_keeps_known_rows_only(trained, tonight):
    size = len(trained)
    rows = np.arange(2 * size, dtype=np.float32).reshape(size, 2) + 1
    square = np.arange(size * size, dtype=np.float32).reshape(size, size) % 3
    index = {item: number for number, item in enumerate(trained)}
    aligned = IdMap(trained).align_rows(rows, tonight)
    matrix = IdMap(trained).align_square(csr_array(square), tonight)
    assert (aligned.dtype, aligned.shape) == (np.float32, (len(tonight), 2))
    assert (matrix.dtype, matrix.shape) == (np.float32, (len(tonight), len(tonight)))
    dense = matrix.toarray()
    for row, item in enumerate(tonight):
        expected = rows[index[item]] if item in index else [np.nan] * 2
        assert np.array_equal(aligned[row], expected, equal_nan=True)
        for column, other in enumerate(tonight):
            both = item in index and other in index
            assert dense[row, column] == (square[index[item], index[other]] if both else 0)


def test_aligning_to_the_same_catalogue_copies_bytes():
    catalogue = pl.Series(["a", "b", "c"])
    rows = np.array([[1.0], [np.nan], [3.0]], dtype=np.float32)
    square = csr_array(np.array([[0, 1, 0], [2, 0, 0], [0, 0, 0]], dtype=np.float32))
    assert IdMap(catalogue).align_rows(rows, catalogue).tobytes() == rows.tobytes()
    assert (IdMap(catalogue).align_square(square, catalogue) != square).nnz == 0


def test_pairs_with_an_unknown_id_are_dropped_and_the_rest_is_sorted():
    pairs = pl.DataFrame(
        {"item_id": ["y", "x", "y", "gone", "x"], "position": [3, 1, 4, 1, 5], "user_id": ["v", "v", "u", "u", "who"]}
    )
    numbered = number_pairs(pairs, IdMap(pl.Series(["t", "u", "v"])), IdMap(pl.Series(["x", "y"])))
    assert numbered.columns == ["user_index", "item_index", "position"]
    assert numbered.rows() == [(1, 1, 4), (2, 0, 1), (2, 1, 3)]
    assert numbered.schema["user_index"] == numbered.schema["item_index"] == pl.UInt32
    assert number_pairs(pairs.clear(), IdMap(pl.Series(["u"])), IdMap(pl.Series(["x"]))).schema == numbered.schema
