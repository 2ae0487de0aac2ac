"""The interest model with vectors from elsewhere, in a world whose colours show in nothing else."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from numpy.typing import NDArray
from worlds import checkerboard, make_items

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.item_vectors import Vectors
from recsys.errors import DataError
from recsys.text.interest import InterestModel
from recsys.text.interest_network import InterestLoss, InterestNetwork

CONFIG = InterestConfig(epochs=4, batch_size=8, learning_rate=1e-2, last_learning_share=1.0)
SEQUENCE = {"size": 8, "tower": "transformer", "residual": True}
KINDS = {"cosines": {}, "a size": {"size": 8}, "transformer": SEQUENCE}
N_ITEMS, N_COLD = 160, 40


def unit(rows: NDArray[np.floating]) -> NDArray[np.float32]:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def draw(seed: int, size: int = 12) -> NDArray[np.float32]:
    return unit(np.random.default_rng(seed).normal(size=(N_ITEMS, size)))


def colour(size: int = 6, seed: int = 3) -> NDArray[np.float32]:
    """Vectors of even and odd items in two directions, with noise."""
    rows = np.random.default_rng(seed).normal(scale=0.3, size=(N_ITEMS, size))
    rows[np.arange(N_ITEMS), np.arange(N_ITEMS) % 2] += 1.0
    return unit(rows)


def known(rows: NDArray[np.float32], lacking: tuple[int, ...] = ()) -> Vectors:
    has = ~np.isin(np.arange(len(rows)), lacking)
    return Vectors(rows * has[:, None], has)


@pytest.fixture(scope="module")
def world() -> Histories:
    """Users take items of their colour among the first half; nobody has touched the others."""
    _, interactions = checkerboard(users=80, items=N_ITEMS - N_COLD)
    items = make_items(*(f"i{number:03d}" for number in range(N_ITEMS)))
    return build_histories(interactions, items, None)


def fit(world: Histories, vectors: dict[str, Vectors] | None, seed: int = 0, **change: object) -> InterestModel:
    model = InterestModel(12, CONFIG.model_copy(update=change))
    model.fit(world, draw(1), seed, vectors=vectors)
    return model


def cold_recall(model: InterestModel, world: Histories, vectors: dict[str, Vectors] | None) -> float:
    """Share of the ten best untouched items that have the user's colour: a half by chance."""
    items = model.item_vectors(draw(1), vectors)
    scores = (model.user_vectors(world, items) @ items.T)[:, N_ITEMS - N_COLD :]
    best = np.argsort(-scores, axis=1)[:, :10]
    return float((best % 2 == np.arange(world.n_users)[:, None] % 2).mean())


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_untouched_items_are_found_by_their_vectors_alone(world, change):
    vectors = {"image": known(colour())}
    assert cold_recall(fit(world, vectors, **change), world, vectors) > 0.9
    assert cold_recall(fit(world, None, **change), world, None) < 0.7


def test_an_untrained_model_with_cosines_counts_vectors_like_texts(world):
    """So nearness in either counts before anything is learned, and nothing else does."""
    vectors = {"image": known(colour())}
    model = fit(world, vectors, epochs=1, max_steps=1, learning_rate=1e-9, vector_dropout=0.0)
    items = model.item_vectors(draw(1), vectors)
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1.0, atol=1e-6)
    expected = (draw(1) @ draw(1).T + colour() @ colour().T) / 2
    assert np.corrcoef((items @ items.T).ravel(), expected.ravel())[0, 1] > 0.8


def test_items_may_lack_a_vector(world):
    lacking = (120, 121, 122, 123)
    vectors = {"image": known(colour(), lacking)}
    model = fit(world, vectors)
    items = model.item_vectors(draw(1), vectors)
    assert np.isfinite(items).all()
    # What such an item has is its text: a model without the other vectors would give the same.
    alone = model.item_vectors(draw(1), {"image": known(np.zeros_like(colour()), tuple(range(N_ITEMS)))})
    assert np.array_equal(items[list(lacking)], alone[list(lacking)])
    assert not np.array_equal(items[124], alone[124])
    assert cold_recall(model, world, vectors) > 0.8


def test_an_item_without_a_text_is_found_by_its_vector(world):
    texts, vectors = draw(1), {"image": known(colour())}
    texts[140:] = 0
    model = InterestModel(12, CONFIG)
    model.fit(world, texts, 0, vectors=vectors)
    items = model.item_vectors(texts, vectors)
    assert np.isfinite(items).all()
    scores = (model.user_vectors(world, items) @ items.T)[:, 140:]
    assert scores[::2, ::2].min() > scores[::2, 1::2].mean()
    assert scores[1::2, 1::2].min() > scores[1::2, ::2].mean()


@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_same_seed_same_bytes_and_loading_gives_the_same_vectors(world, change, tmp_path: Path):
    vectors = {"b": known(colour()), "a": known(draw(5, 4), (1, 2))}
    made = []
    for number, seed in enumerate((5, 5, 6)):
        model = fit(world, vectors, seed, **change)
        model.save(tmp_path / str(number))
        made.append((tmp_path / str(number)).read_bytes())
    assert made[0] == made[1] != made[2]
    config = CONFIG.model_copy(update=change)
    loaded = InterestModel.load(tmp_path / "2", world.item_ids, config)
    assert np.array_equal(loaded.item_vectors(draw(1), vectors), model.item_vectors(draw(1), vectors))
    loaded.save(tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == made[2]


def test_training_continues_with_the_maps_of_the_vectors(world):
    vectors = {"image": known(colour())}
    first = fit(world, vectors)
    second = InterestModel(12, CONFIG)
    losses = second.fit(world, draw(1), 0, vectors=vectors, start=first)
    assert len(losses) == CONFIG.refresh_epochs
    assert cold_recall(second, world, vectors) > 0.9


def test_a_model_over_another_catalogue(world):
    """A new item has no residual, and its vector counts."""
    vectors = {"image": known(colour())}
    model = fit(world, vectors, **SEQUENCE)
    order = np.array([N_ITEMS - 1, *range(N_ITEMS - 1)])
    aligned = model.align(pl.Series("item_id", ["new", *world.item_ids[:-1]]))
    moved = aligned.item_vectors(draw(1)[order], {"image": known(colour()[order])})
    before = model.item_vectors(draw(1), vectors)
    np.testing.assert_allclose(moved[1:], before[:-1], atol=1e-6)
    assert np.linalg.norm(moved[0]) > 0


@pytest.mark.parametrize(
    ("found", "message"),
    [
        (None, "found none"),
        ({"other": known(colour())}, "found none"),
        ({"image": known(colour(5))}, "found 5 numbers"),
    ],
)
def test_missing_vectors_and_those_of_another_length_are_refused(world, found, message):
    model = fit(world, {"image": known(colour())}, epochs=1)
    with pytest.raises(DataError, match=f"trained with vectors 'image' of 6 numbers, {message}"):
        model.item_vectors(draw(1), found)


def test_dropout_never_drops_everything_that_an_item_has():
    network = InterestNetwork(3, InterestConfig(), {"image": 2})
    texts, images = torch.eye(3).repeat(200, 1), torch.ones(600, 2)
    texts[::3], images[1::3] = 0, 0
    config = InterestConfig(vector_dropout=0.5)
    loss = InterestLoss(network, texts, None, None, [images], True, config, "float32")
    kept = loss._draw_kept([texts, images])
    assert (kept.sum(dim=1) >= 1).all()
    # Items of one part keep it, and nothing else; of two parts each is dropped in about a third of the draws.
    assert kept[::3].tolist() == [[0, 1]] * 200
    assert kept[1::3].tolist() == [[1, 0]] * 200
    dropped = 1 - kept[2::3].mean(dim=0)
    assert ((dropped > 0.15) & (dropped < 0.4)).all()


def test_without_vectors_nothing_is_drawn(world):
    """So models of catalogues without vectors stay as they were."""
    plain, empty = fit(world, None), fit(world, {})
    assert np.array_equal(plain.item_vectors(draw(1)), empty.item_vectors(draw(1)))
