import numpy as np
import pytest

from recsys.candidates.four_products import multiply_four


@pytest.mark.parametrize("size", [1, 3, 16, 64, 100, 384])
@pytest.mark.parametrize("others", [0, 4, 5, 7, 52])
def test_products_agree_with_numpy_in_any_place(size, others):
    rng = np.random.default_rng(size)
    four, many = (rng.normal(size=(count, size)).astype(np.float32) for count in (4, others))
    products = np.full((4, others + 4), 7, dtype=np.float32)
    multiply_four(*four, many, products)
    np.testing.assert_allclose(products[:, :others], four @ many.T, rtol=1e-4, atol=1e-4)
    assert (products[:, others:] == 7).all()
    # A candidate's products must not depend, to the last bit, on the three beside it nor on where it stands.
    moved = np.empty_like(products)
    for place in range(4):
        for company in (four[::-1], rng.normal(size=(4, size)).astype(np.float32)):
            vectors = company.copy()
            vectors[place] = four[2]
            multiply_four(*vectors, many[::-1].copy(), moved)
            assert moved[place, :others][::-1].tobytes() == products[2, :others].tobytes()
