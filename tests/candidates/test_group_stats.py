import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.candidates.group_stats import fill_lowest, find_best, standardise

NAN = np.nan
STARTS = np.array([0, 3, 3, 5, 7])
VALUES = np.array([1, 3, NAN, 4, 4, NAN, NAN], dtype=np.float32)


def test_standard_deviations_by_hand():
    above, below = standardise(VALUES, STARTS, 1)
    # Mean 2, deviation the root of 2; all equal; nothing known.
    assert above == pytest.approx([-(0.5**0.5), 0.5**0.5, NAN, 0, 0, NAN, NAN], nan_ok=True)
    assert below == pytest.approx([2**0.5, 0, NAN, 0, 0, NAN, NAN], nan_ok=True)
    assert standardise(VALUES, STARTS, 0)[0][:2].tolist() == [-1, 1]
    assert above.dtype == below.dtype == np.float32
    assert standardise(np.array([7], dtype=np.float32), np.array([0, 1]), 1)[0].tolist() == [0]


def test_what_is_missing_counts_as_the_lowest():
    assert fill_lowest(VALUES, STARTS).tolist() == [1, 3, 1, 4, 4, 0, 0]


def test_the_best_by_hand():
    assert find_best(VALUES, STARTS, 2).tolist() == [[1, 0], [-1, -1], [3, 4], [-1, -1]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.lists(st.integers(0, 40), min_size=1, max_size=4), st.integers(1, 12))
def test_the_best_agree_with_a_stable_sort(seed, sizes, n):
    starts = np.concatenate([[0], np.cumsum(sizes)])
    scores = np.random.default_rng(seed).choice([NAN, -1.0, 0.0, 0.5, 2.0], starts[-1]).astype(np.float32)
    for group, found in enumerate(find_best(scores, starts, n)):
        rows = [row for row in range(starts[group], starts[group + 1]) if not np.isnan(scores[row])]
        expected = sorted(rows, key=lambda row: (-scores[row], row))[:n]
        assert found.tolist() == expected + [-1] * (n - len(expected))
