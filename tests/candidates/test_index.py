"""The index finds nearly what looking at all finds, and scores it the same."""

import numpy as np
import pytest
import torch

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.index import IndexedScores, ItemIndex
from recsys.candidates.products import score_items

ITEMS, USERS, SIZE = 4000, 300, 16


@pytest.fixture(scope="module")
def vectors() -> tuple[np.ndarray, np.ndarray]:
    """Users and items around fifty topics."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(50, SIZE))
    items, users = (
        topics[rng.integers(50, size=count)] + 0.5 * rng.normal(size=(count, SIZE)) for count in (ITEMS, USERS)
    )
    return users.astype(np.float32), items.astype(np.float32)


@pytest.fixture(scope="module")
def index(vectors: tuple[np.ndarray, np.ndarray]) -> ItemIndex:
    # Every second number of the catalogue is an item of the index.
    return ItemIndex(vectors[1], np.arange(0, 2 * ITEMS, 2, dtype=np.int32))


def score(users: np.ndarray, index: ItemIndex, approximate: bool) -> IndexedScores:
    unscored = np.zeros(len(users), dtype=bool)
    unscored[::50] = True
    return score_items(users, unscored, index, 2 * ITEMS, approximate=approximate)


def exclude(seed: int = 0) -> Exclusions:
    rng = np.random.default_rng(seed)
    taken = [rng.permutation(2 * ITEMS)[: rng.integers(0, 60)].astype(np.int32) for _ in range(USERS)]
    starts = np.concatenate([[0], np.cumsum([len(some) for some in taken])])
    return Exclusions(rng.random(2 * ITEMS) < 0.7, starts, np.concatenate(taken))


def test_most_of_the_best_are_found(vectors, index):
    exclusions = exclude()
    exact = score(vectors[0], index, False).find_top(50, exclusions)
    found = score(vectors[0], index, True).find_top(50, exclusions)
    assert found.shape == exact.shape
    said = exact[:, 0] >= 0
    assert (found[~said] == -1).all()
    shared = [len(set(one) & set(other)) / 50 for one, other in zip(exact[said], found[said], strict=True)]
    assert np.mean(shared) > 0.9
    forbidden = exclusions.to_array()
    for user, items in enumerate(found):
        items = items[items >= 0]
        assert len(set(items.tolist())) == len(items)
        assert not forbidden[user, items].any()
        assert (items % 2 == 0).all()


def test_scores_of_pairs_are_the_products(vectors, index):
    exact, found = (score(vectors[0], index, approximate).to_array() for approximate in (False, True))
    np.testing.assert_allclose(found, exact, rtol=1e-4, atol=1e-4)
    assert np.isnan(found[0]).all()
    assert np.isnan(found[1, 1])


def test_the_best_stand_in_order(vectors, index):
    scores = score(vectors[0], index, True)
    top = scores.find_top(20, Exclusions.none(USERS, 2 * ITEMS))
    values = scores.to_array()
    for user in range(1, 50):
        assert (np.diff(values[user, top[user]]) <= 0).all()


def test_company_changes_nothing(vectors, index):
    exclusions, users = exclude(), vectors[0]
    whole = score(users, index, True).find_top(30, exclusions)
    for first, last in ((1, 2), (120, 140), (299, 300)):
        some = score_items(users[first:last], np.zeros(last - first, dtype=bool), index, 2 * ITEMS, approximate=True)
        part = some.find_top(30, exclusions.pick(np.arange(first, last)))
        said = np.arange(first, last) % 50 != 0
        assert np.array_equal(part[said], whole[first:last][said])


def test_same_vectors_same_index(vectors):
    exclusions = exclude()
    numbers = np.arange(0, 2 * ITEMS, 2, dtype=np.int32)
    one, other = (score(vectors[0], ItemIndex(vectors[1], numbers), True).find_top(40, exclusions) for _ in range(2))
    assert np.array_equal(one, other)


def test_fewer_items_than_asked_for(vectors):
    few = ItemIndex(vectors[1][:5], np.arange(5, dtype=np.int32))
    top = score_items(vectors[0][:3], np.zeros(3, dtype=bool), few, 5, approximate=True).find_top(
        9, Exclusions.none(3, 5)
    )
    assert top.shape == (3, 9)
    assert (top[:, 5:] == -1).all()


def test_torch_keeps_its_threads(vectors, index):
    before = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        score(vectors[0], ItemIndex(vectors[1], index.items), approximate=True).find_top(5, exclude())
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_all_scores_are_those_of_looking_at_all(vectors, index):
    users = vectors[0]
    exact, found = (score(users, index, approximate).to_array() for approximate in (False, True))
    assert found.tobytes() == exact.tobytes()
    assert np.isnan(found[::50]).all()
    assert np.isnan(found[:, 1::2]).all()
    # One by one they are the same up to rounding.
    starts = np.arange(USERS + 1, dtype=np.int64) * 2 * ITEMS
    pairs = score(users, index, True).look_up(starts, np.tile(np.arange(2 * ITEMS, dtype=np.int32), USERS))
    np.testing.assert_allclose(found.ravel(), pairs, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("depth", [1, 7, 60, 90])
@pytest.mark.parametrize(("count", "approximate"), [(62, True), (62, False), (1000, False)])
def test_a_search_of_everything_agrees_with_a_sort(depth, count, approximate):
    """62 items are one cluster; half of the items come twice, so that products tie."""
    rng = np.random.default_rng(depth)
    half = rng.integers(-2, 3, (count // 2, 8)).astype(np.float32)
    items, users = np.concatenate([half, half]), rng.integers(-2, 3, (9, 8)).astype(np.float32)
    users[4] = 0.0
    numbers = np.sort(rng.permutation(2 * count)[:count]).astype(np.int32)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 30, 9))])
    excluded = rng.integers(0, 2 * count, starts[-1]).astype(np.int32)
    exclusions = Exclusions(rng.random(2 * count) < 0.8, starts, excluded.copy())
    index = ItemIndex(items, numbers)
    unscored = np.arange(9) == 2
    top = IndexedScores(users, unscored, index, 2 * count, approximate=approximate).find_top(depth, exclusions)
    assert len(index.clusters.centres if approximate else index.tiles.centres) == max(1, count // 256)
    assert np.array_equal(exclusions.items, excluded)
    products, forbidden = users @ items.T, exclusions.to_array()[:, numbers]
    for user in range(9):
        order = [place for place in np.lexsort((numbers, -products[user])) if not forbidden[user, place]]
        expected = [] if unscored[user] else numbers[order][:depth].tolist()
        assert top[user].tolist() == expected + [-1] * (depth - len(expected))


def test_each_item_has_a_place_in_its_cluster(vectors, index):
    clusters = index.clusters
    held = clusters.items >= 0
    assert np.array_equal(np.sort(clusters.items[held]), index.items)
    assert np.array_equal(clusters.vectors[held], vectors[1][clusters.items[held] // 2])
    assert not clusters.vectors[~held].any()
    assert np.isin(np.diff(clusters.starts), [1, 2, 3], invert=True).all()
    assert len(clusters.centres) > 10


def test_scores_of_a_large_catalogue_are_not_kept(vectors):
    """Whole and in part, users get the best of all products, up to the order of those that are nearly equal."""
    users, count = vectors[0], 20_000
    items = np.random.default_rng(0).normal(size=(count, SIZE)).astype(np.float32)
    index, exclusions = ItemIndex(items, np.arange(count, dtype=np.int32)), Exclusions.none(USERS, count)
    found = score_items(users, np.zeros(USERS, dtype=bool), index, count, approximate=False)
    assert isinstance(found, IndexedScores)
    top = found.find_top(30, exclusions)
    products = users @ items.T
    ours = np.take_along_axis(products, top, axis=1)
    np.testing.assert_allclose(ours, -np.sort(-products, axis=1)[:, :30], rtol=1e-4, atol=1e-4)
    for first, last in ((1, 2), (120, 140)):
        some = score_items(users[first:last], np.zeros(last - first, dtype=bool), index, count, approximate=False)
        assert np.array_equal(some.find_top(30, exclusions.pick(np.arange(first, last))), top[first:last])
