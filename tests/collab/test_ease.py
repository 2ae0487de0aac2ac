import logging

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, checkerboard, make_interactions, make_items, score

from recsys.collab.ease import fit_ease
from recsys.collab.neighbours import NeighbourModel
from recsys.config import EaseConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.errors import ConfigError

ITEMS = make_items("a", "b", "c", "d")
# a and b share two of their two and three users; c shares one with b; nobody touches d.
ROWS = [("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("v", "b", 2), ("w", "b", 1), ("w", "c", 3)]
SMALL = build_histories(make_interactions(*ROWS), ITEMS, at(5))
BOARD_ITEMS, BOARD_ROWS = checkerboard()
BOARD = build_histories(BOARD_ROWS, BOARD_ITEMS, at(60))


def dense(model: NeighbourModel) -> np.ndarray:
    return model.similarity.toarray()


def slow(histories: Histories, regularization: float) -> np.ndarray:
    """The closed form, in float64, over the whole catalogue."""
    touched = histories.matrix(np.ones(len(histories.items), dtype=np.float32)).toarray().astype(np.float64)
    inverse = np.linalg.inv(touched.T @ touched + regularization * np.eye(histories.n_items))
    weights = inverse / -np.diag(inverse)
    np.fill_diagonal(weights, 0.0)
    return weights


def test_by_hand():
    # X'X + I = [[3, 2, 0], [2, 4, 1], [0, 1, 2]]; its inverse is [[7, -4, 2], [-4, 6, -3], [2, -3, 8]] / 13.
    model = fit_ease(SMALL, EaseConfig(regularization=1.0), threads=1)
    expected = [[0, 4 / 6, -2 / 8, 0], [4 / 7, 0, 3 / 8, 0], [-2 / 7, 3 / 6, 0, 0], [0, 0, 0, 0]]
    assert dense(model) == pytest.approx(np.array(expected), rel=1e-5)
    assert model.similarity.dtype == np.float32
    # Who has a and b has more reason to take c than who has a alone, to whom it speaks against c.
    assert score(model, SMALL)[:, 2] == pytest.approx([3 / 8 - 2 / 8, 3 / 8 - 2 / 8, 3 / 8], rel=1e-5)


def test_each_item_keeps_the_strongest_of_what_points_at_it():
    def kept(k: int) -> list[list[int]]:
        return np.argwhere(dense(fit_ease(SMALL, EaseConfig(regularization=1.0, k=k), threads=1))).tolist()

    assert kept(1) == [[0, 1], [1, 0], [1, 2]]
    # A negative entry counts by its magnitude.
    assert kept(2) == [[0, 1], [0, 2], [1, 0], [1, 2], [2, 0], [2, 1]]


@settings(max_examples=50)
@given(
    st.lists(st.tuples(st.sampled_from("uvwxyz"), st.sampled_from("abcdef")), min_size=1, max_size=30),
    st.sampled_from([1.0, 7.5, 200.0]),
    st.integers(1, 7),
)
def test_agrees_with_a_slow_reference(taken, regularization, k):
    histories = build_histories(make_interactions(*taken), make_items(*"abcdefg"), None)
    found = dense(fit_ease(histories, EaseConfig(regularization=regularization, k=k), threads=1))
    expected = slow(histories, regularization)
    assert ((found == 0) | (np.abs(found - expected) < 1e-5)).all()
    # By magnitude, each column has its k largest.
    largest = np.sort(np.abs(expected), axis=0)[::-1][:k]
    assert np.sort(np.abs(found), axis=0)[::-1][:k] == pytest.approx(largest, abs=1e-5)
    assert (np.count_nonzero(found, axis=0) <= k).all()


def test_more_items_than_one_batch(monkeypatch):
    whole = dense(fit_ease(BOARD, EaseConfig(regularization=2.0), threads=1))
    assert whole == pytest.approx(slow(BOARD, 2.0), abs=1e-5)
    for size in (1, 7, 20):
        monkeypatch.setattr("recsys.collab.ease._BATCH", size)
        assert dense(fit_ease(BOARD, EaseConfig(regularization=2.0), threads=1)) == pytest.approx(whole, abs=1e-6)


def test_a_user_counts_once_however_often_and_heavily():
    heavy = ({"user": user, "item": item, "day": day, "weight": 9.0} for user, item, day in ROWS[:2])
    often = build_histories(make_interactions(*ROWS, *heavy), ITEMS, at(5))
    config = EaseConfig()
    assert (dense(fit_ease(SMALL, config, threads=1)) == dense(fit_ease(often, config, threads=1))).all()


def test_colours_have_nothing_to_do_with_each_other():
    row, column = np.nonzero(dense(fit_ease(BOARD, EaseConfig(), threads=1)))
    assert (row % 2 == column % 2).all()
    assert len(row) > 100


@pytest.mark.parametrize("threads", [1, 2])
def test_same_histories_same_bytes(threads):
    first, second = fit_ease(BOARD, EaseConfig(k=4), threads), fit_ease(BOARD, EaseConfig(k=4), threads)
    for name in ("data", "indices", "indptr"):
        assert getattr(first.similarity, name).tobytes() == getattr(second.similarity, name).tobytes()


@pytest.mark.parametrize(("max_items", "fitted"), [(0, False), (2, False), (3, True)])
def test_ease_is_not_fitted_above_max_items(max_items, fitted, caplog):
    with caplog.at_level(logging.INFO, "recsys"):
        model = fit_ease(SMALL, EaseConfig(max_items=max_items), threads=1)
    assert model.similarity.shape == (4, 4)
    assert (model.similarity.nnz > 0) is fitted
    assert caplog.messages == (
        [] if fitted else [f"ease: not fitted, 3 items with users are more than max_items {max_items}"]
    )
    assert score(model, SMALL).any() == fitted


def test_nobody_at_all():
    model = fit_ease(SMALL.select(slice(0, 0)), EaseConfig(), threads=1)
    assert model.similarity.shape == (4, 4)
    assert not score(model, SMALL).any()


def test_a_matrix_that_has_no_inverse_says_what_to_do():
    config = EaseConfig.model_construct(regularization=-5.0, k=3, max_items=10, history_decay=1.0)
    with pytest.raises(ConfigError, match=r"collab.ease.regularization -5: too small for float32 with 3 items; give"):
        fit_ease(SMALL, config, threads=1)


def test_decay_is_the_configs():
    rows = make_interactions(("u", "a", 1), ("u", "d", 2))
    histories = build_histories(rows, ITEMS, at(5))
    model = fit_ease(SMALL, EaseConfig(regularization=1.0, history_decay=0.5), threads=1)
    assert score(model, histories)[0] == pytest.approx([0, 0.5 * 4 / 6, -0.5 * 2 / 8, 0], rel=1e-5)
