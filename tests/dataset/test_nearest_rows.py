import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.dataset.nearest_rows import find_nearest

RNG = np.random.default_rng(0)
# Small whole numbers of both signs, so that many products tie, cancel out or are negative.
DENSE = RNG.integers(-2, 4, (40, 12)) * (RNG.random((40, 12)) < 0.4)


def matrix(dtype: type = np.float64) -> csr_array:
    return csr_array(DENSE.astype(dtype))


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("k", [1, 3, 100])
def test_the_largest_products_and_ties_to_the_smaller_column(dtype, k):
    left = matrix(dtype)
    found = find_nearest(left, csr_array(left.T), k, threads=1)
    products = DENSE @ DENSE.T
    np.fill_diagonal(products, 0)
    expected = np.zeros_like(products)
    for own, row in zip(expected, products, strict=True):
        best = np.lexsort((np.arange(40), -row))[:k]
        own[best] = np.maximum(row[best], 0)
    assert found.dtype == dtype
    assert found.toarray().tolist() == expected.tolist()
    assert (products < 0).any()


@pytest.mark.parametrize("scale", [2.0**-20, 2.0**20])
def test_values_far_from_one(scale):
    scaled, plain = (find_nearest(each, csr_array(each.T), 4, threads=1) for each in (matrix() * scale, matrix()))
    assert scaled.indices.tolist() == plain.indices.tolist()
    assert (scaled.data == plain.data * scale**2).all()


@pytest.mark.parametrize(("first", "last"), [(0, 7), (7, 40), (39, None), (5, 5)])
def test_some_rows_alone_are_the_same(first, last):
    left = matrix()
    whole = find_nearest(left, csr_array(left.T), 3, threads=1)
    part = find_nearest(left, csr_array(left.T), 3, 1, first, last)
    assert part.shape == (len(range(40)[first:last]), 40)
    assert part.toarray().tolist() == whole.toarray()[first:last].tolist()


def test_threads_and_blocks_change_nothing(monkeypatch):
    left = matrix(np.float32)
    whole = find_nearest(left, csr_array(left.T), 3, threads=1)
    monkeypatch.setattr("recsys.dataset.nearest_rows._BLOCK", 3)
    again = find_nearest(left, csr_array(left.T), 3, threads=4)
    for name in ("data", "indices", "indptr"):
        assert getattr(again, name).tobytes() == getattr(whole, name).tobytes()
