"""A training that continues keeps the choice about the ranker, as long as it is a choice about the same problem."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest
from miniature import Trained, change

from recsys.config import Config
from recsys.ranking.blend import Blend
from recsys.ranking.ranker import Ranker
from recsys.ranking.ranker_choice import RankerChoice, Validation
from recsys.serving.bundle import Bundle
from recsys.training.ranker_fitting import keep_ranker_choice

CHOICE = RankerChoice(12, 0.5, Validation((0.1, 0.2), {0.5: 0.2}, 0.1, (0.1, 0.05, 0.15)))
SOURCES, FEATURES = ["als", "text"], ["als_z", "text_z", "age"]


@pytest.fixture(scope="module")
def config(trained: Trained) -> Config:
    return change(trained.config, ranking={"min_users_for_folds": 20})


def keep(
    config: Config,
    *,
    before: Config | None = None,
    choice: RankerChoice = CHOICE,
    users: int = 30,
    sources: list[str] = SOURCES,
    features: list[str] = FEATURES,
) -> RankerChoice | None:
    ranker = Ranker("", Blend(dict.fromkeys(SOURCES, 0.5)), tuple(FEATURES), choice)
    earlier = cast(Bundle, SimpleNamespace(ranker=ranker, config=before or config))
    rows = pl.DataFrame({"user_index": np.arange(users, dtype=np.uint32)})
    return keep_ranker_choice(
        config, rows, cast(Any, SimpleNamespace(source_names=sources, features=features)), earlier
    )


def test_the_choice_is_kept_and_counts_how_often(config: Config) -> None:
    once = keep(config)
    assert once == RankerChoice(12, 0.5, CHOICE.validation, kept=1)
    again = keep(config, choice=once)
    assert again is not None
    assert again.kept == 2


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"choice": RankerChoice(12, 0.5)}, "it was not made by folds"),
        ({"users": 19}, "there are too few users"),
        ({"sources": ["als", "text", "ease"]}, "sources or features differ"),
        ({"features": ["als_z", "text_z"]}, "sources or features differ"),
    ],
)
def test_a_choice_about_something_else_is_made_anew(
    changes: dict[str, Any], reason: str, config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert keep(config, **changes) is None
    assert caplog.messages == [f"ranker: the choice of the training before is not kept: {reason}"]


@pytest.mark.parametrize("sections", [{"ranking": {"num_leaves": 3}}, {"evaluation": {"n": 5}}])
def test_other_settings_of_the_ranker_need_a_new_choice(
    sections: dict[str, Any], config: Config, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    assert keep(change(config, **sections), before=config) is None
    assert "settings of the ranker differ" in caplog.text


def test_features_that_are_excluded_do_not_count(config: Config) -> None:
    excluded = change(config, ranking={"exclude_features": ["lately_*"]})
    assert keep(excluded, before=excluded, features=[*FEATURES, "lately_similar"]) is not None
    assert keep(config, features=[*FEATURES, "lately_similar"]) is None


def test_the_setting_and_a_training_from_scratch_make_their_own(config: Config) -> None:
    assert keep(change(config, continuation={"keep_ranker_choice": False})) is None
    rows = pl.DataFrame({"user_index": np.arange(30, dtype=np.uint32)})
    recommender = cast(Any, SimpleNamespace(source_names=SOURCES, features=FEATURES))
    assert keep_ranker_choice(config, rows, recommender, None) is None
