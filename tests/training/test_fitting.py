"""One decision about the ranker: what the evaluation model chose is what the refit serves."""

import json
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from miniature import Trained, change

from recsys.artifacts.runs import find_run
from recsys.config import AUTO, Config
from recsys.pipelines.promote import load_champion
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_choice import RankerChoice, Validation
from recsys.registry.tracking import connect
from recsys.registry.versions import EVALUATION_MODEL, need_version, open_bundle
from recsys.serving.bundle import Bundle
from recsys.storage.home import run_folder
from recsys.training.encoder_choice import SHARES
from recsys.training.fitting import Fitted
from recsys.training.ranker_fitting import fit_ranker, refit_ranker
from recsys.training.text_models import TextModels

SOURCES = ["als", "text"]


def make_rows(users: int = 60, seed: int = 0, **columns: Any) -> pl.DataFrame:
    """Twelve candidates a user, one of them taken; both sources know a little of which."""
    rng = np.random.default_rng(seed)
    count = users * 12
    label = np.zeros((users, 12), dtype=np.uint8)
    label[np.arange(users), rng.integers(0, 12, users)] = 1
    rows = pl.DataFrame(
        {
            "window": pl.repeat(0, count, dtype=pl.UInt8, eager=True),
            "user_index": np.repeat(np.arange(users, dtype=np.uint32), 12),
            "item_index": np.tile(np.arange(12, dtype=np.uint32), users),
            "label": label.ravel(),
            "position": pl.Series([None] * count, dtype=pl.UInt16),
            **{f"{name}_z": (rng.normal(size=count) + label.ravel()).astype(np.float32) for name in SOURCES},
        }
    )
    return rows.with_columns(**columns)


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    return change(trained.config, ranking={"max_trees": 12, "min_users_for_folds": 20, "min_data_in_leaf": 5})


def fit(config: Config, rows: pl.DataFrame, evaluated: Fitted | None = None) -> tuple[Ranker, list[str]]:
    recommender = SimpleNamespace(features=[f"{name}_z" for name in SOURCES], source_names=SOURCES)
    if evaluated is None:
        return fit_ranker(config, rows, cast(Any, recommender)), []
    return refit_ranker(config, rows, cast(Any, recommender), evaluated.bundle.ranker, evaluated.rows)


def evaluate(config: Config, rows: pl.DataFrame, choice: RankerChoice | None = None) -> Fitted:
    ranker, differences = fit(config, rows)
    assert differences == []
    if choice is not None:
        ranker = Ranker(ranker.trees_text, ranker.blend, ranker.features, choice)
    return Fitted(cast(Bundle, SimpleNamespace(ranker=ranker)), rows, cast(TextModels, None))


@pytest.mark.parametrize("share", [0.0, 1.0, None])
def test_trees_and_share_are_those_of_the_evaluation_model(share: float | None, config: Config) -> None:
    chosen = RankerChoice(12, share, Validation(gain=(0.1, 0.05, 0.15)))
    evaluated = evaluate(config, make_rows(), chosen)
    refit, differences = fit(config, make_rows(seed=1), evaluated)
    assert refit.choice == chosen
    assert refit.booster.num_trees() == 12
    assert differences == []
    # It learned from its own rows.
    assert refit.booster.model_to_string() != evaluated.bundle.ranker.booster.model_to_string()


@pytest.mark.parametrize("users", [0, 1, 19])
def test_too_few_users_are_served_by_the_ranker_of_the_evaluation_model(users: int, config: Config) -> None:
    evaluated = evaluate(config, make_rows())
    refit, differences = fit(config, make_rows(users), evaluated)
    assert refit is evaluated.bundle.ranker
    assert differences == [
        f"the refit has {users} user{'s' * (users != 1)} with a positive among the candidates, fewer than "
        "ranking.min_users_for_folds 20; the ranker of the evaluation model serves"
    ]


def test_few_users_in_both_are_no_difference(config: Config) -> None:
    evaluated = evaluate(config, make_rows(10))
    assert evaluated.bundle.ranker.validation == Validation()
    refit, differences = fit(config, make_rows(5, seed=1), evaluated)
    assert refit.choice == evaluated.bundle.ranker.choice
    assert differences == []


def test_a_source_that_vanished_is_named(config: Config) -> None:
    evaluated = evaluate(config, make_rows())
    weight = evaluated.bundle.ranker.blend.weights["text"]
    gone = make_rows(seed=1, text_z=pl.lit(None, dtype=pl.Float32))
    assert fit(config, gone, evaluated)[1] == [
        f"source text scores no candidates in the refit; it had {weight:.2f} of the evaluation model's blend"
    ]


def test_the_registered_refit_has_the_choice_of_its_evaluation_model(trained: Trained) -> None:
    version, bundle = load_champion(trained.config, trained.home)
    store = connect(trained.home, trained.config)
    with open_bundle(store, need_version(store, "recsys", "champion", ""), EVALUATION_MODEL) as folder:
        evaluated = Bundle.load(folder)
    assert bundle.ranker.choice == evaluated.ranker.choice
    assert bundle.config == evaluated.config
    assert "refit_differences" not in version.tags


def test_the_encoder_is_chosen_once_and_the_run_says_why(trained: Trained) -> None:
    _, bundle = load_champion(trained.config, trained.home)
    assert trained.config.text.fine_tune.untouched_share == AUTO
    share = bundle.config.text.fine_tune.untouched_share
    assert share in SHARES
    name = find_run(trained.home, trained.config.name)
    assert name is not None
    why = json.loads((run_folder(trained.home, name) / "measured.json").read_text("utf-8"))["encoder"]
    assert why.startswith(f"text.fine_tune.untouched_share {share:g}: recall@50 of ")
    assert f"auto settings: {why}" in trained.log.read_text("utf-8")
