"""Every source keeps the same promises; then what is special about each."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature import change
from miniature import settings as miniature_settings
from scipy.sparse import csr_array
from worlds import at, checkerboard, make_interactions, make_items

from recsys.candidates.merge import propose
from recsys.candidates.models import CandidateModels, fit_text_neighbours, read_known_texts
from recsys.candidates.scores import Exclusions
from recsys.candidates.sources import (
    InterestSource,
    NearestTextSource,
    NeighbourSource,
    NewItemsSource,
    PopularSource,
    ProfileSource,
    RepeatSource,
    SegmentPopularSource,
    Source,
    make_sources,
    multiply,
)
from recsys.candidates.statistics import ItemStatistics, SegmentStatistics, count_statistics
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item
from recsys.config import SOURCES, InterestConfig, ItemToItemConfig, parse_config
from recsys.dataset.histories import Histories, build_histories
from recsys.text.interest import InterestModel
from recsys.text.item_text import make_texts

BOARD_ITEMS, BOARD_ROWS = checkerboard(users=30, items=20)
BOARD = [*BOARD_ITEMS["item_id"]]


def extend(*more: str) -> pl.DataFrame:
    """Return the board with more items, whose texts have the colours of all others."""
    others = make_items(*({"item_id": item, "tags": ["white", "black"], "colour": "both"} for item in more))
    return pl.concat([BOARD_ITEMS, others]).sort("item_id")


TRAINED = extend("left", "untouched")
# Tonight "left" is gone; "0 new" and "zz new" have come, so that every place in the catalogue has moved.
TONIGHT = extend("untouched", "0 new", "zz new")
UNTOUCHED = [TONIGHT["item_id"].to_list().index(item) for item in ("untouched", "0 new", "zz new")]
INTEREST = InterestConfig(history_length=10)
CONFIG = change(
    parse_config(miniature_settings(), "test"),
    seed=1,
    dataset={"repeats": True},
    text={
        "interest": {"history_length": 10},
        "tfidf": {"max_share": 1.0, "k": 22},
        "sequence": {"size": 8, "epochs": 4},
    },
    collab={
        "als": {"embedding_size": 2},
        "bpr": {"embedding_size": 4},
        "item_to_item": {"k": 8},
        "bm25": {"k": 8},
        "transitions": {"k": 8},
        "ease": {"k": 8},
    },
    candidates={"depths": dict.fromkeys(SOURCES, 5), "new_item_users": 0, "segment_column": "tags"},
)


def embed(item_ids: pl.Series) -> np.ndarray:
    """Return (n_items, 8) unit rows: the colour, and a little of the item's own."""
    rows = np.zeros((len(item_ids), 8), dtype=np.float32)
    for place, item in enumerate(item_ids):
        rng = np.random.default_rng(list(item.encode()))
        rows[place] = 0.2 * rng.standard_normal(8)
        rows[place, int(item[1:]) % 2 if item in BOARD else 1] += 2.0
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def texts_of(items: pl.DataFrame) -> pl.Series:
    return make_texts(items, CONFIG.text.fields)


def fit_models() -> CandidateModels:
    """Return the models over the catalogue of the training."""
    left = make_interactions(("u000", "left", 61))
    histories = build_histories(pl.concat([BOARD_ROWS, left]), TRAINED, at(62))
    interest = InterestModel(8, CONFIG.text.interest)
    interest.fit(histories, embed(TRAINED["item_id"]), seed=1)
    sequence = InterestModel(8, CONFIG.text.sequence)
    sequence.fit(histories, embed(TRAINED["item_id"]), seed=1)
    return CandidateModels.fit(histories, interest, sequence, fit_text_neighbours(texts_of(TRAINED), CONFIG), CONFIG)


def through_files(models: CandidateModels, folder: Path) -> CandidateModels:
    models.save(folder)
    return CandidateModels.load(folder, models.item_ids, CONFIG)


def sources_of(models: CandidateModels, histories: Histories) -> dict[str, Source]:
    """Return the sources over tonight's catalogue."""
    aligned = models.align(TONIGHT["item_id"]).read_texts(texts_of(TONIGHT), CONFIG)
    statistics = count_statistics(histories, TONIGHT, CONFIG.candidates)
    sources = make_sources(SOURCES, CONFIG.candidates, aligned, statistics, embed(TONIGHT["item_id"]))
    return {source.name: source for source in sources}


def tonight(*more: tuple[str, str, float]) -> Histories:
    return build_histories(pl.concat([BOARD_ROWS, make_interactions(*more)]), TONIGHT, at(62))


@pytest.fixture(scope="module")
def models() -> CandidateModels:
    return fit_models()


@pytest.fixture(scope="module")
def histories() -> Histories:
    return tonight()


@pytest.fixture(params=SOURCES)
def name(request: pytest.FixtureRequest) -> str:
    return request.param


@pytest.fixture
def source(name: str, models: CandidateModels, histories: Histories) -> Source:
    return sources_of(models, histories)[name]


class TestEverySource:
    def test_shape_and_type(self, source, histories):
        scores = source.score(histories).to_array()
        assert isinstance(scores, np.ndarray)
        assert (scores.dtype, scores.shape) == (np.float32, (30, 23))
        assert not np.isinf(scores).any()
        assert source.score(histories.select(slice(0, 0))).to_array().shape == (0, 23)

    def test_it_says_something_about_every_user(self, source, histories):
        assert (~np.isnan(source.score(histories).to_array())).any(axis=1).all()

    def test_the_caller_may_write_into_the_scores(self, source, histories):
        first = source.score(histories).to_array()
        kept = first.copy()
        first[:] = -7.0
        assert source.score(histories).to_array().tobytes() == kept.tobytes()

    def test_unknown_user_gets_nothing_but_what_everybody_gets(self, source, name, histories):
        scores = source.score(histories.take(pl.Series(["nobody", "u003"]))).to_array()
        if name in ("popular", "popular_all_time"):
            assert np.array_equal(scores[0], scores[1], equal_nan=True)
        else:
            assert np.isnan(scores[0]).all()
        assert np.isfinite(scores[1]).any()

    def test_item_nobody_touched_is_for_text_only(self, source, name, histories):
        scores = source.score(histories).to_array()[:, UNTOUCHED]
        if name in ("text", "nearest_text", "new_items", "sequence", "tfidf"):
            assert np.isfinite(scores).all()
        else:
            assert np.isnan(scores).all()

    def test_item_new_tonight_and_touched_once(self, name, models):
        """The trained models know nothing of it; what counts tonight's events does."""
        now = tonight(("u003", "0 new", 61))
        scores = sources_of(models, now)[name].score(now).to_array()[:, 0]
        if name == "repeat":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [3]
        elif name == "nearest_text":
            # u003's newest: compared with the four items before it, but not with itself.
            assert np.isfinite(scores).all()
            assert scores[3] < 0.99
        elif name == "segment_popular":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [*range(1, 30, 2)]
        elif name in ("text", "popular", "popular_all_time", "sequence", "tfidf"):
            assert np.isfinite(scores).all()
        else:
            assert np.isnan(scores).all()

    def test_user_with_only_new_items_is_no_user_of_score_zero(self, name, models):
        now = tonight(("late", "zz new", 61))
        scores = sources_of(models, now)[name].score(now.take(pl.Series(["late"]))).to_array()[0]
        if name in ("als", "bpr", "item_to_item", "bm25", "transitions", "ease"):
            assert np.isnan(scores).all()
        elif name == "repeat":
            assert np.flatnonzero(~np.isnan(scores)).tolist() == [22]
        elif name == "nearest_text":
            assert np.flatnonzero(np.isnan(scores)).tolist() == [22]
        else:
            assert np.isfinite(scores).any()

    def test_saved_and_loaded_models_give_the_same_scores(self, source, name, models, histories, tmp_path):
        again = sources_of(through_files(models, tmp_path), histories)[name]
        assert again.score(histories).to_array().tobytes() == source.score(histories).to_array().tobytes()
        assert (again.name, again.reason) == (source.name, source.reason)

    def test_same_seed_same_bytes(self, source, name, histories):
        again = sources_of(fit_models(), histories)[name]
        assert again.score(histories).to_array().tobytes() == source.score(histories).to_array().tobytes()

    def test_a_user_scores_the_same_in_any_company(self, source, histories):
        together = source.score(histories).to_array()
        for number in (0, 13, 29):
            alone = source.score(histories.select(slice(number, number + 1))).to_array()[0]
            assert alone == pytest.approx(together[number], rel=1e-5, abs=1e-6, nan_ok=True)

    def test_fewer_items_than_depth_gives_what_there_is(self, source, name, histories):
        rows = propose([source], {name: 1000}, histories, Exclusions.none(histories.n_users, 23))
        table = rows.to_frame([name])
        said = ~np.isnan(source.score(histories).to_array())
        assert table.select("user_index", "item_index").rows() == [tuple(pair) for pair in np.argwhere(said).tolist()]
        longest = table.group_by("user_index").agg(pl.col(f"{name}_rank").max()).sort("user_index")
        assert longest[f"{name}_rank"].to_list() == said.sum(axis=1).tolist()

    def test_it_has_a_name_and_a_reason(self, source, name):
        assert source.name == name
        assert source.reason[0].isupper()


OF_ONE_COLOUR = ["als", "bpr", "item_to_item", "bm25", "transitions", "ease", "tfidf", "text", "nearest_text"]


@pytest.mark.parametrize("name", [*OF_ONE_COLOUR, "segment_popular"])
def test_the_users_colour_comes_first(name, models, histories):
    scores = sources_of(models, histories)[name].score(histories).to_array()
    scores[:, UNTOUCHED] = np.nan
    scores[histories.users, histories.items] = np.nan
    best = np.argsort(-np.nan_to_num(scores, nan=-np.inf), axis=1)[:, :3]
    # "0 new" stands before the board's items.
    assert ((best - 1) % 2 == (np.arange(30) % 2)[:, None]).all()


# --- which sources -----------------------------------------------------------------------------------------


def test_sources_come_in_the_order_of_their_names(models):
    histories = build_histories(BOARD_ROWS, TRAINED, at(62))
    statistics, embeddings = ItemStatistics.count(histories, None), embed(TRAINED["item_id"])
    for names in ([*SOURCES], [*reversed(SOURCES)], ["popular", "als"], []):
        made = make_sources(names, CONFIG.candidates, models, statistics, embeddings)
        assert [source.name for source in made] == names


# --- stage one ---------------------------------------------------------------------------------------------


def test_saved_and_loaded_models_give_the_same_bytes(models, tmp_path):
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    through_files(models, one).save(two)
    names = sorted(path.name for path in one.iterdir())
    fitted = {"als", "bpr", "item_to_item", "bm25", "transitions", "ease", "tfidf", "interest", "sequence"}
    assert {Path(name).stem for name in names} == fitted
    assert [(one / name).read_bytes() for name in names] == [(two / name).read_bytes() for name in names]


def test_words_of_items_that_joined_are_known_once_the_texts_are_read(models):
    aligned = models.align(TONIGHT["item_id"])
    assert aligned.tfidf.similarity[:, UNTOUCHED[1:]].nnz == 0
    # What was in the catalogue of the training has its neighbours, touched or not.
    assert aligned.tfidf.similarity[:, UNTOUCHED[0]].nnz == 20
    anew = aligned.read_texts(texts_of(TONIGHT), CONFIG)
    assert (anew.tfidf.similarity[:, UNTOUCHED].toarray() > 0).sum() == 3 * 22
    assert anew.als is aligned.als
    assert models.align(models.item_ids) is models


def test_a_model_that_was_never_trained_says_nothing_unless_it_is_a_cosine(models, histories):
    sequence, interest = InterestModel(8, CONFIG.text.sequence), InterestModel(8, CONFIG.text.interest)
    untrained = sources_of(replace(models, sequence=sequence, interest=interest), histories)
    assert np.isnan(untrained["sequence"].score(histories).to_array()).all()
    assert np.isfinite(untrained["text"].score(histories).to_array()).all()


def test_what_nobody_asked_for_is_not_fitted_and_says_nothing(models, histories, tmp_path):
    settings = CONFIG.candidates.model_copy(update={"depths": {"als": 5}})
    config = CONFIG.model_copy(update={"candidates": settings})
    trained = build_histories(BOARD_ROWS, TRAINED, at(62))
    lean = CandidateModels.fit(trained, models.interest, models.sequence, models.tfidf, config)
    for candidate_models in (lean, through_files(lean, tmp_path)):
        sources = sources_of(candidate_models, histories)
        assert np.isnan(sources["bpr"].score(histories).to_array()).all()
        assert np.isnan(sources["bm25"].score(histories).to_array()).all()
    assert (lean.bpr.item_factors.size, lean.bm25.similarity.nnz) == (0, 0)
    assert count_statistics(histories, TONIGHT, settings).segments is None


def test_items_keep_their_own_vectors_in_another_catalogue(models):
    config = InterestConfig(residual=True, epochs=2)
    histories = build_histories(BOARD_ROWS, TRAINED, at(62))
    interest = InterestModel(8, config)
    interest.fit(histories, embed(TRAINED["item_id"]), seed=1)
    tonight = replace(models, interest=interest).align(TONIGHT["item_id"]).interest
    before = interest.item_vectors(embed(TRAINED["item_id"]))[TRAINED["item_id"].to_list().index("i007")]
    after = tonight.item_vectors(embed(TONIGHT["item_id"]))[TONIGHT["item_id"].to_list().index("i007")]
    assert after == pytest.approx(before, abs=1e-6)


# --- popular, new items, repeat, nearest ------------------------------------------------------------------

ITEMS = make_items("a", "b", "c")
ROWS = make_interactions(("u", "a", 0), ("u", "a", 8), ("u", "b", 9), ("v", "a", 6), ("w", "b", 2))
SMALL = build_histories(ROWS, ITEMS, at(10))


def test_popular_is_the_same_weight_for_everybody():
    source = PopularSource("popular", "Because", np.array([2, 0.5, 0], dtype=np.float32))
    assert np.array_equal(source.score(SMALL).to_array(), [[2, 0.5, np.nan]] * 3, equal_nan=True)
    assert (source.name, source.reason) == ("popular", "Because")


def test_popular_now_and_popular_of_all_times(models):
    statistics = ItemStatistics.count(SMALL, half_life_days=2.0)
    sources = make_sources(["popular", "popular_all_time"], CONFIG.candidates, models, statistics, np.eye(3))
    lately, always = (source.score(SMALL).to_array() for source in sources)
    assert np.array_equal(always, [[2, 2, np.nan]] * 3, equal_nan=True)
    assert lately == pytest.approx(np.array([[0.75, 0.5**0.5 + 1 / 16, np.nan]] * 3), nan_ok=True)


def test_segment_popular_is_what_users_of_the_segment_take():
    tags = pl.Series([["x"], ["x", "y"], ["z"]])
    segments = SegmentStatistics.count(SMALL, None, tags)
    source = SegmentPopularSource(segments)
    # All three belong to x: w's only item has x and y, a tie.
    assert np.array_equal(source.score(SMALL).to_array(), [[2, 2, np.nan]] * 3, equal_nan=True)
    more = build_histories(make_interactions(("v", "c", 1), ("w", "a", 2), ("w", "c", 3)), ITEMS, at(10))
    assert np.array_equal(source.score(more).to_array(), [[np.nan] * 3, [2, 2, np.nan]], equal_nan=True)
    assert np.isnan(SegmentPopularSource(None).score(SMALL).to_array()).all()


def test_nearest_text_by_hand():
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32)
    items = make_items("a", "b", "c", "d")
    rows = [("u", "a", 1), ("u", "c", 2), ("u", "b", 3), ("v", "a", 1)]
    histories = build_histories(make_interactions(*rows), items, at(10))
    scores = NearestTextSource(embeddings, 2, 0.5).score(histories).to_array()
    # u's last two are b and, at half, c; a is too long ago. No item is compared with itself.
    expected = [[0.5 * 0.6, 0.5 * 0.8, 0.8, 0.0], [np.nan, 0.0, 0.6, -1.0]]
    assert scores == pytest.approx(np.array(expected), abs=1e-6, nan_ok=True)
    further = NearestTextSource(embeddings, 3, 0.5).score(histories).to_array()
    assert further[0] == pytest.approx([0.3, 0.4, 0.8, 0.0], abs=1e-6)
    assert further[1].tobytes() == scores[1].tobytes()
    unordered = build_histories(make_interactions(*((u, i) for u, i, _ in rows), ordered=False), items, None)
    alike = NearestTextSource(embeddings, 3, 0.5).score(unordered).to_array()
    assert alike[0] == pytest.approx([0.6, 0.8, 0.8, 0.0], abs=1e-6)


@pytest.mark.parametrize(("at_most", "new"), [(0, [2]), (1, [1, 2]), (2, [0, 1, 2])])
def test_new_items_have_at_most_so_many_users(at_most, new):
    histories = build_histories(make_interactions(("u", "a", 1), ("v", "a", 1), ("v", "b", 1)), ITEMS, at(10))
    text = InterestSource("text", "Fits", InterestModel(3, INTEREST), np.eye(3, dtype=np.float32))
    scores = NewItemsSource(text, ItemStatistics.count(histories, None), at_most).score(histories).to_array()
    assert [np.flatnonzero(~np.isnan(row)).tolist() for row in scores] == [new, new]
    assert np.array_equal(scores[:, new], text.score(histories).to_array()[:, new])


def test_repeat_is_often_and_lately():
    scores = RepeatSource(2.0).score(SMALL).to_array()
    expected = [[2 * 0.5, 0.5**0.5, np.nan], [0.25, np.nan, np.nan], [np.nan, 1 / 16, np.nan]]
    assert scores == pytest.approx(np.array(expected), nan_ok=True)


def test_neighbours_that_point_nowhere_say_nothing():
    histories = build_histories(make_interactions(("u", "a", 1), ("u", "c", 2)), ITEMS, at(10))
    source = NeighbourSource("item_to_item", "Because", fit_item_to_item(SMALL, ItemToItemConfig(), threads=1))
    assert np.flatnonzero(~np.isnan(source.score(histories).to_array()[0])).tolist() == [1]


def test_what_a_history_speaks_against_is_not_proposed():
    similarity = csr_array(np.array([[0, 0.5, -0.25], [0, 0, 0.25], [0, 0, 0]], dtype=np.float32))
    histories = build_histories(make_interactions(("u", "a", 1), ("v", "a", 1), ("v", "b", 2)), ITEMS, at(10))
    scores = NeighbourSource("ease", "Because", NeighbourModel(similarity, 1.0)).score(histories).to_array()
    # For v the two entries to c are in balance.
    assert np.array_equal(scores, [[np.nan, 0.5, np.nan]] * 2, equal_nan=True)


# --- baselines ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change", [{}, {"tower": "attention"}, {"size": 4, "residual": True}])
def test_profile_is_the_cosine_of_the_mean_history(change):
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8]], dtype=np.float32)
    histories = build_histories(make_interactions(("u", "a", 1), ("u", "b", 2), ("v", "c", 1)), ITEMS, at(10))
    source = ProfileSource("text_zero_shot", embeddings, InterestConfig(history_decay=0.5, **change))
    # b is the newest: (0.5, 1), made unit length.
    length = np.sqrt(1.25)
    expected = [[0.5 / length, 1 / length, 1.1 / length], [0.6, 0.8, 1.0]]
    assert source.score(histories).to_array() == pytest.approx(np.array(expected), rel=1e-5)
    assert source.name == "text_zero_shot"
    nobody = source.score(histories.take(pl.Series(["nobody"]))).to_array()
    assert np.isnan(nobody).all()


def test_multiply_is_the_matrix_product():
    rng = np.random.default_rng(0)
    users, items = (rng.standard_normal((rows, 4)).astype(np.float32) for rows in (3, 5))
    product = multiply(users, items)
    assert product == pytest.approx(users @ items.T, rel=1e-5, abs=1e-6)
    assert (product.dtype, product.flags.writeable) == (np.float32, True)


def test_texts_of_later_items_are_not_read_before_they_join():
    items = make_items(*(f"i{n}" for n in range(3))).with_columns(
        title=pl.Series(["wolf moon", "wolf sea", "wolf wolf"]),
        created_at=pl.Series([None, at(3), at(5)], dtype=pl.Datetime("us", "UTC")),
    )
    assert read_known_texts(items, at(4), ["title"]).to_list() == ["wolf moon", "wolf sea", ""]
    assert read_known_texts(items, at(5), ["title"]).to_list() == ["wolf moon", "wolf sea", ""]
    assert read_known_texts(items, None, ["title"]).to_list() == ["wolf moon", "wolf sea", "wolf wolf"]


def test_a_users_products_do_not_depend_on_who_stands_beside():
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(count, 64)).astype(np.float32) for count in (300, 517))
    together = multiply(users, items)
    np.testing.assert_allclose(together, users @ items.T, atol=1e-4)
    for some in (slice(0, 1), slice(299, 300), slice(127, 131), slice(5, 290)):
        assert np.array_equal(multiply(users[some], items), together[some])
    assert multiply(users[:0], items).shape == (0, 517)
