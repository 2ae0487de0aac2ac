import numpy as np
import polars as pl
import pytest
from worlds import at, checkerboard, make_interactions, make_items

from recsys.collab.bpr import BprModel
from recsys.config import BprConfig
from recsys.dataset.histories import Histories, build_histories

CONFIG = BprConfig(embedding_size=6)
ITEMS, INTERACTIONS = checkerboard(users=30, items=20)
# Nobody interacts with the last item.
CATALOGUE = pl.concat([ITEMS, make_items("never").with_columns(colour=pl.lit("none"))])


@pytest.fixture(scope="module")
def world() -> Histories:
    return build_histories(INTERACTIONS, CATALOGUE, at(60))


@pytest.fixture(scope="module")
def model(world: Histories) -> BprModel:
    return BprModel.fit(world, CONFIG, seed=3)


def test_users_unknown_at_training_get_items_of_their_colour(model):
    rows = make_interactions(("even", "i002", 1), ("even", "i008", 2), ("odd", "i005", 1))
    factors = model.user_factors(build_histories(rows, CATALOGUE, at(60)))
    scores = (factors @ model.item_factors.T + model.item_biases)[:, :-1]
    assert scores[0, ::2].min() > scores[0, 1::2].max()
    assert scores[1, 1::2].min() > scores[1, ::2].max()


def test_users_are_the_mean_of_their_known_items(model):
    rows = make_interactions(
        {"user": "u", "item": "i002", "day": 1, "weight": 0.1},
        {"user": "u", "item": "i003", "day": 2, "weight": 9.0},
        {"user": "u", "item": "never", "day": 3},
        {"user": "v", "item": "never", "day": 3},
    )
    histories = build_histories(rows, CATALOGUE, at(60)).take(pl.Series(["nobody", "u", "v"]))
    factors = model.user_factors(histories)
    assert (factors.dtype, factors.shape) == (np.float32, (3, 6))
    assert factors[1] == pytest.approx(model.item_factors[[2, 3]].mean(axis=0), rel=1e-5)
    assert np.isnan(factors[[0, 2]]).all()


def test_biases_are_kept_apart_from_factors(model):
    assert model.item_factors.shape == (21, CONFIG.embedding_size)
    assert (model.item_biases.dtype, model.item_biases.shape) == (np.float32, (21,))
    # Every user has a, and each other item has a single user: a fits no taste, so it wins by its bias.
    rows = make_interactions(*((f"u{n}", item, 1) for n in range(40) for item in ("a", f"own {n}")))
    items = make_items("a", *(f"own {n}" for n in range(40)))
    learned = BprModel.fit(build_histories(rows, items, at(2)), BprConfig(embedding_size=1), seed=0)
    assert learned.item_biases[0] > max(0.0, learned.item_biases[1:].max())


def test_only_items_without_users_are_unknown(model):
    assert model.known.tolist() == [True] * 20 + [False]
    assert np.isnan(model.item_factors[-1]).all()
    assert not np.isnan(model.item_factors[:-1]).any()


def test_same_seed_same_bytes_and_another_seed_another_model(world, model):
    again, other = BprModel.fit(world, CONFIG, seed=3), BprModel.fit(world, CONFIG, seed=4)
    assert again.item_factors.tobytes() == model.item_factors.tobytes()
    assert again.item_biases.tobytes() == model.item_biases.tobytes()
    assert other.item_factors.tobytes() != model.item_factors.tobytes()


def test_a_users_factors_do_not_depend_on_other_users(world, model):
    together = model.user_factors(world)
    alone = [model.user_factors(world.select(slice(number, number + 1))) for number in range(world.n_users)]
    assert np.concatenate(alone).tobytes() == together.tobytes()


def test_an_item_that_joined_tonight_is_unknown_and_the_others_keep_their_rows(model):
    tonight = pl.Series(["a new one", *CATALOGUE["item_id"][1:], "zz"])
    aligned = model.align(CATALOGUE["item_id"], tonight)
    assert np.flatnonzero(~aligned.known).tolist() == [0, 20, 21]
    assert aligned.item_factors[1:-1].tobytes() == model.item_factors[1:].tobytes()
    assert aligned.item_biases[1:-1].tobytes() == model.item_biases[1:].tobytes()


@pytest.mark.parametrize("blank", [False, True])
def test_saved_and_loaded_is_the_same(blank, model, tmp_path):
    saved = BprModel.blank(21) if blank else model
    saved.save(tmp_path / "one")
    loaded = BprModel.load(tmp_path / "one")
    loaded.save(tmp_path / "two")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    assert loaded.item_factors.shape == saved.item_factors.shape


def test_without_users_no_item_is_known(world):
    blank = BprModel.fit(world.select(slice(0, 0)), CONFIG, seed=0)
    assert not blank.known.any()
    assert blank.user_factors(world).shape == (30, 0)
    assert not blank.align(CATALOGUE["item_id"], pl.Series(["i003", "x"])).known.any()


def test_a_single_user_who_has_every_item_can_be_fitted():
    histories = build_histories(make_interactions(("u", "a", 1), ("u", "b", 2)), make_items("a", "b"), at(3))
    assert np.isfinite(BprModel.fit(histories, CONFIG, seed=0).item_factors).all()
