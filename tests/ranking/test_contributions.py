"""What features add to scores: the amounts sum to the score."""

from dataclasses import replace

import numpy as np
import pytest
from test_ranker import fit, make_rows

from recsys.ranking.contributions import find_contributions
from recsys.ranking.ranker import Ranker, count_trees
from recsys.ranking.ranker_choice import RankerChoice
from recsys.ranking.training_rows import find_starts, read_column

ROWS = make_rows()
COLUMNS = {name: read_column(ROWS, name) for name in ("text_z", "known", "noise")}
STARTS = find_starts(ROWS)


@pytest.fixture(scope="module")
def ranker() -> Ranker:
    return fit(ROWS)


def test_shapley_values_sum_to_the_score_of_the_trees(ranker: Ranker) -> None:
    trees = replace(ranker, choice=replace(ranker.choice, blend_share=0.5))
    found = find_contributions(trees, COLUMNS, STARTS)
    assert found.features == ("blend", *ranker.features)
    scores = ranker.forest.score([found.values[0], *(COLUMNS[name] for name in ranker.features)])
    # All rows differ from the sum by the mean over the training rows.
    rest = scores - found.amounts.sum(axis=1)
    np.testing.assert_allclose(rest, rest[0], atol=1e-6)
    # What decides in this world adds most.
    assert found.features[np.abs(found.amounts).mean(axis=0).argmax()] == "known"


def test_terms_of_the_blend_sum_to_its_score(ranker: Ranker) -> None:
    blend = replace(ranker, choice=RankerChoice(10, None))
    columns = {**COLUMNS, "text_z": np.where(COLUMNS["noise"] > 0, COLUMNS["text_z"], np.float32(np.nan))}
    found = find_contributions(blend, columns, STARTS)
    assert found.features == ("text_z",)
    np.testing.assert_allclose(found.amounts.sum(axis=1), blend.score(columns, STARTS), rtol=1e-5)


def test_every_tree_is_counted_as_progress() -> None:
    from test_ranker import CONFIG, FEATURES

    counted: list[int] = []
    Ranker.fit(ROWS, FEATURES, ("text",), CONFIG, n=5, seed=0, threads=1, progress=counted.append)
    assert 0 < sum(counted) <= count_trees(ROWS, CONFIG, None)
    choice = RankerChoice(7, 0.5)
    counted.clear()
    Ranker.fit(ROWS, FEATURES, ("text",), CONFIG, n=5, seed=0, threads=1, choice=choice, progress=counted.append)
    assert sum(counted) == count_trees(ROWS, CONFIG, choice) == 7
