"""Scores in every form keep the same promises: the best, any pair, everything."""

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.scores import DenseScores, Scores, SharedScores, SummedScores, add_up

NAN = np.nan


def dense(array: np.ndarray) -> Scores:
    return DenseScores.from_array(array)


def some_columns(array: np.ndarray) -> Scores:
    """Only the columns in which something is said."""
    said = np.flatnonzero(~np.isnan(array).all(axis=0)).astype(np.int32)
    return DenseScores(np.nan_to_num(array[:, said], nan=-np.inf), array.shape[1], said)


def summed(array: np.ndarray) -> Scores:
    return SummedScores(*make_sums(array))


def summed_at_once(array: np.ndarray) -> Scores:
    return add_up(*make_sums(array))


def summed_by_rows(array: np.ndarray) -> Scores:
    starts, rows, weights, matrix = make_sums(array)
    return add_up(starts, rows, weights, matrix.toarray())


def make_sums(array: np.ndarray) -> tuple[Any, ...]:
    """Every user adds half of a row of its own twice, and one that says nothing."""
    users, items = array.shape
    rows = np.stack([np.arange(users), np.full(users, users), np.arange(users)], axis=1).ravel()
    matrix = csr_array(np.concatenate([np.nan_to_num(array), np.zeros((1, items), dtype=np.float32)]))
    return np.arange(users + 1) * 3, rows, np.full(3 * users, 0.5, dtype=np.float32), matrix


def shared(array: np.ndarray) -> Scores:
    row = array[0]
    order = np.argsort(-np.nan_to_num(row, nan=-np.inf), kind="stable")
    return SharedScores(row, order[: (~np.isnan(row)).sum()].astype(np.int32), len(array))


FORMS = {
    "dense": dense,
    "some columns": some_columns,
    "summed": summed,
    "summed at once": summed_at_once,
    "summed by rows": summed_by_rows,
    "shared": shared,
}
# Few values, so that ties abound.
VALUES = [NAN, 0.25, 0.5, 1.0, 1e30]


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, Exclusions]:
    users, items = draw(st.integers(1, 4)), draw(st.integers(1, 150))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    array = rng.choice(VALUES, (users, items)).astype(np.float32)
    taken = rng.random((users, items)) < 0.2
    starts = np.concatenate([[0], np.cumsum(taken.sum(axis=1))])
    return array, Exclusions(rng.random(items) < 0.8, starts, np.nonzero(taken)[1].astype(np.int32))


def choose_slowly(row: np.ndarray, depth: int) -> list[int]:
    said = [column for column in range(len(row)) if not np.isnan(row[column])]
    return sorted(said, key=lambda column: (-row[column], column))[:depth]


@pytest.fixture(params=list(FORMS))
def form(request: pytest.FixtureRequest) -> Callable[[np.ndarray], Scores]:
    return FORMS[request.param]


@settings(max_examples=80, deadline=None)
@given(world=worlds(), depth=st.integers(1, 160), name=st.sampled_from(list(FORMS)))
def test_the_best_agree_with_a_slow_reference(world, depth, name):
    array, exclusions = world
    array = np.repeat(array[:1], len(array), axis=0) if name == "shared" else array
    top = FORMS[name](array).find_top(depth, exclusions)
    assert (top.dtype, top.shape) == (np.int32, (len(array), depth))
    allowed = np.where(exclusions.to_array(), NAN, array)
    for row, found in zip(allowed, top, strict=True):
        expected = choose_slowly(row, depth)
        assert found.tolist() == expected + [-1] * (depth - len(expected))


@settings(max_examples=40, deadline=None)
@given(world=worlds(), name=st.sampled_from(list(FORMS)))
def test_pairs_and_the_whole_array_are_what_went_in(world, name):
    array, exclusions = world
    array = np.repeat(array[:1], len(array), axis=0) if name == "shared" else array
    scores = FORMS[name](array)
    assert np.array_equal(scores.to_array(), array, equal_nan=True)
    found = scores.look_up(exclusions.starts, exclusions.items)
    users = np.repeat(np.arange(len(array)), np.diff(exclusions.starts))
    assert found.dtype == np.float32
    assert np.array_equal(found, array[users, exclusions.items], equal_nan=True)


def test_the_caller_may_write_into_the_array(form):
    scores = form(np.array([[1.0, NAN, 2.0]] * 2, dtype=np.float32))
    scores.to_array()[:] = -7.0
    assert np.array_equal(scores.to_array(), [[1.0, NAN, 2.0]] * 2, equal_nan=True)


def test_many_ties_at_the_cut_go_to_the_smaller_items(form):
    array = np.ones((3, 5000), dtype=np.float32)
    array[:, 4000] = 2.0
    exclusions = Exclusions(np.arange(5000) >= 100, np.array([0, 0, 1, 1]), np.array([100], dtype=np.int32))
    assert form(array).find_top(3, exclusions).tolist() == [[4000, 100, 101], [4000, 101, 102], [4000, 100, 101]]


def test_top_of_nothing(form):
    unscored = form(np.full((2, 3), NAN, dtype=np.float32))
    assert unscored.find_top(2, Exclusions.none(2, 3)).tolist() == [[-1, -1]] * 2
    assert np.isnan(unscored.look_up(np.array([0, 1, 2]), np.array([0, 2], dtype=np.int32))).all()
    empty = form(np.zeros((1, 0), dtype=np.float32))
    assert empty.find_top(2, Exclusions.none(1, 0)).tolist() == [[-1, -1]]
    assert empty.to_array().shape == (1, 0)


def test_negative_scores_are_scores_where_they_are_not_sums():
    array = np.array([[-1.0, NAN, -0.0, 0.0]], dtype=np.float32)
    assert dense(array).find_top(4, Exclusions.none(1, 4)).tolist() == [[2, 3, 0, -1]]
    # Of sums, what is at 0 or below is not said.
    for form in (summed, summed_at_once, summed_by_rows):
        assert form(array).find_top(4, Exclusions.none(1, 4)).tolist() == [[-1] * 4]


def test_large_catalogues_are_summed_as_they_are_asked_for():
    rng = np.random.default_rng(0)
    matrix = csr_array(
        (rng.random((50, 30_000)) < 0.01).astype(np.float32) * rng.normal(size=30_000).astype(np.float32)
    )
    starts, rows = np.arange(0, 51, 5), np.arange(50, dtype=np.int32)
    weights, exclusions = rng.random(50).astype(np.float32), Exclusions.none(10, 30_000)
    few, many = add_up(starts[:11], rows, weights, matrix), SummedScores(starts[:11], rows, weights, matrix)
    assert isinstance(few, DenseScores)
    assert isinstance(add_up(np.tile(starts[:11], 10), rows, weights, matrix), SummedScores)
    assert few.to_array().tobytes() == many.to_array().tobytes()
    assert np.array_equal(few.find_top(100, exclusions), many.find_top(100, exclusions))


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 5), st.integers(1, 90), st.integers(1, 100))
def test_sums_in_every_form_are_those_of_numpy(seed, users, items, depth):
    """Entries of both signs and of 0, sums that return to 0, weights of 0, and users without a history."""
    rng = np.random.default_rng(seed)
    array = rng.choice(np.array([0, 0, 0.5, -0.5, 0.25], dtype=np.float32), (6, items))
    matrix = csr_array(array)
    # An entry of 0 that is stored, as it is where a weight is.
    matrix.data[::7] = 0.0
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 9, users))])
    rows = rng.integers(0, 6, starts[-1]).astype(np.int32)
    weights = rng.choice(np.array([0, 1, 0.5], dtype=np.float32), starts[-1])
    taken = rng.integers(0, items, 2 * users).astype(np.int32)
    exclusions = Exclusions(rng.random(items) < 0.8, 2 * np.arange(users + 1), taken)
    dense = matrix.toarray()
    pairs = [slice(*ends) for ends in pairwise(starts)]
    sums = np.array([weights[own] @ dense[rows[own]] for own in pairs], dtype=np.float32).reshape(users, items)
    expected = np.where(sums > 0, sums, np.float32(NAN))
    allowed = np.where(exclusions.to_array(), NAN, expected)
    best = [choose_slowly(row, depth) for row in allowed]
    asked = np.tile(np.arange(items, dtype=np.int32), users)
    for scores in (
        SummedScores(starts, rows, weights, matrix),
        add_up(starts, rows, weights, matrix),
        add_up(starts, rows, weights, dense),
    ):
        assert scores.find_top(depth, exclusions).tolist() == [one + [-1] * (depth - len(one)) for one in best]
        assert np.array_equal(scores.to_array(), expected, equal_nan=True)
        found = scores.look_up(items * np.arange(users + 1), asked)
        assert np.array_equal(found, expected.ravel(), equal_nan=True)
