import copy

import numpy as np
import pytest
import torch
from worlds import checkerboard, make_interactions, make_items

from recsys.config import FineTuneConfig, TextConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.encoder import Encoder, pool
from recsys.text.fine_tuning import (
    FrozenStates,
    _allowed_negatives,
    _log_draw_probability,
    _warm_up_then_cosine,
    count_steps,
    draw_pairs,
    encode_frozen,
    fine_tune,
    freeze_states,
)

# No two of these have anything in common: which go together is known from the users alone.
WORDS = ["anchor", "violin", "cactus", "ladder", "pepper", "glacier", "button", "rocket", "candle", "turtle"]
WORDS += ["ribbon", "hammer", "mirror", "pigeon", "velvet", "canyon", "teapot", "marble", "lantern", "walnut"]
CONFIG = FineTuneConfig(epochs=4, batch_size=16, learning_rate=5e-4)


def make_histories(*rows: tuple[object, ...], ordered: bool = True) -> Histories:
    items = make_items(*sorted({str(row[1]) for row in rows}))
    return build_histories(make_interactions(*rows, ordered=ordered), items, None)


@pytest.fixture(scope="module")
def histories() -> Histories:
    items, interactions = checkerboard(users=40, items=20)
    return build_histories(interactions, items, None)


@pytest.fixture(scope="module")
def frozen(encoder) -> FrozenStates:
    return freeze_states(encoder, WORDS, CONFIG, 512)


def contrast(encoder: Encoder) -> float:
    """Mean cosine inside a colour minus mean cosine across."""
    vectors = encoder.encode(WORDS)
    similar = vectors @ vectors.T
    same = np.arange(20)[:, None] % 2 == np.arange(20)[None, :] % 2
    return float(similar[same & ~np.eye(20, dtype=bool)].mean() - similar[~same].mean())


def weights(encoder: Encoder) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in encoder.model.state_dict().items()}


# --- frozen states ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("trainable", [1, 2, 6, 99])
def test_frozen_states_and_the_upper_layers_make_the_vectors_of_encode(encoder, trainable):
    texts = ["A crew drifts between stars", "", "bread", "长夜 🎬", "bread flour " * 9]
    config = FineTuneConfig(trainable_layers=trainable)
    done: list[int] = []
    frozen = freeze_states(encoder, texts, config, 32, done.append)
    assert sum(done) == len(texts)
    np.testing.assert_allclose(encode_frozen(encoder, frozen, config, 32), encoder.encode(texts), atol=1e-5)
    places = np.array([3, 0, 4, 1, 2, 0])
    hidden, mask = frozen.pad(places)
    with torch.no_grad():
        vectors = pool(encoder.run_layers(hidden, mask, encoder.layers[-trainable:]), mask).numpy()
    np.testing.assert_allclose(vectors, encoder.encode(texts)[places], atol=1e-5)


def test_frozen_states_of_bfloat16_take_half_the_room_and_stay_near(encoder):
    half = copy.copy(encoder)
    half._config = TextConfig(precision="bfloat16")
    frozen = freeze_states(half, WORDS, CONFIG, 512)
    assert frozen.states.dtype == torch.bfloat16
    vectors = encode_frozen(half, frozen, CONFIG, 512)
    assert (vectors * half.encode(WORDS)).sum(1).min() > 0.9999
    assert (vectors * encoder.encode(WORDS)).sum(1).min() > 0.998


def test_learning_in_bfloat16_keeps_float32_weights(encoder, histories):
    half = copy.deepcopy(encoder)
    half._config = TextConfig(precision="bfloat16")
    losses = fine_tune(half, freeze_states(half, WORDS, CONFIG, 512), histories, CONFIG, 7)
    assert {value.dtype for value in half.model.state_dict().values()} == {torch.float32}
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])
    assert contrast(half) > 0.3


# --- learning --------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tuned(encoder, frozen, histories) -> tuple[Encoder, list[float], list[int]]:
    ours, steps = copy.deepcopy(encoder), list[int]()
    losses = fine_tune(ours, frozen, histories, CONFIG, 7, steps.append)
    return ours, losses, steps


def test_unrelated_words_that_the_same_users_take_move_together(encoder, tuned):
    ours, losses, _ = tuned
    assert abs(contrast(encoder)) < 0.02
    assert contrast(ours) > 0.3
    assert np.mean(losses[-8:]) < 0.8 * np.mean(losses[:8])


def test_steps_are_those_announced(tuned, histories):
    _, losses, steps = tuned
    # 40 users with 5 items each: 160 pairs, 10 batches of 16, 4 epochs.
    assert count_steps(histories, CONFIG) == 40
    assert steps == [1] * 40
    assert len(losses) == 40


def test_only_the_last_layers_learn(encoder, tuned):
    before, after = weights(encoder), weights(tuned[0])
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed == {name for name in before if name.startswith("encoder.layer.5.")}
    assert not any(module.training for module in tuned[0].model.modules())


def test_same_seed_same_weights_and_the_callers_random_numbers_stay(encoder, frozen, histories, tuned):
    again, other = copy.deepcopy(encoder), copy.deepcopy(encoder)
    torch.manual_seed(123)
    expected = torch.rand(3)
    torch.manual_seed(123)
    losses = fine_tune(again, frozen, histories, CONFIG, 7)
    assert torch.equal(torch.rand(3), expected)
    fine_tune(other, frozen, histories, CONFIG.model_copy(update={"epochs": 1}), 8)
    assert losses == tuned[1]
    assert again.digest() == tuned[0].digest()
    assert other.digest() != tuned[0].digest()


@pytest.mark.parametrize("change", [{"epochs": 0}, {"batch_size": 161}])
def test_with_nothing_to_learn_from_the_encoder_stays_untouched(encoder, frozen, histories, change):
    config = CONFIG.model_copy(update=change)
    before, steps = encoder.digest(), list[int]()
    assert fine_tune(encoder, frozen, histories, config, 0, steps.append) == []
    assert encoder.digest() == before
    assert count_steps(histories, config) == len(steps) == 0


def test_users_with_one_item_teach_nothing(encoder, frozen):
    lonely = make_histories(("u", "a"), ("v", "b"))
    assert count_steps(lonely, CONFIG) == 0
    assert fine_tune(encoder, frozen, lonely, CONFIG, 0) == []


# --- examples --------------------------------------------------------------------------------------------


def test_no_negative_is_an_item_the_user_has():
    histories = make_histories(("u", "a"), ("u", "b"), ("v", "b"), ("v", "c"), ("w", "d"), ("w", "a"))
    # Rows are u -> b, v -> c, w -> a, u -> a; columns their targets b, c, a, a.
    users, targets = np.array([0, 1, 2, 0], dtype=np.int32), np.array([1, 2, 0, 0], dtype=np.int32)
    allowed = _allowed_negatives(histories.matrix(), users, targets)
    assert allowed.tolist() == [
        [True, True, False, False],  # u has a and b
        [False, True, True, True],  # v has b
        [True, True, True, False],  # a stands twice: never against itself
        [False, True, False, True],
    ]


def test_draw_probability_counts_each_items_users():
    histories = make_histories(("u", "a"), ("u", "b"), ("v", "b"), ("v", "c"))
    np.testing.assert_allclose(np.exp(_log_draw_probability(histories)), [2 / 7, 3 / 7, 2 / 7], rtol=1e-6)


def place_in_history(histories: Histories, user: int, item: int) -> int:
    own = histories.items[histories.starts[user] : histories.starts[user + 1]].tolist()
    return own.index(item)


@pytest.mark.parametrize("distance", [1, 2, 5, 100])
def test_pairs_stay_inside_the_user_and_the_distance(distance):
    items, interactions = checkerboard(users=30, items=40, seed=3)
    histories = build_histories(interactions, items, None)
    config = FineTuneConfig(batch_size=8, max_distance=distance)
    batches = draw_pairs(histories, config, np.random.default_rng(0))
    assert len(batches) == count_steps(histories, config) == 30 * 9 // 8
    steps, anchors = set(), []
    for users, first, later in batches:
        assert len(users) == len(first) == len(later) == 8
        for user, item, other in zip(users, first, later, strict=True):
            steps.add(place_in_history(histories, user, other) - place_in_history(histories, user, item))
            anchors.append((user, item))
    assert steps == set(range(1, min(distance, 9) + 1))
    assert len(set(anchors)) == len(anchors)


def test_pairs_without_an_order_reach_everywhere_in_both_directions():
    rows = [("u", f"i{number}") for number in range(9)]
    histories = make_histories(*rows, ordered=False)
    config = FineTuneConfig(batch_size=2, max_distance=1)
    drawn = [pair for seed in range(40) for pair in draw_pairs(histories, config, np.random.default_rng(seed))]
    steps = {
        place_in_history(histories, user, other) - place_in_history(histories, user, item)
        for users, first, later in drawn
        for user, item, other in zip(users, first, later, strict=True)
    }
    assert steps == set(range(-8, 9)) - {0}


def test_an_epoch_is_cut_at_its_most_steps(histories):
    config = FineTuneConfig(batch_size=16, max_steps_per_epoch=3, epochs=2)
    assert len(draw_pairs(histories, config, np.random.default_rng(0))) == 3
    assert count_steps(histories, config) == 6


def test_learning_rate_warms_up_and_falls_to_nothing():
    schedule = _warm_up_then_cosine(12, 0.17)
    assert [schedule(step) for step in (0, 1, 2, 7)] == [0.5, 1.0, 1.0, pytest.approx(0.5)]
    assert schedule(11) == pytest.approx(0.0245, abs=1e-4)
    assert [_warm_up_then_cosine(1, share)(0) for share in (0.0, 1.0)] == [1.0, 1.0]
