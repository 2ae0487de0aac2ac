"""What is special about each source, and the models behind them."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from scipy.sparse import csr_array
from source_worlds import (
    BOARD_ROWS,
    CONFIG,
    INTEREST,
    TONIGHT,
    TRAINED,
    UNTOUCHED,
    embed,
    fit_models,
    save_and_load,
    sources_of,
    texts_of,
    tonight,
)
from worlds import at, make_interactions, make_items

from recsys.candidates.block_products import multiply
from recsys.candidates.models import CandidateModels, FitInputs
from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.registry import make_sources
from recsys.candidates.sources.attributes import fit_attribute_neighbours
from recsys.candidates.sources.bpr import BprSource
from recsys.candidates.sources.nearest_text import NearestTextSource
from recsys.candidates.sources.new_items import NewItemsSource
from recsys.candidates.sources.popular import PopularSource
from recsys.candidates.sources.repeat import RepeatSource
from recsys.candidates.sources.segment_popular import SegmentPopularSource
from recsys.candidates.sources.text import InterestSource, ProfileSource
from recsys.candidates.statistics import ItemStatistics, SegmentStatistics, count_statistics
from recsys.collab.bpr import BprModel
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item
from recsys.config import SOURCES, AttributesConfig, InterestConfig, ItemToItemConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.errors import ConfigError
from recsys.text.interest import InterestModel
from recsys.text.item_text import ItemTexts


@pytest.fixture(scope="module")
def models() -> CandidateModels:
    return fit_models()


@pytest.fixture(scope="module")
def histories() -> Histories:
    return tonight()


OF_ONE_COLOUR = [
    "als",
    "bpr",
    "item_to_item",
    "bm25",
    "transitions",
    "ease",
    "tfidf",
    "attributes",
    "text",
    "nearest_text",
]


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
        made = make_sources(names, CONFIG.candidates, models, statistics, embeddings, TRAINED)
        assert [source.name for source in made] == names


# --- models ------------------------------------------------------------------------------------------------


def test_saved_and_loaded_models_give_the_same_bytes(models, tmp_path):
    (one := tmp_path / "one").mkdir()
    (two := tmp_path / "two").mkdir()
    save_and_load(models, one).save(two)
    names = sorted(path.name for path in one.iterdir())
    assert names == [
        "als.safetensors",
        "attributes.npz",
        "bm25.npz",
        "bpr.safetensors",
        "ease.npz",
        "interest.safetensors",
        "item_to_item.npz",
        "sequence.safetensors",
        "tfidf.npz",
        "transitions.npz",
    ]
    assert [(one / name).read_bytes() for name in names] == [(two / name).read_bytes() for name in names]


def test_items_that_joined_have_text_neighbours_once_the_texts_are_fitted_again(models):
    aligned = models.align(TONIGHT["item_id"])
    assert aligned["tfidf"].similarity[:, UNTOUCHED[1:]].nnz == 0
    # An item of the training's catalogue has its neighbours, with or without users.
    assert aligned["tfidf"].similarity[:, UNTOUCHED[0]].nnz == 20
    refitted = aligned.refit_texts(texts_of(TONIGHT), CONFIG)
    assert (refitted["tfidf"].similarity[:, UNTOUCHED].toarray() > 0).sum() == 3 * 22
    assert refitted["als"] is aligned["als"]
    assert models.align(models.item_ids) is models


def test_an_untrained_model_scores_nothing_unless_it_starts_as_a_cosine(models, histories):
    untrained = models.with_models(
        sequence=InterestModel(8, CONFIG.text.sequence), interest=InterestModel(8, CONFIG.text.interest)
    )
    sources = sources_of(untrained, histories)
    assert np.isnan(sources["sequence"].score(histories).to_array()).all()
    assert np.isfinite(sources["text"].score(histories).to_array()).all()


def test_a_model_that_nothing_needs_is_neither_fitted_nor_saved(models, histories, tmp_path):
    settings = CONFIG.candidates.model_copy(update={"depths": {"als": 5}})
    config = CONFIG.model_copy(update={"candidates": settings})
    trained = build_histories(BOARD_ROWS, TRAINED, at(62))
    fitted = {name: models[name] for name in ("interest", "sequence", "tfidf")}
    lean = CandidateModels.fit(FitInputs(trained, TRAINED, embed(TRAINED["item_id"]), config), fitted)
    # Features and baselines need the others.
    assert set(lean.models) == {"als", "ease", "interest", "item_to_item", "tfidf", "transitions"}
    assert lean["interest"] is models["interest"]
    loaded = save_and_load(lean, tmp_path, config)
    assert {path.stem for path in tmp_path.iterdir()} == set(lean.models) == set(loaded.models)
    with pytest.raises(ConfigError, match="source 'bpr': its model 'bpr' was not fitted; name the source in"):
        sources_of(loaded, histories)
    assert count_statistics(histories, TONIGHT, settings).segments is None


def test_sources_with_the_same_model_share_it(models):
    assert set(models.models) == {
        "als",
        "attributes",
        "bm25",
        "bpr",
        "ease",
        "interest",
        "item_to_item",
        "sequence",
        "tfidf",
        "transitions",
    }
    assert {name: owner.name for name, owner in models.owners.items() if owner.name != name} == {"interest": "text"}
    assert list(models.item_vectors) == ["als"]
    assert list(models.item_neighbours) == ["item_to_item", "transitions"]


def test_items_keep_their_own_vectors_in_another_catalogue(models):
    config = InterestConfig(residual=True, epochs=2)
    histories = build_histories(BOARD_ROWS, TRAINED, at(62))
    interest = InterestModel(8, config)
    interest.fit(histories, embed(TRAINED["item_id"]), seed=1)
    aligned = models.with_models(interest=interest).align(TONIGHT["item_id"])["interest"]
    before = interest.item_vectors(embed(TRAINED["item_id"]))[TRAINED["item_id"].to_list().index("i007")]
    after = aligned.item_vectors(embed(TONIGHT["item_id"]))[TONIGHT["item_id"].to_list().index("i007")]
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
    sources = make_sources(["popular", "popular_all_time"], CONFIG.candidates, models, statistics, np.eye(3), ITEMS)
    recent, always = (source.score(SMALL).to_array() for source in sources)
    assert np.array_equal(always, [[2, 2, np.nan]] * 3, equal_nan=True)
    assert recent == pytest.approx(np.array([[0.75, 0.5**0.5 + 1 / 16, np.nan]] * 3), nan_ok=True)


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
    assert ItemTexts.from_items(items, ["title"]).as_of(at(4)).to_list() == ["wolf moon", "wolf sea", ""]
    assert ItemTexts.from_items(items, ["title"]).as_of(at(5)).to_list() == ["wolf moon", "wolf sea", ""]
    assert ItemTexts.from_items(items, ["title"]).as_of(None).to_list() == ["wolf moon", "wolf sea", "wolf wolf"]


def test_a_users_products_do_not_depend_on_who_stands_beside():
    rng = np.random.default_rng(0)
    users, items = (rng.normal(size=(count, 64)).astype(np.float32) for count in (300, 517))
    together = multiply(users, items)
    np.testing.assert_allclose(together, users @ items.T, atol=1e-4)
    for some in (slice(0, 1), slice(299, 300), slice(127, 131), slice(5, 290)):
        assert np.array_equal(multiply(users[some], items), together[some])
    assert multiply(users[:0], items).shape == (0, 517)


# --- what BPR adds to a dot product -----------------------------------------------------------------------


def test_bpr_adds_the_items_bias_to_the_product():
    """The products of c and d are equal for both users, so the biases alone put d first."""
    factors = np.array([[1, 0], [0, 1], [0.5, 0.5], [0.5, 0.5]], dtype=np.float32)
    model = BprModel(factors, np.array([0, 0, -0.25, 0.25], dtype=np.float32))
    histories = build_histories(make_interactions(("u", "a", 1), ("v", "b", 1)), make_items(*"abcd"), at(10))
    scores = BprSource(model).score(histories).to_array()
    assert scores == pytest.approx(np.array([[1, 0, 0.25, 0.75], [0, 1, 0.25, 0.75]]), abs=1e-6)


# --- neighbours by tags and attributes ---------------------------------------------------------------------


def fit_attributes(items: pl.DataFrame, known: list[bool] | None = None, **settings: float) -> np.ndarray:
    config = AttributesConfig(**settings)
    found = fit_attribute_neighbours(items, np.array(known or [True] * items.height), config)
    return found.similarity.toarray()


def test_each_value_in_common_adds_less_the_more_items_have_it():
    items = make_items(
        {"item_id": "a", "tags": ["drama", "war"], "author": "Ann"},
        {"item_id": "b", "tags": ["drama"], "author": "Ann"},
        {"item_id": "c", "tags": ["drama", "war"], "author": "Bo, Ann"},
        {"item_id": "d", "tags": ["drama"], "author": "Cy"},
        {"item_id": "e", "tags": [], "author": None},
    )
    found = fit_attributes(items)
    # drama: 4 items, war: 2, Ann: 3; Bo and Cy have a single item.
    assert found[0] == pytest.approx([0, 4**-0.5 + 3**-0.5, 4**-0.5 + 2**-0.5 + 3**-0.5, 4**-0.5, 0])
    assert (found == found.T).all()
    assert not found[4].any()
    # Without drama, which four items have.
    assert fit_attributes(items, max_items=3)[0] == pytest.approx([0, 3**-0.5, 2**-0.5 + 3**-0.5, 0, 0])
    # The nearest k; ties go to the smaller number.
    assert np.flatnonzero(fit_attributes(items, k=1)[3]).tolist() == [0]


def test_an_item_that_has_not_joined_yet_counts_for_nothing():
    items = make_items(*({"item_id": item, "tags": ["x"]} for item in "abc"))
    before = fit_attributes(items, [True, True, False])
    assert before[0].tolist() == pytest.approx([0, 2**-0.5, 0])
    assert not before[2].any()


def test_quantities_are_not_compared_but_years_are():
    prices = {"a": "5", "b": "5", "c": "7.5"}
    items = make_items(*({"item_id": item, "price": price, "year": "1999"} for item, price in prices.items()))
    assert fit_attributes(items)[0] == pytest.approx([0, 3**-0.5, 3**-0.5])
    assert not fit_attributes(items.drop("year")).any()


def test_a_catalogue_without_tags_and_attributes_has_no_neighbours():
    assert fit_attributes(make_items("a", "b")).shape == (2, 2)
    assert not fit_attributes(make_items("a", "b")).any()


def test_items_that_joined_have_neighbours_once_the_attributes_are_fitted_again(models):
    aligned = models.align(TONIGHT["item_id"])
    assert aligned["attributes"].similarity[:, UNTOUCHED[1:]].nnz == 0
    refitted = aligned.refit_attributes(TONIGHT, np.ones(TONIGHT.height, dtype=bool), CONFIG)
    assert (refitted["attributes"].similarity[:, UNTOUCHED].toarray() > 0).sum() == 3 * 22
    assert refitted["tfidf"] is aligned["tfidf"]
    assert models.fit_on_attributes
    owners = {name: owner for name, owner in models.owners.items() if name != "attributes"}
    assert not replace(models, owners=owners).fit_on_attributes
