import numpy as np
import pytest
from worlds import checkerboard, make_interactions, make_items

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.next_item_batches import NextItemSampler, look_up_items, select_spans, span_length

# u took a, b, c, d; v took b; w took c, a. Items and users are numbered in this order.
ROWS = (("u", "a"), ("u", "b"), ("u", "c"), ("u", "d"), ("v", "b"), ("w", "c"), ("w", "a"))
ALL_USERS = np.arange(3)


def make_histories(*, ordered: bool = True) -> Histories:
    return build_histories(make_interactions(*ROWS, ordered=ordered), make_items(*"abcd"), None)


def spell(histories: Histories, entries: np.ndarray, mask: np.ndarray) -> list[str]:
    items = look_up_items(histories, entries, mask)
    return ["".join("abcd"[item] for item in row[kept]) for row, kept in zip(items, mask, strict=True)]


def test_spans_are_the_newest_entries_oldest_first():
    histories = make_histories()
    assert spell(histories, *select_spans(histories, ALL_USERS, 3, None)) == ["bcd", "b", "ca"]
    assert spell(histories, *select_spans(histories, np.array([2, 1]), 3, None)) == ["ca", "b"]


def test_training_draws_every_span_and_the_newest_most_often():
    histories = make_histories()
    rng = np.random.default_rng(0)
    drawn = [spell(histories, *select_spans(histories, ALL_USERS, 2, rng)) for _ in range(200)]
    assert {row[0] for row in drawn} == {"ab", "bc", "cd"}
    assert {tuple(row[1:]) for row in drawn} == {("b", "ca")}
    # Half of the draws are the newest span, and a third of the others.
    assert [row[0] for row in drawn].count("cd") / 200 == pytest.approx(2 / 3, abs=0.1)


def test_without_an_order_training_shuffles_each_history():
    histories = make_histories(ordered=False)
    rng = np.random.default_rng(0)
    drawn = [spell(histories, *select_spans(histories, np.array([2, 0]), 3, rng)) for _ in range(300)]
    assert {row[0] for row in drawn} == {"ac", "ca"}
    # Every three of four items in every order.
    assert len({row[1] for row in drawn}) == 24
    assert all(len(set(row[1])) == 3 for row in drawn)
    fixed = [spell(histories, *select_spans(histories, ALL_USERS, 3, None)) for _ in range(2)]
    assert fixed[0] == fixed[1]


def make_sampler(histories: Histories, **change: object) -> NextItemSampler:
    return NextItemSampler(histories, np.arange(histories.n_items), InterestConfig(**change), 0)


def test_an_epoch_has_every_user_with_two_items_once():
    histories = make_histories()
    epochs = list(make_sampler(histories, batch_size=1).draw_epochs(5))
    assert [sorted(np.concatenate(batches).tolist()) for batches in epochs[:2]] == [[0, 2], [0, 2]]
    assert [len(batches) for batches in epochs] == [2, 2, 1]
    assert list(make_sampler(histories).draw_epochs(0)) == []


def test_batches_of_sequences_hold_histories_of_similar_length():
    lengths = np.random.default_rng(0).permutation(np.repeat([2, 3, 5, 9], 32))
    rows = [(f"u{user:03}", "abcdefghi"[step]) for user, length in enumerate(lengths) for step in range(length)]
    histories = build_histories(make_interactions(*rows), make_items(*"abcdefghi"), None)
    change = {"tower": "transformer", "size": 8, "batch_size": 8}
    first, second = make_sampler(histories, **change).draw_epochs(32)
    for epoch in (first, second):
        assert sorted(np.concatenate(epoch).tolist()) == list(range(128))
        assert all(len(batch) == 8 and len(set(lengths[batch])) == 1 for batch in epoch)
    # Neither the batches nor their order are those of the epoch before, and short histories are not all first.
    assert {frozenset(batch) for batch in first} != {frozenset(batch) for batch in second}
    assert [lengths[batch[0]] for batch in first] != sorted(lengths[batch[0]] for batch in first)
    again = next(make_sampler(histories, **change).draw_epochs(16))
    assert [batch.tolist() for batch in again] == [batch.tolist() for batch in first]


def test_a_batch_worked_out_by_hand():
    batch = make_sampler(make_histories()).sample(np.array([0, 2]))
    assert batch.items.tolist() == [[0, 1, 2, 3], [2, 0, 0, 0]]
    queries = list(zip(batch.query_users.tolist(), batch.query_steps.tolist(), strict=True))
    assert queries == [(0, 0), (0, 1), (0, 2), (1, 0)]
    assert batch.target_queries.tolist() == [0, 1, 2, 3]
    assert batch.items.ravel()[batch.targets].tolist() == [1, 2, 3, 0]
    assert batch.negatives.tolist() == [0, 1, 2, 3]
    assert batch.interacted.tolist() == [[True] * 4, [True, False, True, False]]
    assert batch.target_weights.tolist() == [1, 1, 1, 1]
    assert batch.items_per_negative == 1.0


def test_without_an_order_all_later_items_are_targets_and_at_least_half_is_known():
    sampler = make_sampler(make_histories(ordered=False))
    steps = set()
    for _ in range(50):
        batch = sampler.sample(np.array([0, 2]))
        assert batch.query_users.tolist() == [0, 1]
        known, targets = batch.items[0, : batch.query_steps[0] + 1], batch.items.ravel()[batch.targets]
        assert sorted([*known, *targets[batch.target_queries == 0]]) == [0, 1, 2, 3]
        assert targets[batch.target_queries == 1].tolist() == [2 - batch.items[1, 0]]
        steps.add(int(batch.query_steps[0]))
    assert steps == {1, 2}


def test_a_mean_without_an_order_reads_the_whole_history():
    ordered, unordered = make_histories(), make_histories(ordered=False)
    mean, attention = InterestConfig(history_length=2), InterestConfig(history_length=2, tower="attention")
    assert [span_length(ordered, mean), span_length(unordered, mean), span_length(unordered, attention)] == [2, 4, 2]
    assert make_sampler(unordered, history_length=1).sample(np.array([0])).items.shape == (1, 4)


def test_queries_are_limited_and_negatives_distinct():
    items, interactions = checkerboard(users=20, items=20)
    sampler = make_sampler(build_histories(interactions, items, None), targets=7, negatives=8)
    seen = set()
    for _ in range(200):
        batch = sampler.sample(np.arange(20))
        assert len(batch.query_users) == len(batch.query_steps) == len(batch.target_weights) == 7
        assert len(set(batch.negatives.tolist())) == 8
        assert batch.items_per_negative == 20 / 8
        seen |= set(zip(batch.query_users.tolist(), batch.query_steps.tolist(), strict=True))
    assert len(seen) == 20 * 4


def test_a_large_catalogue_is_not_compared_as_a_whole(monkeypatch):
    items, interactions = checkerboard(users=20, items=20)
    histories = build_histories(interactions, items, None)
    assert len(make_sampler(histories).sample(np.arange(20)).negatives) == 20
    monkeypatch.setattr("recsys.text.next_item_batches.MAX_NEGATIVES", 6)
    batch = make_sampler(histories).sample(np.arange(20))
    assert (len(batch.negatives), batch.items_per_negative) == (6, 20 / 6)
    # A number in the config counts.
    assert len(make_sampler(histories, negatives=15).sample(np.arange(20)).negatives) == 15


def test_target_weights_follow_event_weights_with_mean_1():
    rows = [{"user": "u", "item": item, "day": day, "weight": day} for day, item in enumerate("abc", start=1)]
    histories = build_histories(make_interactions(*rows), make_items(*"abcd"), None)
    # b weighs 2 and c 3; a is never a target.
    batch = make_sampler(histories, event_weights=True).sample(np.array([0]))
    assert batch.target_weights == pytest.approx([0.8, 1.2])
