"""What every source promises, the built-in ones and those of the plug-in package alike."""

from collections.abc import Iterator

import numpy as np
import polars as pl
import pytest
import torch
from installed_plugins import PLUGIN_SOURCES, installed
from miniature import change
from source_worlds import CONFIG, UNTOUCHED, fit_models, save_and_load, sources_of, tonight

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import map_blocks, propose
from recsys.candidates.models import CandidateModels
from recsys.candidates.source import Source
from recsys.config import SOURCES, Config
from recsys.dataset.histories import Histories

NAMES = (*SOURCES, *PLUGIN_SOURCES)
# The same scores for every user, also for users without a history.
SHARED = ("popular", "popular_all_time", "trending")


@pytest.fixture(scope="module", autouse=True)
def plugins(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with installed(tmp_path_factory.mktemp("site")):
        yield


@pytest.fixture(scope="module")
def config(plugins: None) -> Config:
    return change(CONFIG, candidates={"depths": dict.fromkeys(NAMES, 5)})


@pytest.fixture(scope="module")
def models(config: Config) -> CandidateModels:
    return fit_models(config)


@pytest.fixture(scope="module")
def histories() -> Histories:
    return tonight()


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture(scope="module")
def sources(models: CandidateModels, histories: Histories, config: Config) -> dict[str, Source]:
    return sources_of(models, histories, config)


@pytest.fixture(scope="module")
def again(histories: Histories, config: Config) -> dict[str, Source]:
    """The same sources from models that were fitted a second time."""
    return sources_of(fit_models(config), histories, config)


@pytest.fixture
def source(name: str, sources: dict[str, Source]) -> Source:
    return sources[name]


class TestEverySource:
    def test_shape_and_type(self, source, histories):
        scores = source.score(histories).to_array()
        assert isinstance(scores, np.ndarray)
        assert (scores.dtype, scores.shape) == (np.float32, (30, 23))
        assert not np.isinf(scores).any()
        assert source.score(histories.select(slice(0, 0))).to_array().shape == (0, 23)

    def test_every_user_with_a_history_gets_scores(self, source, histories):
        assert (~np.isnan(source.score(histories).to_array())).any(axis=1).all()

    def test_the_caller_may_write_into_the_scores(self, source, histories):
        first = source.score(histories).to_array()
        kept = first.copy()
        first[:] = -7.0
        assert source.score(histories).to_array().tobytes() == kept.tobytes()

    def test_an_unknown_user_gets_only_what_everybody_gets(self, source, name, histories):
        scores = source.score(histories.take(pl.Series(["nobody", "u003"]))).to_array()
        if name in SHARED:
            assert np.array_equal(scores[0], scores[1], equal_nan=True)
        else:
            assert np.isnan(scores[0]).all()
        assert np.isfinite(scores[1]).any()

    def test_an_item_without_users_is_scored_by_what_describes_it_only(self, source, name, histories):
        scores = source.score(histories).to_array()[:, UNTOUCHED]
        if name in ("text", "nearest_text", "new_items", "sequence", "tfidf", "attributes"):
            assert np.isfinite(scores).all()
        else:
            assert np.isnan(scores).all()

    def test_an_item_that_joined_tonight_and_has_one_user(self, name, models, config):
        """The trained models do not know it; sources that count tonight's events do."""
        now = tonight(("u003", "0 new", 61))
        scores = sources_of(models, now, config)[name].score(now).to_array()[:, 0]
        if name == "repeat":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [3]
        elif name == "nearest_text":
            # It is the newest item of u003: compared with the four items before it, not with itself.
            assert np.isfinite(scores).all()
            assert scores[3] < 0.99
        elif name == "segment_popular":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [*range(1, 30, 2)]
        elif name in ("text", "popular", "popular_all_time", "sequence", "tfidf", "attributes"):
            assert np.isfinite(scores).all()
        elif name == "same_tag":
            assert np.flatnonzero(~np.isnan(scores)).size > 0
        else:
            assert np.isnan(scores).all()

    def test_a_user_with_only_new_items_gets_no_scores_from_models_that_do_not_know_them(self, name, models, config):
        now = tonight(("late", "zz new", 61))
        scores = sources_of(models, now, config)[name].score(now.take(pl.Series(["late"]))).to_array()[0]
        if name in ("als", "bpr", "item_to_item", "bm25", "transitions", "ease"):
            assert np.isnan(scores).all()
        elif name == "repeat":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [22]
        elif name == "nearest_text":
            assert np.flatnonzero(np.isnan(scores)).tolist() == [22]
        else:
            assert np.isfinite(scores).any()

    def test_saved_and_loaded_models_give_the_same_scores(self, source, name, models, histories, config, tmp_path):
        again = sources_of(save_and_load(models, tmp_path, config), histories, config)[name]
        assert again.score(histories).to_array().tobytes() == source.score(histories).to_array().tobytes()
        assert (again.name, again.reason) == (source.name, source.reason)

    def test_the_same_seed_gives_the_same_bytes(self, source, name, again, histories):
        again = again[name]
        assert again.score(histories).to_array().tobytes() == source.score(histories).to_array().tobytes()

    def test_a_users_scores_do_not_depend_on_other_users(self, source, histories):
        together = source.score(histories).to_array()
        for number in (0, 13, 29):
            alone = source.score(histories.select(slice(number, number + 1))).to_array()[0]
            assert alone == pytest.approx(together[number], rel=1e-5, abs=1e-6, nan_ok=True)

    def test_a_source_with_fewer_items_than_its_depth_proposes_all(self, source, name, histories):
        rows = propose([source], {name: 1000}, histories, Exclusions.none(histories.n_users, 23))
        table = rows.to_frame([name])
        scored = ~np.isnan(source.score(histories).to_array())
        assert table.select("user_index", "item_index").rows() == [tuple(pair) for pair in np.argwhere(scored).tolist()]
        longest = table.group_by("user_index").agg(pl.col(f"{name}_rank").max()).sort("user_index")
        assert longest[f"{name}_rank"].to_list() == scored.sum(axis=1).tolist()

    def test_it_has_a_name_and_a_reason(self, source, name):
        assert source.name == name
        assert source.reason == name

    def test_blocks_and_threads_do_not_change_a_bit(self, source, name, histories):
        """400 users in blocks of 128, worked on by several threads, get the lists that one thread makes."""
        crowd = histories.pick(np.sort(np.arange(400) % histories.n_users))
        rows, before = [], torch.get_num_threads()
        for threads in (1, 4):
            torch.set_num_threads(threads)
            blocks = map_blocks(
                lambda _, users: propose([source], {name: 7}, users, Exclusions.none(users.n_users, 23)), crowd
            )
            rows.append([(block.items.tobytes(), block.scores.tobytes(), block.ranks.tobytes()) for block in blocks])
        torch.set_num_threads(before)
        assert rows[0] == rows[1]
        few = propose([source], {name: 7}, crowd.select(slice(0, 3)), Exclusions.none(3, 23))
        many = propose([source], {name: 7}, crowd.select(slice(0, 128)), Exclusions.none(128, 23))
        assert few.items.tobytes() == many.items[: len(few.items)].tobytes()
        assert few.scores.tobytes() == many.scores[:, : len(few.items)].tobytes()
