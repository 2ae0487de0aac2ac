"""The mean of a forest over its growth."""

import lightgbm as lgb
import numpy as np
import pytest

from recsys.ranking.averaging import average_over_growth


@pytest.fixture
def data() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    matrix = rng.normal(size=(400, 3))
    return matrix, matrix[:, 0] + 0.5 * matrix[:, 1] ** 2 + 0.1 * rng.normal(size=400)


def grow(data: tuple[np.ndarray, np.ndarray], trees: int) -> lgb.Booster:
    # Without the mean of the labels, which LightGBM would put into the first tree.
    settings = {"objective": "regression", "boost_from_average": False, "num_leaves": 5, "verbosity": -1, "seed": 0}
    return lgb.train(settings, lgb.Dataset(*data), trees)


@pytest.mark.parametrize(("grown", "used"), [(7, 7), (7, 4), (1, 1)])
def test_scores_are_the_mean_over_all_numbers_of_trees(
    grown: int, used: int, data: tuple[np.ndarray, np.ndarray]
) -> None:
    booster = grow(data, grown)
    wanted = np.mean([booster.predict(data[0], num_iteration=count) for count in range(1, used + 1)], axis=0)
    average_over_growth(booster, used)
    assert booster.predict(data[0], num_iteration=used) == pytest.approx(wanted, abs=1e-12)
    # Text is what is saved.
    again = lgb.Booster(model_str=booster.model_to_string())
    assert again.predict(data[0], num_iteration=used) == pytest.approx(wanted, abs=1e-6)


def test_later_trees_keep_their_weight(data: tuple[np.ndarray, np.ndarray]) -> None:
    booster, untouched = grow(data, 5), grow(data, 5)
    average_over_growth(booster, 3)
    last = [each.predict(data[0], start_iteration=3, num_iteration=2) for each in (booster, untouched)]
    assert np.array_equal(*last)


def test_a_tree_without_a_split(data: tuple[np.ndarray, np.ndarray]) -> None:
    matrix, _ = data
    booster = grow((np.zeros_like(matrix), np.zeros(len(matrix))), 3)
    average_over_growth(booster, booster.num_trees())
    assert np.isfinite(booster.predict(matrix)).all()
