"""The interest model on a checkerboard, and the sequence model in a world where item i + 1 follows item i."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from numpy.typing import NDArray
from worlds import at, checkerboard, make_interactions, make_items

from recsys.config import InterestConfig, SequenceConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.interest import InterestModel

CONFIG = InterestConfig(epochs=8, batch_size=8, learning_rate=1e-2, last_learning_share=1.0)


def make_histories(items: str, *rows: tuple[str, str], ordered: bool = True) -> Histories:
    return build_histories(make_interactions(*rows, ordered=ordered), make_items(*items), None)


def unit(vectors: object) -> NDArray[np.float32]:
    rows = np.asarray(vectors, dtype=np.float32)
    return rows / np.linalg.norm(rows, axis=1, keepdims=True)


def score(model: InterestModel, histories: Histories, embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    items = model.item_vectors(embeddings)
    return model.user_vectors(histories, items) @ items.T


@pytest.fixture(scope="module")
def board() -> tuple[Histories, NDArray[np.float32]]:
    """A checkerboard whose colours show only in the interactions: embeddings are random."""
    items, interactions = checkerboard(users=40, items=20)
    return build_histories(interactions, items, None), unit(np.random.default_rng(1).normal(size=(20, 16)))


# --- untrained -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tower", ["mean", "attention"])
def test_untrained_model_is_the_plain_cosine(tower):
    histories = make_histories("abc", ("u", "a"), ("u", "b"))
    embeddings = unit([[1, 0], [0, 1], [1, 1]])
    model = InterestModel(2, InterestConfig(tower=tower, history_decay=0.5))
    np.testing.assert_allclose(model.item_vectors(embeddings), embeddings, atol=1e-6)
    # b is newest and weighs 1, a weighs 0.5: the direction is (0.5, 1).
    np.testing.assert_allclose(model.user_vectors(histories, embeddings), unit([[0.5, 1.0]]), atol=1e-6)
    assert model.is_informative
    assert not model.trained


@pytest.mark.parametrize("tower", ["mean", "attention"])
def test_without_an_order_all_items_weigh_the_same(tower):
    histories = make_histories("ab", ("u", "a"), ("u", "b"), ordered=False)
    model = InterestModel(2, InterestConfig(tower=tower, history_decay=0.1))
    np.testing.assert_allclose(model.user_vectors(histories, unit([[1, 0], [0, 1]])), unit([[1, 1]]), atol=1e-6)


def test_only_the_newest_items_count():
    rows = (("u", "a"), ("u", "b"), ("u", "c"), ("u", "d"), ("v", "b"), ("w", "c"), ("w", "a"))
    model = InterestModel(4, InterestConfig(history_length=1))
    vectors = model.user_vectors(make_histories("abcd", *rows), np.eye(4, dtype=np.float32))
    np.testing.assert_allclose(vectors, np.eye(4)[[3, 1, 0]])


def test_a_random_map_is_not_informative_before_training():
    assert not InterestModel(4, InterestConfig(size=2)).is_informative
    assert not InterestModel(4, SequenceConfig(size=2)).is_informative


# --- learning on the checkerboard ------------------------------------------------------------------------


def mean_rank(model: InterestModel, histories: Histories, embeddings: NDArray[np.float32]) -> float:
    """Mean rank, from 0, of new items of the user's colour among all items that are new to the user."""
    new = histories.matrix().toarray() == 0
    scores = np.where(new, score(model, histories, embeddings), -np.inf)
    ranks = np.argsort(np.argsort(-scores, axis=1), axis=1)
    colour = np.arange(histories.n_users)[:, None] % 2 == np.arange(histories.n_items)[None, :] % 2
    return float(ranks[new & colour].mean())


KINDS = {
    "plain": {},
    "attention": {"tower": "attention"},
    "residual": {"residual": True},
    "drawn negatives": {"negatives": 12},
    "mean of mapped texts": {"size": 8, "residual": True, "epochs": 20},
    "attention of mapped texts": {"size": 8, "tower": "attention", "epochs": 20, "event_weights": True},
    "transformer": {"size": 8, "tower": "transformer", "epochs": 25},
}


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("change", KINDS.values(), ids=KINDS)
def test_items_of_the_users_colour_rank_high_after_training(board, change, ordered):
    histories, embeddings = board
    if not ordered:
        items, interactions = checkerboard(users=40, items=20)
        histories = build_histories(interactions.with_columns(step=pl.lit(0, pl.UInt32)), items, None)
    config = CONFIG.model_copy(update=change)
    model = InterestModel(16, config)
    losses = model.fit(histories, embeddings, 0)
    assert len(losses) == config.epochs
    assert losses[-1] < 0.8 * losses[0]
    # 5 items of the colour among 15 new ones: mean rank 7 by chance, 2 at best.
    assert mean_rank(InterestModel(16, CONFIG), histories, embeddings) > 5.5
    assert mean_rank(model, histories, embeddings) < 4.0
    assert model.trained


def test_vectors_are_unit_length_and_zero_for_empty_histories(board):
    histories, embeddings = board
    model = InterestModel(16, CONFIG)
    model.fit(histories, embeddings, 0)
    more = np.concatenate([embeddings, unit(np.ones((1, 16)))])
    nobody = histories.take(histories.user_ids[:1].extend(histories.user_ids[:1] + "?"))
    items, users = model.item_vectors(more), model.user_vectors(nobody, model.item_vectors(embeddings))
    assert items.dtype == users.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(items, axis=1), 1.0, atol=1e-6)
    assert np.linalg.norm(users, axis=1).tolist() == [pytest.approx(1.0), 0.0]
    assert model.user_vectors(histories.select(slice(0, 0)), items).shape == (0, 16)


@pytest.mark.parametrize("change", [{}, {"size": 8, "tower": "transformer", "residual": True, "negatives": 5}])
def test_same_seed_same_bytes(board, tmp_path, change):
    histories, embeddings = board
    config, made = CONFIG.model_copy(update=change), []
    for number, seed in enumerate((5, 5, 6)):
        model = InterestModel(16, config)
        model.fit(histories, embeddings, seed)
        model.save(tmp_path / str(number))
        made.append((tmp_path / str(number)).read_bytes())
    assert made[0] == made[1] != made[2]


@pytest.mark.parametrize(
    ("change", "steps", "epochs"),
    [
        ({}, 40, 8),
        ({"batch_size": 7}, 48, 8),
        # The last epoch is truncated.
        ({"max_steps": 12}, 12, 3),
        ({"epochs": 0}, 0, 0),
    ],
)
def test_the_number_of_steps_matches_the_count(board, change, steps, epochs):
    histories, embeddings = board
    model, calls = InterestModel(16, CONFIG.model_copy(update=change)), list[int]()
    assert len(model.fit(histories, embeddings, 0, calls.append)) == epochs
    assert model.count_steps(histories) == sum(calls) == len(calls) == steps


@pytest.mark.parametrize("config", [CONFIG, SequenceConfig(size=4)])
def test_without_examples_the_model_stays_untrained(config, tmp_path):
    lonely = make_histories("ab", ("u", "a"), ("v", "b"))
    model = InterestModel(2, config)
    for histories in (lonely, lonely.select(slice(0, 0))):
        assert model.fit(histories, np.eye(2, dtype=np.float32), 0) == []
        assert model.count_steps(histories) == 0
    assert not model.trained
    for name in ("one", "two"):
        InterestModel(2, config).save(tmp_path / name)
    model.save(tmp_path / "fitted")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes() == (tmp_path / "fitted").read_bytes()


# --- negatives -------------------------------------------------------------------------------------------


def first_loss(histories: Histories, n_items: int, **change: object) -> float:
    """Loss of one step over orthogonal embeddings, where all items are equally near."""
    config = InterestConfig(epochs=1, learning_rate=1e-9, **change)
    model = InterestModel(n_items, config)
    return model.fit(histories, np.eye(n_items, dtype=np.float32), 0)[0]


@pytest.mark.parametrize("negatives", [None, 3])
@pytest.mark.parametrize("length", [1, 50])
def test_items_the_user_interacts_with_at_any_time_are_no_negatives(length, negatives):
    rows = [("u", item) for item in "abcd"]
    change = {"history_length": length, "negatives": negatives}
    assert first_loss(make_histories("abcd", *rows), 4, **change) == pytest.approx(0.0, abs=1e-6)
    # v's item is the only negative of u, as likely as the target. v itself has no next item.
    assert first_loss(make_histories("abcde", *rows, ("v", "e")), 5, history_length=length) == pytest.approx(np.log(2))


def test_items_without_interactions_are_no_negatives():
    histories = make_histories("abcdef", ("u", "a"), ("u", "b"), ("v", "c"))
    assert first_loss(histories, 6) == pytest.approx(np.log(2))


def test_drawn_negatives_represent_the_whole_pool():
    others = [(f"v{item}", item) for item in "cdefghij"]
    histories = make_histories("abcdefghij", ("u", "a"), ("u", "b"), *others)
    whole = first_loss(histories, 10)
    assert whole == pytest.approx(np.log(9))
    drawn = [InterestModel(10, InterestConfig(epochs=1, learning_rate=1e-9, negatives=5)) for _ in range(40)]
    losses = [model.fit(histories, np.eye(10, dtype=np.float32), seed)[0] for seed, model in enumerate(drawn)]
    assert np.exp(losses).mean() == pytest.approx(9, rel=0.1)


# --- weights of events -----------------------------------------------------------------------------------


def test_targets_are_weighted_by_their_events():
    def learn(weight: float, wanted: bool) -> NDArray[np.float32]:
        # b follows a for u, and c follows a for v.
        rows = [
            {"user": user, "item": item, "day": day, "weight": weight if item == "b" else 1.0}
            for user, item, day in (("u", "a", 1), ("u", "b", 2), ("v", "a", 1), ("v", "c", 2), ("w", "d", 1))
        ]
        histories = build_histories(make_interactions(*rows), make_items(*"abcd"), at(9))
        model = InterestModel(4, InterestConfig(epochs=40, learning_rate=0.02, event_weights=wanted))
        model.fit(histories, np.eye(4, dtype=np.float32), 0)
        return score(model, histories.take(pl.Series(["u"])).select(slice(0, 1)), np.eye(4, dtype=np.float32))[0]

    even, heavy = learn(1.0, True), learn(9.0, True)
    assert heavy[1] - heavy[2] > even[1] - even[2] + 0.05
    assert np.array_equal(learn(1.0, False), learn(9.0, False))


# --- residuals and blocks --------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def residual_model() -> InterestModel:
    """Trained on a, b and c; d is in the catalogue without interactions. Its map and tower have a size of 4."""
    histories = make_histories("abcd", ("u", "a"), ("u", "b"), ("v", "b"), ("v", "c"), ("w", "c"), ("w", "a"))
    model = InterestModel(2, SequenceConfig(size=4, epochs=2))
    model.fit(histories, unit([[1, 0], [0, 1], [1, 1], [1, -1]]), 0)
    return model


def find_residuals(model: InterestModel, n_items: int) -> list[bool]:
    """Which items have a residual: with an embedding of zeros, the residual is all there is of an item vector."""
    vectors = model.item_vectors(np.zeros((n_items, 2), dtype=np.float32))
    return [bool(row.any()) for row in vectors]


def test_an_item_without_interactions_has_no_residual(residual_model):
    # Its residual was initialised at random and never trained.
    assert find_residuals(residual_model, 4) == [True, True, True, False]


def test_a_new_item_does_not_get_the_residual_of_the_last_item(residual_model):
    without_d = residual_model.align(pl.Series(["a", "b", "c"]))
    later = without_d.align(pl.Series(["a", "aa", "b", "c", "e"]))
    assert find_residuals(later, 5) == [True, False, True, True, False]


@pytest.mark.parametrize("tower", ["mean", "attention", "transformer"])
def test_a_user_vector_has_the_same_bits_whoever_else_is_in_the_block(tower):
    # Nightly lists must not depend on how users are split into shards.
    rng = np.random.default_rng(0)
    items = [f"i{number:02}" for number in range(50)]
    rows = [(f"u{user:03}", item) for user in range(150) for item in rng.choice(items, 5, replace=False)]
    histories = build_histories(make_interactions(*rows), make_items(*items), None)
    model = InterestModel(32, SequenceConfig(tower=tower, size=32, epochs=1, max_steps=2))
    embeddings = unit(rng.normal(size=(50, 32)))
    model.fit(histories, embeddings, 0)
    item_vectors = model.item_vectors(embeddings)
    together = model.user_vectors(histories, item_vectors)
    for size in (1, 3, 7, 64):
        alone = model.user_vectors(histories.select(slice(0, size)), item_vectors)
        assert np.array_equal(alone, together[:size]), size


# --- order: after item i comes i + 1 ---------------------------------------------------------------------

# Many items and short histories, because a user's own items are no negatives.
N_ITEMS = 40
ITEMS = make_items(*(f"i{number:02}" for number in range(N_ITEMS)), "new")
ORDER = SequenceConfig(
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
def embeddings() -> NDArray[np.float32]:
    """Random unit rows, which carry no information about the order; the new item has the text of item 3."""
    rows = np.random.default_rng(0).standard_normal((N_ITEMS + 1, 8))
    rows[N_ITEMS] = rows[3]
    return unit(rows)


@pytest.fixture(scope="module")
def model(histories: Histories, embeddings: NDArray[np.float32]) -> InterestModel:
    model = InterestModel(8, ORDER)
    losses = model.fit(histories, embeddings, seed=1)
    assert losses[-1] < 0.3 * losses[0]
    return model


def count_right(model: InterestModel, embeddings: NDArray[np.float32]) -> int:
    """For how many walks of two steps does the third step have the highest score?"""
    right = 0
    for first in range(N_ITEMS):
        seen = histories_of(*walk("u", first, 2))
        scores = score(model, seen, embeddings)[0]
        scores[seen.items] = -np.inf
        right += int(scores[:N_ITEMS].argmax()) == (first + 2) % N_ITEMS
    return right


class TestOrder:
    def test_it_learns_the_next_item(self, model, embeddings):
        # Half of the training histories end before the next item.
        assert count_right(model, embeddings) >= 0.9 * N_ITEMS

    def test_the_order_matters(self, model, embeddings):
        forth = score(model, histories_of(("u", "i01", 1), ("u", "i20", 2)), embeddings)[0]
        back = score(model, histories_of(("u", "i20", 1), ("u", "i01", 2)), embeddings)[0]
        assert forth[21] > forth[2]
        assert back[2] > back[21]

    def test_a_new_item_is_scored_by_its_text(self, model, embeddings):
        after_two = score(model, histories_of(*walk("u", 1, 2)), embeddings)[0]
        # It has the text of item 3, which comes next; most other items fit worse.
        assert (after_two[N_ITEMS] > after_two[:N_ITEMS]).mean() > 0.6

    def test_only_the_newest_items_are_used(self, model, embeddings):
        long = histories_of(*walk("u", 2, 9))
        newest = histories_of(*[(user, item, day) for user, item, day in walk("u", 2, 9)][-ORDER.history_length :])
        assert np.allclose(score(model, long, embeddings), score(model, newest, embeddings), atol=1e-6)

    def test_other_users_change_nothing(self, model, embeddings, histories):
        items = model.item_vectors(embeddings)
        parts = [model.user_vectors(part, items) for _, part in histories.split(7)]
        assert np.allclose(model.user_vectors(histories, items), np.concatenate(parts), atol=1e-6)

    def test_empty_histories_are_zeros(self, model, embeddings, histories):
        strangers = histories.take(pl.Series(["nobody", "u00"]))
        vectors = model.user_vectors(strangers, model.item_vectors(embeddings))
        assert not vectors[0].any()
        assert vectors[1].any()

    @pytest.mark.parametrize("change", [{}, {"tower": "mean", "size": 4}, {"tower": "mean", "size": None}])
    def test_half_precision_learns_the_same(self, change, histories, embeddings):
        config, losses = ORDER.model_copy(update={"epochs": 4, **change}), []
        for precision in ("float32", "bfloat16"):
            model = InterestModel(8, config)
            losses.append(model.fit(histories, embeddings, seed=1, precision=precision))
            assert model.item_vectors(embeddings).dtype == np.float32
        assert losses[0] != losses[1]
        np.testing.assert_allclose(losses[1], losses[0], rtol=0.02)

    def test_saved_model_gives_the_same_scores(self, model, histories, embeddings, tmp_path: Path):
        model.save(tmp_path / "one")
        again = InterestModel.load(tmp_path / "one", ITEMS["item_id"], ORDER)
        assert again.trained
        assert np.array_equal(score(again, histories, embeddings), score(model, histories, embeddings))
        again.save(tmp_path / "two")
        assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()

    def test_another_catalogue(self, model, embeddings):
        # Item 4 was removed and "a first" was added, so every index has changed.
        tonight = make_items("a first", *(f"i{number:02}" for number in range(N_ITEMS) if number != 4), "new")
        moved = model.align(tonight["item_id"])
        index = {item: number for number, item in enumerate(ITEMS["item_id"])}
        aligned_embeddings = np.array([embeddings[index.get(item, 0)] for item in tonight["item_id"]])
        before, after = model.item_vectors(embeddings), moved.item_vectors(aligned_embeddings)
        for number, item in enumerate(tonight["item_id"]):
            if item in index:
                assert np.array_equal(after[number], before[index[item]])
        seen = histories_of(*walk("u", 1, 2), items=tonight)
        scores = score(moved, seen, aligned_embeddings)[0]
        scores[seen.items] = -np.inf
        assert tonight["item_id"][int(scores[1:-1].argmax()) + 1] == "i03"
        assert model.align(ITEMS["item_id"]) is model


@pytest.fixture(scope="module")
def early(embeddings: NDArray[np.float32]) -> InterestModel:
    """A model of an earlier cutoff, before the walks of the upper half and before item 39."""
    items = ITEMS.filter(pl.col("item_id") != "i39")
    rows = [row for number in range(18) for row in walk(f"u{number:02}", number, 3)]
    model = InterestModel(8, ORDER)
    model.fit(histories_of(*rows, items=items), np.delete(embeddings, 39, axis=0), seed=1)
    return model


class TestContinuing:
    def test_it_learns_new_data_in_fewer_epochs(self, early, histories, embeddings):
        config = ORDER.model_copy(update={"refresh_epochs": 2})
        fresh, later = InterestModel(8, config.model_copy(update={"epochs": 2})), InterestModel(8, config)
        fresh.fit(histories, embeddings, seed=1)
        calls: list[int] = []
        assert len(later.fit(histories, embeddings, seed=1, start=early, progress=calls.append)) == 2
        assert len(calls) == later.count_steps(histories, early) == 10
        assert count_right(early.align(ITEMS["item_id"]), embeddings) <= 0.6 * N_ITEMS
        assert count_right(later, embeddings) > count_right(fresh, embeddings) + 2

    def test_the_step_limit_shrinks_in_proportion(self, early, histories):
        config = ORDER.model_copy(update={"refresh_epochs": 10, "max_steps": 60})
        assert InterestModel(8, config).count_steps(histories) == 60
        assert InterestModel(8, config).count_steps(histories, early) == 15

    def test_the_earlier_model_is_not_changed(self, early, histories, embeddings, tmp_path):
        early.save(tmp_path / "before")
        InterestModel(8, ORDER).fit(histories, embeddings, seed=1, start=early)
        early.save(tmp_path / "after")
        assert (tmp_path / "before").read_bytes() == (tmp_path / "after").read_bytes()

    def test_without_epochs_it_equals_the_earlier_model(self, early, histories, embeddings):
        model = InterestModel(8, ORDER.model_copy(update={"refresh_epochs": 0}))
        assert model.fit(histories, embeddings, seed=1, start=early) == []
        aligned = early.align(ITEMS["item_id"])
        assert np.array_equal(score(model, histories, embeddings), score(aligned, histories, embeddings))

    def test_an_untrained_start_model_is_ignored(self, histories, embeddings):
        continued, fresh = (InterestModel(8, ORDER.model_copy(update={"epochs": 2})) for _ in range(2))
        losses = continued.fit(histories, embeddings, seed=1, start=InterestModel(8, ORDER))
        assert losses == fresh.fit(histories, embeddings, seed=1)
