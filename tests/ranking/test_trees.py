"""The laid-out trees say what LightGBM says, to the last bit."""

import lightgbm as lgb
import numpy as np
import pytest

from recsys.errors import ArtifactError
from recsys.ranking.trees import Forest

FEATURES = 12


def draw(rows: int, seed: int, missing: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    matrix = rng.normal(size=(rows, FEATURES)).astype(np.float32)
    # Few values, which are thresholds' neighbours; huge and tiny ones; a feature that is never missing; a constant.
    matrix[:, 1] = rng.integers(0, 4, rows)
    matrix[:, 2] *= rng.choice(np.array([1e-38, 1e-30, 1e30], dtype=np.float32), rows)
    matrix[rng.random(matrix.shape) < missing] = np.nan
    matrix[:, 0] = rng.normal(size=rows)
    matrix[:, 3] = 1.0
    return matrix


def train(leaves: int, trees: int, **more: object) -> lgb.Booster:
    matrix = draw(6000, 0, 0.2)
    rng = np.random.default_rng(1)
    wanted = matrix[:, 0] + np.isnan(matrix[:, 5]) + np.nan_to_num(matrix[:, 1]) + rng.normal(size=len(matrix))
    data = lgb.Dataset(matrix, (wanted > 2).astype(int), group=[30] * 200)
    parameters = {"objective": "lambdarank", "num_leaves": leaves, "min_data_in_leaf": 5, "verbosity": -1, **more}
    return lgb.train(parameters, data, trees)


@pytest.mark.parametrize("leaves", [2, 7, 15, 32, 33, 64])
@pytest.mark.parametrize("missing", [0.0, 0.3, 1.0])
def test_scores_are_those_of_the_booster(leaves, missing):
    booster = train(leaves, 40)
    loaded = lgb.Booster(model_str=booster.model_to_string())
    for rows in (0, 1, 127, 128, 129, 1000):
        matrix = draw(rows, rows, missing)
        expected = booster.predict(matrix) if rows else np.zeros(0)
        for one in (booster, loaded):
            assert np.array_equal(Forest.from_text(one.model_to_string()).score(list(matrix.T)), expected)


def test_values_on_a_threshold_turn_as_they_do_in_the_booster():
    booster = train(31, 30)
    forest = Forest.from_text(booster.model_to_string())
    matrix = np.zeros((len(forest.thresholds), FEATURES), dtype=np.float32)
    for around in (-np.inf, np.inf):
        with np.errstate(over="ignore"):
            beside = np.nextafter(forest.thresholds, np.float32(around))
        matrix[np.arange(len(matrix)), forest.features] = beside
        assert np.array_equal(forest.score(list(matrix.T)), booster.predict(matrix))
    matrix[np.arange(len(matrix)), forest.features] = forest.thresholds
    assert np.array_equal(forest.score(list(matrix.T)), booster.predict(matrix))


def test_a_missing_value_where_training_saw_none():
    booster = train(31, 30)
    forest = Forest.from_text(booster.model_to_string())
    # Feature 0 was never missing, and LightGBM takes a missing value there for 0.
    thresholds = forest.thresholds[forest.features == 0]
    assert (thresholds < 0).any()
    assert (thresholds > 0).any()
    matrix = draw(500, 3, 0.2)
    matrix[:, 0] = np.nan
    scores = forest.score(list(matrix.T))
    assert np.array_equal(scores, booster.predict(matrix))
    matrix[:, 0] = 0.0
    assert np.array_equal(scores, forest.score(list(matrix.T)))


def test_trees_that_found_nothing_to_split_on():
    data = lgb.Dataset(np.zeros((60, 2), dtype=np.float32), np.arange(60) % 2, group=[30, 30])
    booster = lgb.train({"objective": "lambdarank", "verbosity": -1}, data, 3)
    columns = [np.ones(5, dtype=np.float32)] * 2
    assert np.array_equal(Forest.from_text(booster.model_to_string()).score(columns), booster.predict(np.ones((5, 2))))


@pytest.mark.parametrize(("leaves", "more"), [(65, {}), (15, {"zero_as_missing": True})])
def test_other_trees_are_refused(leaves, more):
    with pytest.raises(ArtifactError, match="train again"):
        Forest.from_text(train(leaves, 5, **more).model_to_string())


def test_what_features_add_sums_up_to_the_score():
    booster = train(15, 40)
    forest, matrix = Forest.from_text(booster.model_to_string()), draw(500, 7, 0.2)
    each = forest.explain(list(matrix.T), np.arange(FEATURES, dtype=np.int32), FEATURES)
    means = sum(forest.means[root] for root in forest.roots)
    assert each.sum(axis=1) + means == pytest.approx(booster.predict(matrix))
    # Feature 3 is the same everywhere; 0, 1 and 5 are what the label is made of.
    weight = np.abs(each).mean(axis=0)
    assert weight[3] == 0
    assert set(np.argsort(-weight)[:3]) == {0, 1, 5}
    groups = np.where(np.arange(FEATURES) == 5, 1, -1).astype(np.int32)
    groups[[0, 1]] = 0
    some = forest.explain(list(matrix.T), groups, 2)
    assert some == pytest.approx(np.stack([each[:, 0] + each[:, 1], each[:, 5]], axis=1))
