import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys.dataset.id_map import align_rows, align_square, map_ids

ids = st.sets(st.sampled_from(["", "0", "10", "9", "B", "b", "ñ", "文", "ب", "🎈", "𐍈"])).map(
    lambda chosen: pl.Series(sorted(chosen, key=str.encode), dtype=pl.String)
)


@settings(max_examples=60)
@given(ids, ids)
def test_map_ids_agrees_with_a_dictionary(trained, tonight):
    place = {item: number for number, item in enumerate(trained)}
    mapped = map_ids(trained, tonight)
    assert mapped.dtype == np.int64
    assert mapped.tolist() == [place.get(item, -1) for item in tonight]


@settings(max_examples=60)
@given(ids, ids)
def test_aligning_keeps_the_known_and_nothing_else(trained, tonight):
    size = len(trained)
    rows = np.arange(2 * size, dtype=np.float32).reshape(size, 2) + 1
    square = np.arange(size * size, dtype=np.float32).reshape(size, size) % 3
    place = {item: number for number, item in enumerate(trained)}
    aligned = align_rows(rows, trained, tonight)
    matrix = align_square(csr_array(square), trained, tonight)
    assert (aligned.dtype, aligned.shape) == (np.float32, (len(tonight), 2))
    assert (matrix.dtype, matrix.shape) == (np.float32, (len(tonight), len(tonight)))
    dense = matrix.toarray()
    for row, one in enumerate(tonight):
        assert np.array_equal(aligned[row], rows[place[one]] if one in place else [np.nan] * 2, equal_nan=True)
        for column, other in enumerate(tonight):
            both = one in place and other in place
            assert dense[row, column] == (square[place[one], place[other]] if both else 0)


def test_the_same_catalogue_changes_nothing():
    catalogue = pl.Series(["a", "b", "c"])
    rows = np.array([[1.0], [np.nan], [3.0]], dtype=np.float32)
    square = csr_array(np.array([[0, 1, 0], [2, 0, 0], [0, 0, 0]], dtype=np.float32))
    assert align_rows(rows, catalogue, catalogue).tobytes() == rows.tobytes()
    assert (align_square(square, catalogue, catalogue) != square).nnz == 0
