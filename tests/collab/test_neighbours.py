from math import sqrt

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array
from worlds import at, checkerboard, make_interactions, make_items, score

from recsys.collab.neighbours import NeighbourModel, fit_item_to_item, fit_transitions, keep_strongest
from recsys.config import ItemToItemConfig, TransitionsConfig
from recsys.dataset.histories import build_histories

ITEMS = make_items("a", "b", "c", "d")
# a and b share two of their two and three users; c shares one with b; nobody touches d.
SMALL = build_histories(
    make_interactions(("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("v", "b", 2), ("w", "b", 1), ("w", "c", 3)),
    ITEMS,
    at(5),
)
BOARD_ITEMS, BOARD_ROWS = checkerboard()
BOARD = build_histories(BOARD_ROWS, BOARD_ITEMS, at(60))
WEIGHTINGS = pytest.mark.parametrize("weighting", ["cosine", "bm25", "tfidf"])


def dense(model: NeighbourModel) -> np.ndarray:
    return model.similarity.toarray()


# --- item to item ----------------------------------------------------------------------------------------


def test_cosine_by_hand():
    near, far = 2 / sqrt(2 * 3), 1 / sqrt(3 * 1)
    model = fit_item_to_item(SMALL, ItemToItemConfig(k=5), threads=1)
    assert dense(model) == pytest.approx(np.array([[0, near, 0, 0], [near, 0, far, 0], [0, far, 0, 0], [0, 0, 0, 0]]))
    assert model.similarity.dtype == np.float32


def test_a_user_counts_once_however_often_and_heavily():
    rows = [
        {"user": u, "item": i, "day": d} for u, i, d in [("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("w", "b", 1)]
    ]
    plain = build_histories(make_interactions(*rows), ITEMS, at(5))
    often = build_histories(make_interactions(*rows, *({**row, "weight": 9.0} for row in rows[:2])), ITEMS, at(5))
    config = ItemToItemConfig()
    assert (dense(fit_item_to_item(plain, config, 1)) == dense(fit_item_to_item(often, config, 1))).all()


@WEIGHTINGS
@pytest.mark.parametrize("k", [1, 2, 3, 50])
def test_at_most_k_neighbours_never_oneself_never_nan(weighting, k):
    # Twins all around: eight items with the same users, so self-similarity stands out from nothing.
    rows = make_interactions(*((user, item, 1) for user in "uvw" for item in "abcdefgh"), ("x", "z", 1), ("y", "q", 1))
    histories = build_histories(rows, make_items(*"abcdefghzq"), at(5))
    model = fit_item_to_item(histories, ItemToItemConfig(weighting=weighting, k=k), threads=1)
    similarity = dense(model)
    assert (np.count_nonzero(similarity, axis=1) <= k).all()
    assert (np.diff(model.similarity.indptr) <= k).all()
    assert not np.diagonal(similarity).any()
    assert np.isfinite(similarity).all()


@WEIGHTINGS
def test_k_nearest_are_the_nearest(weighting):
    everyone = dense(fit_item_to_item(BOARD, ItemToItemConfig(weighting=weighting, k=1000), threads=1))
    few = dense(fit_item_to_item(BOARD, ItemToItemConfig(weighting=weighting, k=3), threads=1))
    assert (np.count_nonzero(few, axis=1) == 3).all()
    assert np.allclose(np.sort(few, axis=1)[:, -3:], np.sort(everyone, axis=1)[:, -3:])
    assert (few[few > 0] == everyone[few > 0]).all()


@WEIGHTINGS
def test_neighbours_share_the_colour(weighting):
    similarity = dense(fit_item_to_item(BOARD, ItemToItemConfig(weighting=weighting), threads=1))
    row, column = np.nonzero(similarity)
    assert (row % 2 == column % 2).all()
    assert len(row) > 100


def test_tfidf_with_a_user_who_has_all_but_one_item():
    # Such a user's inverse frequency is log(N) - log(N) = 0; items nobody else touched then have no direction.
    histories = build_histories(
        make_interactions(("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("v", "a", 1), ("w", "a", 1)), ITEMS, at(5)
    )
    model = fit_item_to_item(histories, ItemToItemConfig(weighting="tfidf"), threads=1)
    assert np.isfinite(dense(model)).all()


@WEIGHTINGS
@pytest.mark.parametrize("threads", [1, 2])
def test_same_histories_same_bytes_whatever_the_threads(weighting, threads):
    config = ItemToItemConfig(weighting=weighting, k=4)
    one, two = fit_item_to_item(BOARD, config, threads=1), fit_item_to_item(BOARD, config, threads=threads)
    for name in ("data", "indices", "indptr"):
        assert getattr(one.similarity, name).tobytes() == getattr(two.similarity, name).tobytes()


# --- transitions -----------------------------------------------------------------------------------------


def test_transitions_by_hand():
    rows = make_interactions(("u", "a", 1), ("u", "b", 2), ("u", "c", 3), ("v", "a", 1), ("v", "c", 2))
    histories = build_histories(rows, ITEMS, at(5))
    model = fit_transitions(histories, TransitionsConfig(distance_decay=0.5, max_distance=10))
    root = sqrt(2)
    expected = np.zeros((4, 4))
    expected[0, 1] = 1 / root
    expected[0, 2] = (0.5 + 1) / 2
    expected[1, 2] = 1 / root
    assert dense(model) == pytest.approx(expected)
    assert model.similarity.dtype == np.float32


@settings(max_examples=30)
@given(
    st.lists(st.tuples(st.sampled_from("uvw"), st.sampled_from("abcdef")), min_size=1, max_size=25), st.integers(1, 4)
)
def test_transitions_agree_with_a_slow_reference(taken, max_distance):
    histories = build_histories(make_interactions(*taken), make_items(*"abcdefg"), None)
    config = TransitionsConfig(max_distance=max_distance, distance_decay=0.7, k=7)
    expected = np.zeros((7, 7))
    users = np.bincount(histories.items, minlength=7)
    for start, stop in zip(histories.starts[:-1], histories.starts[1:], strict=True):
        own = histories.items[start:stop]
        for first in range(len(own)):
            for distance in range(1, min(max_distance, len(own) - 1 - first) + 1):
                one, other = own[first], own[first + distance]
                expected[one, other] += 0.7 ** (distance - 1) / sqrt(users[one] * users[other])
    assert dense(fit_transitions(histories, config)) == pytest.approx(expected, rel=1e-5)


def test_max_distance_and_k_bound_the_transitions():
    rows = make_interactions(*(("u", item, day) for day, item in enumerate("abcd")))
    histories = build_histories(rows, ITEMS, at(5))
    near = dense(fit_transitions(histories, TransitionsConfig(max_distance=1)))
    assert np.argwhere(near > 0).tolist() == [[0, 1], [1, 2], [2, 3]]
    best = dense(fit_transitions(histories, TransitionsConfig(k=1)))
    assert np.argwhere(best > 0).tolist() == [[0, 1], [1, 2], [2, 3]]


def test_without_an_order_nothing_follows_anything():
    histories = build_histories(make_interactions(("u", "a"), ("u", "b"), ordered=False), ITEMS, None)
    model = fit_transitions(histories, TransitionsConfig())
    assert model.similarity.shape == (4, 4)
    assert not dense(model).any()
    assert not score(model, histories).any()


@settings(max_examples=60)
@given(
    st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, 2.0]), min_size=6, max_size=6), min_size=1, max_size=5),
    st.integers(1, 7),
)
def test_keep_strongest_agrees_with_a_slow_reference(rows, k):
    matrix = np.array(rows, dtype=np.float32)
    expected = np.zeros_like(matrix)
    for number, row in enumerate(matrix):
        for column in sorted(np.flatnonzero(row), key=lambda place: (-row[place], place))[:k]:
            expected[number, column] = row[column]
    kept = keep_strongest(csr_array(matrix), k)
    assert (kept.toarray() == expected).all()
    assert kept.shape == matrix.shape


# --- scoring ---------------------------------------------------------------------------------------------


def test_score_sums_over_the_history_newest_most():
    similarity = np.array([[0, 8, 4, 0], [0, 0, 2, 0], [1, 0, 0, 0], [0, 0, 0, 0]], dtype=np.float32)
    model = NeighbourModel(csr_array(similarity), history_decay=0.5)
    rows = make_interactions(("u", "a", 1), ("u", "b", 2), ("v", "b", 1), ("w", "d", 1))
    scores = score(model, build_histories(rows, ITEMS, at(5)))
    assert scores.tolist() == [[0, 4, 4, 0], [0, 0, 2, 0], [0, 0, 0, 0]]
    assert (scores.dtype, scores.shape) == (np.float32, (3, 4))


def test_unknown_users_score_nothing():
    model = fit_item_to_item(SMALL, ItemToItemConfig(), threads=1)
    assert not score(model, SMALL.take(pl.Series(["nobody"]))).any()
    assert score(model, SMALL.select(slice(0, 0))).shape == (0, 4)


def test_items_new_tonight_have_no_neighbours_and_the_rest_moves_along():
    model = fit_item_to_item(SMALL, ItemToItemConfig(history_decay=0.5), threads=1)
    tonight = make_items("0 new", "b", "c", "d", "e")
    aligned = model.align(ITEMS["item_id"], tonight["item_id"])
    assert (dense(aligned)[1:4, 1:4] == dense(model)[1:, 1:]).all()
    assert aligned.similarity.nnz == 2
    # The decay came along: c is a step back, the new item is the newest.
    rows = make_interactions(("u", "c", 1), ("u", "0 new", 2))
    scores = score(aligned, build_histories(rows, tonight, at(5)))
    assert scores[0] == pytest.approx([0, 0.5 / sqrt(3), 0, 0, 0])


@pytest.mark.parametrize("fit", ["item_to_item", "transitions", "empty"])
def test_saved_and_loaded_is_the_same(fit, tmp_path):
    model = {
        "item_to_item": lambda: fit_item_to_item(BOARD, ItemToItemConfig(history_decay=0.6), threads=1),
        "transitions": lambda: fit_transitions(BOARD, TransitionsConfig(history_decay=0.6)),
        "empty": lambda: NeighbourModel(csr_array((20, 20), dtype=np.float32), 0.6),
    }[fit]()
    for name in ("one.npz", "two.npz"):
        model.save(tmp_path / name)
    assert (tmp_path / "one.npz").read_bytes() == (tmp_path / "two.npz").read_bytes()
    loaded = NeighbourModel.load(tmp_path / "one.npz", 0.6)
    assert score(loaded, BOARD).tobytes() == score(model, BOARD).tobytes()
    assert loaded.similarity.shape == (20, 20)


@pytest.mark.parametrize("pairs", [1, 30, 200])
def test_transitions_are_the_same_in_blocks_of_items(monkeypatch, pairs):
    whole = fit_transitions(BOARD, TransitionsConfig(k=5)).similarity
    monkeypatch.setattr("recsys.collab.neighbours._PAIRS", pairs)
    blocks = fit_transitions(BOARD, TransitionsConfig(k=5)).similarity
    assert whole.nnz
    for name in ("data", "indices", "indptr"):
        one, other = getattr(blocks, name), getattr(whole, name)
        assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes())
