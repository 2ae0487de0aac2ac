"""The source of the items' vectors from elsewhere, and how a config names it."""

from typing import Any

import numpy as np
import polars as pl
import pytest
from miniature import merge, settings
from numpy.typing import NDArray
from worlds import make_interactions, make_items

from recsys.candidates.registry import load_source, make_sources
from recsys.candidates.source import CandidateSource
from recsys.candidates.statistics import count_statistics
from recsys.config import Config, parse_config
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.item_vectors import Vectors, make_column
from recsys.errors import ConfigError
from recsys.serving.sentences import SHIPPED

ITEMS = make_items(*"abcde")
# e has none.
ROWS = np.array([[1, 0], [0.6, 0.8], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)
KNOWN = np.array([True, True, True, True, False])


def configure(**more: Any) -> Config:
    vectors = {"dataset": {"items": {"vectors": {"image": {"path": "v.parquet"}}}}}
    return parse_config(merge(merge(settings(), vectors), more), "test")


def score(histories: Histories, config: Config, items: pl.DataFrame = ITEMS) -> NDArray[np.float32]:
    items = items.with_columns(make_column("image", Vectors(ROWS, KNOWN)))
    statistics = count_statistics(histories, items, config.candidates)
    models: Any = type("Models", (), {"models": {}})
    texts = np.zeros((items.height, 4), dtype=np.float32)
    (source,) = make_sources(["nearest_image"], config.candidates, models, statistics, texts, items)
    assert source.name == "nearest_image"
    return source.score(histories).to_array()


def test_items_are_scored_by_the_nearest_of_the_newest_items():
    config = configure(candidates={"depths": {"nearest_image": 5}, "nearest_decay": 0.5})
    histories = build_histories(make_interactions(("u", "c"), ("u", "a")), ITEMS, None)
    # a is the newest; c, one step back, weighs half. An item is not compared with itself, and e has no vector.
    expected = [[0.0, 0.6, 0.0, 0.0, np.nan]]
    np.testing.assert_allclose(score(histories, config), expected, atol=1e-6)


def test_a_history_without_vectors_has_no_scores():
    config = configure(candidates={"depths": {"nearest_image": 5}})
    histories = build_histories(make_interactions(("u", "e"), ("v", "e"), ("v", "d")), ITEMS, None)
    scores = score(histories, config)
    assert np.isnan(scores[0]).all()
    np.testing.assert_allclose(scores[1, :3], [-1, -0.6, 0], atol=1e-6)


def test_the_source_is_on_by_default_and_a_config_may_turn_it_off():
    without = {name: value for name, value in settings().items() if name != "candidates"}
    vectors = {"dataset": {"items": {"vectors": {"image": {"path": "v.parquet"}, "audio": {"path": "s.parquet"}}}}}
    depths = parse_config(merge(without, vectors), "test").candidates.depths
    assert (depths["nearest_image"], depths["nearest_audio"], depths["als"]) == (50, 50, 100)
    other = parse_config(merge(merge(without, vectors), {"candidates": {"max_candidates": 7}}), "test").candidates
    assert (other.max_candidates, other.depths) == (7, depths)
    assert "nearest_image" not in configure().candidates.depths
    assert parse_config(configure().resolved(), "again") == configure()
    assert "nearest_image" not in parse_config(without, "test").candidates.depths


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"candidates": {"depths": {"nearest_sound": 5}}}, "dataset.items.vectors has no 'sound'; sources are als"),
        ({"candidates": {"depths": {"nearest_": 5}}}, "no source ['nearest_']"),
        ({"dataset": {"items": {"vectors": {"text": {}}}}}, "there is a built-in source nearest_text"),
        ({"dataset": {"items": {"vectors": {"Image": {}}}}}, "dataset.items.vectors.Image"),
        ({"dataset": {"items": {"vectors": {"image": {"colum": "v"}}}}}, "dataset.items.vectors.image.colum"),
        ({"dataset": {"items": {"vectors": 3}}}, "dataset.items.vectors"),
        ({"dataset": {"items": {"vectors": {"image": None}}}}, "dataset.items.vectors.image"),
    ],
)
def test_names_that_do_not_fit(change, message):
    with pytest.raises(ConfigError) as caught:
        configure(**change)
    assert message in str(caught.value)


def test_the_class_is_the_same_each_time_and_claims_nothing_about_vectors():
    source = load_source("nearest_image")
    assert issubclass(source, CandidateSource)
    assert source is load_source("nearest_image") is not load_source("nearest_audio")
    assert source.reason in SHIPPED


def test_a_catalogue_without_the_vectors_is_refused():
    config = configure(candidates={"depths": {"nearest_image": 5}})
    histories = build_histories(make_interactions(("u", "a")), ITEMS, None)
    statistics = count_statistics(histories, ITEMS, config.candidates)
    models: Any = type("Models", (), {"models": {}})
    with pytest.raises(ConfigError, match="source 'nearest_image': the catalogue has no vectors 'image'"):
        make_sources(["nearest_image"], config.candidates, models, statistics, np.zeros((5, 4), np.float32), ITEMS)
