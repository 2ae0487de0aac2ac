import numpy as np
import pytest
from numpy.typing import NDArray
from worlds import checkerboard, make_interactions, make_items

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.interest import InterestModel, _older_items, _past_items

CONFIG = InterestConfig(epochs=8, batch_size=16, learning_rate=1e-2)


def make_histories(items: str, *rows: tuple[str, str], ordered: bool = True) -> Histories:
    return build_histories(make_interactions(*rows, ordered=ordered), make_items(*items), None)


def unit(vectors: object) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def world() -> tuple[Histories, NDArray[np.float32]]:
    """A checkerboard whose colours show in the users only: the vectors are random."""
    items, interactions = checkerboard(users=40, items=20)
    vectors = unit(np.random.default_rng(1).normal(size=(20, 16)))
    return build_histories(interactions, items, None), vectors


# u took a, b, c, d; v took b; w took c, a (item numbers 0 to 3).
ROWS = (("u", "a"), ("u", "b"), ("u", "c"), ("u", "d"), ("v", "b"), ("w", "c"), ("w", "a"))


# --- what came before ------------------------------------------------------------------------------------


def test_past_items_are_the_users_own_earlier_ones_newest_first():
    histories = make_histories("abcd", *ROWS)
    past = _past_items(histories, np.arange(7), 2)
    assert past.tolist() == [[-1, -1], [0, -1], [1, 0], [2, 1], [-1, -1], [-1, -1], [2, -1]]


def test_older_items_reach_the_whole_past_however_long():
    histories = make_histories("abcd", *ROWS)
    rows, items = _older_items(histories, np.array([6, 3, 0, 2]))
    assert list(zip(rows.tolist(), items.tolist(), strict=True)) == [
        (0, 2),
        *((1, item) for item in (0, 1, 2)),
        *((3, item) for item in (0, 1)),
    ]


def test_past_never_holds_the_target_or_the_future(world):
    histories, _ = world
    entries = np.arange(len(histories.items))
    past = _past_items(histories, entries, 50)
    for entry in entries:
        own = histories.items[histories.starts[histories.users[entry]] : entry][::-1].tolist()
        assert past[entry, : len(own)].tolist() == own
        assert (past[entry, len(own) :] == -1).all()


# --- untrained -------------------------------------------------------------------------------------------


def test_untrained_model_is_the_plain_cosine():
    histories = make_histories("abc", ("u", "a"), ("u", "b"))
    embeddings = unit([[1, 0], [0, 1], [1, 1]])
    model = InterestModel(2, InterestConfig(history_decay=0.5))
    np.testing.assert_allclose(model.item_vectors(embeddings), embeddings, atol=1e-6)
    # b is newest and weighs 1, a weighs 0.5: the direction is (0.5, 1).
    np.testing.assert_allclose(model.user_vectors(histories, embeddings), unit([[0.5, 1.0]]), atol=1e-6)


def test_without_an_order_all_items_weigh_the_same():
    histories = make_histories("ab", ("u", "a"), ("u", "b"), ordered=False)
    vectors = InterestModel(2, InterestConfig(history_decay=0.1)).user_vectors(histories, unit([[1, 0], [0, 1]]))
    np.testing.assert_allclose(vectors, unit([[1, 1]]), atol=1e-6)


def test_only_the_newest_items_count():
    histories = make_histories("abcd", *ROWS)
    model = InterestModel(4, InterestConfig(history_length=1))
    np.testing.assert_allclose(model.user_vectors(histories, np.eye(4, dtype=np.float32)), np.eye(4)[[3, 1, 0]])


def test_an_empty_history_has_a_vector_of_zeros(world):
    histories, embeddings = world
    nobody = histories.take(histories.user_ids[:1].extend(histories.user_ids[:1] + "?"))
    model = InterestModel(16, CONFIG)
    model.fit(histories, embeddings, 0)
    vectors = model.user_vectors(nobody, embeddings)
    assert nobody.lengths.tolist() == [5, 0]
    assert np.linalg.norm(vectors, axis=1).tolist() == [pytest.approx(1.0), 0.0]
    assert model.user_vectors(histories.select(slice(0, 0)), embeddings).shape == (0, 16)


# --- learning --------------------------------------------------------------------------------------------


def mean_rank(model: InterestModel, histories: Histories, embeddings: NDArray[np.float32]) -> float:
    """Mean place of the items of the user's colour that the user does not have yet, among all such items."""
    scores = model.user_vectors(histories, embeddings) @ model.item_vectors(embeddings).T
    new = histories.matrix().toarray() == 0
    places = np.argsort(np.argsort(-np.where(new, scores, -np.inf), axis=1), axis=1)
    colour = np.arange(histories.n_users)[:, None] % 2 == np.arange(histories.n_items)[None, :] % 2
    return float(places[new & colour].mean())


def test_learning_lifts_the_items_of_the_users_colour(world):
    histories, embeddings = world
    untrained, model = InterestModel(16, CONFIG), InterestModel(16, CONFIG)
    losses = model.fit(histories, embeddings, 0)
    assert len(losses) == CONFIG.epochs
    assert losses[-1] < 0.7 * losses[0]
    # 5 right items among 15 new ones: 7 by chance, 2 at best.
    assert mean_rank(untrained, histories, embeddings) > 5.5
    assert mean_rank(model, histories, embeddings) < 3.0


def test_vectors_stay_unit_length_and_item_nobody_took_gets_one(world):
    histories, embeddings = world
    model = InterestModel(16, CONFIG)
    model.fit(histories, embeddings, 0)
    more = np.concatenate([embeddings, unit(np.ones((1, 16)))])
    for vectors in (model.item_vectors(more), model.user_vectors(histories, embeddings)):
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-6)


def test_same_seed_same_maps(world):
    histories, embeddings = world
    models = [InterestModel(16, CONFIG) for _ in range(3)]
    losses = [model.fit(histories, embeddings, seed) for model, seed in zip(models, (5, 5, 6), strict=True)]
    assert losses[0] == losses[1] != losses[2]
    assert np.array_equal(models[0].item_map, models[1].item_map)
    assert np.array_equal(models[0].user_map, models[1].user_map)


@pytest.mark.parametrize("length", [1, 50])
@pytest.mark.parametrize("rows", [ROWS[:4], tuple(("u", item) for item in "dcab")])
def test_what_the_user_already_has_is_never_a_negative(rows, length):
    """With items a to d only, the last step has no negative at all: its loss is 0."""
    histories = make_histories("abcd", *rows)
    model = InterestModel(4, InterestConfig(epochs=1, batch_size=1, history_length=length, learning_rate=1e-9))
    embeddings = np.eye(4, dtype=np.float32)
    losses = []
    for entry in range(1, 4):
        model._draw_examples = lambda *_, entry=entry: [np.array([entry])]  # type: ignore[method-assign]
        losses += model.fit(histories, embeddings, 0)
    # All items are at right angles to the past: each item not yet had is as likely as the others.
    np.testing.assert_allclose(losses, np.log([3, 2, 1]), atol=1e-4)


@pytest.mark.parametrize("change", [{}, {"batch_size": 7}, {"max_examples": 50}, {"epochs": 0}])
def test_steps_are_those_announced(world, change):
    histories, embeddings = world
    model, steps = InterestModel(16, CONFIG.model_copy(update=change)), list[int]()
    model.fit(histories, embeddings, 0, steps.append)
    assert model.count_steps(histories) == sum(steps) == len(steps)


def test_with_nothing_to_learn_from_the_model_stays_the_cosine():
    lonely = make_histories("ab", ("u", "a"), ("v", "b"))
    model = InterestModel(2, CONFIG)
    assert model.fit(lonely, np.eye(2, dtype=np.float32), 0) == []
    assert model.count_steps(lonely) == 0
    assert not model.item_map.any() | model.user_map.any()


def test_saved_model_reads_the_same_vectors(world, tmp_path):
    histories, embeddings = world
    model = InterestModel(16, CONFIG)
    model.fit(histories, embeddings, 0)
    model.save(tmp_path / "interest.safetensors")
    again = InterestModel.load(tmp_path / "interest.safetensors", CONFIG)
    assert np.array_equal(again.item_vectors(embeddings), model.item_vectors(embeddings))
    assert np.array_equal(again.user_vectors(histories, embeddings), model.user_vectors(histories, embeddings))
    again.save(tmp_path / "again.safetensors")
    assert (tmp_path / "again.safetensors").read_bytes() == (tmp_path / "interest.safetensors").read_bytes()
