"""The sequence model in a world where order is everything: after item i comes i + 1."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from worlds import at, make_interactions, make_items

from recsys.config import SequenceConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.sequence import SequenceModel

# Many items and short histories: what a user has is no negative, so only others' items tell the next from the rest.
N_ITEMS = 40
ITEMS = make_items(*(f"i{number:02}" for number in range(N_ITEMS)), "new")
CONFIG = SequenceConfig(
    epochs=40, size=16, batch_size=16, learning_rate=0.01, history_length=6, negatives=30, dropout=0.0
)


def walk(user: str, first: int, length: int) -> list[tuple[str, str, float]]:
    return [(user, f"i{(first + step) % N_ITEMS:02}", step + 1) for step in range(length)]


def histories_of(*rows: tuple[str, str, float], items: pl.DataFrame = ITEMS) -> Histories:
    return build_histories(make_interactions(*rows), items, at(40))


@pytest.fixture(scope="module")
def histories() -> Histories:
    rows = [row for number in range(80) for row in walk(f"u{number:02}", number, 2 + number // 40)]
    return histories_of(*rows)


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """Unit rows that say little of the order: item i + 1 has a text of its own."""
    rows = np.random.default_rng(0).standard_normal((N_ITEMS + 1, 8)).astype(np.float32)
    # The new item reads like item 3.
    rows[N_ITEMS] = rows[3]
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


@pytest.fixture(scope="module")
def model(histories: Histories, embeddings: np.ndarray) -> SequenceModel:
    model = SequenceModel(8, ITEMS["item_id"], CONFIG)
    losses = model.fit(histories, embeddings, seed=1)
    assert losses[-1] < 0.3 * losses[0]
    return model


def score(model: SequenceModel, histories: Histories, embeddings: np.ndarray) -> np.ndarray:
    items = model.item_vectors(embeddings)
    return model.user_vectors(histories, items) @ items.T


def test_it_learns_what_comes_next(model: SequenceModel, embeddings: np.ndarray) -> None:
    right = 0
    for first in range(N_ITEMS):
        seen = histories_of(*walk("u", first, 2))
        scores = score(model, seen, embeddings)[0]
        scores[seen.items] = -np.inf
        right += int(scores[:N_ITEMS].argmax()) == (first + 2) % N_ITEMS
    # Half of the training histories end where the next item would have come.
    assert right >= 0.9 * N_ITEMS


def test_the_order_counts(model: SequenceModel, embeddings: np.ndarray) -> None:
    forth = score(model, histories_of(("u", "i01", 1), ("u", "i20", 2)), embeddings)[0]
    back = score(model, histories_of(("u", "i20", 1), ("u", "i01", 2)), embeddings)[0]
    assert forth[21] > forth[2]
    assert back[2] > back[21]


def test_an_item_without_a_past_is_placed_by_its_text(model: SequenceModel, embeddings: np.ndarray) -> None:
    after_two = score(model, histories_of(*walk("u", 1, 2)), embeddings)[0]
    # It reads like 3, which comes now; most others fit worse.
    assert (after_two[N_ITEMS] > after_two[:N_ITEMS]).mean() > 0.6


def test_only_the_newest_items_are_looked_at(model: SequenceModel, embeddings: np.ndarray) -> None:
    long = histories_of(*walk("u", 2, 9))
    newest = histories_of(*[(user, item, day) for user, item, day in walk("u", 2, 9)][-CONFIG.history_length :])
    assert np.allclose(score(model, long, embeddings), score(model, newest, embeddings), atol=1e-6)


def test_users_beside_change_nothing(model: SequenceModel, embeddings: np.ndarray, histories: Histories) -> None:
    items = model.item_vectors(embeddings)
    whole = model.user_vectors(histories, items)
    parts = [model.user_vectors(part, items) for _, part in histories.split(7)]
    assert np.allclose(whole, np.concatenate(parts), atol=1e-6)


def test_empty_histories_are_zeros(model: SequenceModel, embeddings: np.ndarray, histories: Histories) -> None:
    strangers = histories.take(pl.Series(["nobody", "u00"]))
    vectors = model.user_vectors(strangers, model.item_vectors(embeddings))
    assert not vectors[0].any()
    assert vectors[1].any()


def test_same_seed_same_bytes(histories: Histories, embeddings: np.ndarray) -> None:
    config = CONFIG.model_copy(update={"epochs": 2, "dropout": 0.1})
    made = []
    for seed in (5, 5, 6):
        model = SequenceModel(8, ITEMS["item_id"], config)
        model.fit(histories, embeddings, seed=seed)
        made.append(model.user_vectors(histories, model.item_vectors(embeddings)).tobytes())
    assert made[0] == made[1]
    assert made[1] != made[2]


def test_steps_are_counted_and_bounded(histories: Histories, embeddings: np.ndarray) -> None:
    model = SequenceModel(8, ITEMS["item_id"], CONFIG.model_copy(update={"max_steps": 7}))
    calls: list[int] = []
    # 80 users in batches of 16 are five steps an epoch; a second epoch would be three steps too many.
    assert len(model.fit(histories, embeddings, seed=1, progress=calls.append)) == 1
    assert sum(calls) == model.count_steps(histories) == 5


@pytest.mark.parametrize("rows", [[("u", "i01", 1), ("v", "i02", 1)], []])
def test_nothing_to_learn_from(rows: list[tuple[str, str, float]], embeddings: np.ndarray) -> None:
    model = SequenceModel(8, ITEMS["item_id"], CONFIG)
    assert model.fit(histories_of(*rows), embeddings, seed=1) == []
    assert not model.trained


def test_untrained_ones_are_the_same_bytes(tmp_path: Path) -> None:
    for name in ("one", "two"):
        SequenceModel(8, ITEMS["item_id"], CONFIG).save(tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_save_and_load(model: SequenceModel, histories: Histories, embeddings: np.ndarray, tmp_path: Path) -> None:
    model.save(tmp_path / "sequence.safetensors")
    again = SequenceModel.load(tmp_path / "sequence.safetensors", ITEMS["item_id"], CONFIG)
    assert again.trained
    assert np.array_equal(score(again, histories, embeddings), score(model, histories, embeddings))


def test_another_catalogue(model: SequenceModel, embeddings: np.ndarray) -> None:
    # Tonight item 4 is gone and "a first" has come, so every place has moved.
    tonight = make_items("a first", *(f"i{number:02}" for number in range(N_ITEMS) if number != 4), "new")
    moved = model.align(tonight["item_id"])
    place = {item: number for number, item in enumerate(ITEMS["item_id"])}
    there = np.array([embeddings[place.get(item, 0)] for item in tonight["item_id"]])
    before, after = model.item_vectors(embeddings), moved.item_vectors(there)
    for number, item in enumerate(tonight["item_id"]):
        if item in place:
            assert np.array_equal(after[number], before[place[item]])
    seen = histories_of(*walk("u", 1, 2), items=tonight)
    items = moved.item_vectors(there)
    scores = (moved.user_vectors(seen, items) @ items.T)[0]
    scores[seen.items] = -np.inf
    assert tonight["item_id"][int(scores[1:-1].argmax()) + 1] == "i03"
    assert model.align(ITEMS["item_id"]) is model


def test_heads_must_share_the_size() -> None:
    with pytest.raises(ValueError, match="3 heads cannot share"):
        SequenceConfig(size=16, heads=3)
