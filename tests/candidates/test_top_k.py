"""The heap of keys agrees with a stable sort."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.candidates.top_k import empty_into, find_largest, pack, push, unpack_score

# Ties, both zeros, neighbours, and the ends of the range.
VALUES = np.array(
    [-np.inf, -3e38, -1.0, -1e-45, -0.0, 0.0, 1e-45, 1.0, np.nextafter(np.float32(1), np.float32(2)), 3e38, np.inf],
    dtype=np.float32,
)


@settings(max_examples=80, deadline=None)
@given(st.integers(0, 2**32), st.integers(0, 60), st.integers(1, 70))
def test_the_best_agree_with_a_stable_sort(seed, count, depth):
    rng = np.random.default_rng(seed)
    scores, items = rng.choice(VALUES, count), rng.permutation(2**31 - 1 - np.arange(count)).astype(np.int64)
    items[::2] = rng.permutation(len(items[::2]))
    keys, row, size = np.empty(depth, dtype=np.int64), np.empty(depth, dtype=np.int64), 0
    for score, item in zip(scores, items, strict=True):
        size = push(keys, size, pack(score, item))
    assert size == min(count, depth)
    expected = items[np.lexsort((items, -scores))][:depth].tolist()
    if size == depth:
        assert unpack_score(keys[0]) == np.sort(scores)[-depth]
    empty_into(keys, size, row)
    assert row.tolist() == expected + [-1] * (depth - len(expected))


def test_keys_rise_with_scores_and_fall_with_items():
    assert all(unpack_score(pack(score, 7)) == score for score in VALUES)
    keys = [pack(score, item) for score in VALUES[[0, 1, 2, 3, 5, 6, 7, 8, 9, 10]] for item in (2**31 - 1, 5, 0)]
    assert (np.diff(keys) > 0).all()
    assert pack(np.float32(-0.0), 3) == pack(np.float32(0.0), 3)


def test_the_largest():
    values = np.random.default_rng(0).normal(size=200).astype(np.float32)
    assert all(find_largest(values[:count]) == values[:count].max() for count in range(1, 200))
