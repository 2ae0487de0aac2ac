import numpy as np
import pytest
from worlds import checkerboard, make_interactions, make_items

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories, build_histories
from recsys.text.next_item_batches import NextItemSampler, cut_stretches, find_items, find_length

# u took a, b, c, d; v took b; w took c, a (item numbers 0 to 3).
ROWS = (("u", "a"), ("u", "b"), ("u", "c"), ("u", "d"), ("v", "b"), ("w", "c"), ("w", "a"))
ALL = np.arange(3)


def make_histories(*, ordered: bool = True) -> Histories:
    return build_histories(make_interactions(*ROWS, ordered=ordered), make_items(*"abcd"), None)


def show(histories: Histories, entries: np.ndarray, real: np.ndarray) -> list[str]:
    items = find_items(histories, entries, real)
    return ["".join("abcd"[item] for item in row[kept]) for row, kept in zip(items, real, strict=True)]


def test_the_newest_entries_oldest_first():
    histories = make_histories()
    assert show(histories, *cut_stretches(histories, ALL, 3, None)) == ["bcd", "b", "ca"]
    assert show(histories, *cut_stretches(histories, np.array([2, 1]), 3, None)) == ["ca", "b"]


def test_training_meets_every_stretch_and_the_newest_most():
    histories = make_histories()
    rng = np.random.default_rng(0)
    drawn = [show(histories, *cut_stretches(histories, ALL, 2, rng)) for _ in range(200)]
    assert {row[0] for row in drawn} == {"ab", "bc", "cd"}
    assert {tuple(row[1:]) for row in drawn} == {("b", "ca")}
    # Half of the draws and a third of the others.
    assert [row[0] for row in drawn].count("cd") / 200 == pytest.approx(2 / 3, abs=0.1)


def test_without_an_order_training_shuffles_each_history():
    histories = make_histories(ordered=False)
    rng = np.random.default_rng(0)
    drawn = [show(histories, *cut_stretches(histories, np.array([2, 0]), 3, rng)) for _ in range(300)]
    assert {row[0] for row in drawn} == {"ac", "ca"}
    # Every three of four items in every order.
    assert len({row[1] for row in drawn}) == 24
    assert all(len(set(row[1])) == 3 for row in drawn)
    fixed = [show(histories, *cut_stretches(histories, ALL, 3, None)) for _ in range(2)]
    assert fixed[0] == fixed[1]


def draw(histories: Histories, **change: object) -> NextItemSampler:
    return NextItemSampler(histories, np.arange(histories.n_items), InterestConfig(**change), 0)


def test_epochs_meet_every_user_with_two_items_once():
    histories = make_histories()
    epochs = list(draw(histories, batch_size=1).draw_epochs(5))
    assert [sorted(np.concatenate(batches).tolist()) for batches in epochs[:2]] == [[0, 2], [0, 2]]
    assert [len(batches) for batches in epochs] == [2, 2, 1]
    assert list(draw(histories).draw_epochs(0)) == []


def test_questions_by_hand():
    histories = make_histories()
    questions = draw(histories).ask(np.array([0, 2]))
    assert questions.items.tolist() == [[0, 1, 2, 3], [2, 0, 0, 0]]
    # Of each question: whose history, known up to which place, and what comes next.
    assert list(zip(questions.rows.tolist(), questions.places.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 2),
        (1, 0),
    ]
    assert questions.asked.tolist() == [0, 1, 2, 3]
    assert questions.items.ravel()[questions.answers].tolist() == [1, 2, 3, 0]
    assert questions.negatives.tolist() == [0, 1, 2, 3]
    assert questions.owned.tolist() == [[True] * 4, [True, False, True, False]]
    assert questions.weights.tolist() == [1, 1, 1, 1]
    assert questions.stands_for == 1.0


def test_without_an_order_all_that_is_left_is_right_and_half_is_known():
    drawer = draw(make_histories(ordered=False))
    places = set()
    for _ in range(50):
        questions = drawer.ask(np.array([0, 2]))
        assert questions.rows.tolist() == [0, 1]
        known, after = questions.items[0, : questions.places[0] + 1], questions.items.ravel()[questions.answers]
        assert sorted([*known, *after[questions.asked == 0]]) == [0, 1, 2, 3]
        assert after[questions.asked == 1].tolist() == [2 - questions.items[1, 0]]
        places.add(int(questions.places[0]))
    assert places == {1, 2}


def test_a_mean_without_an_order_reads_all():
    ordered, unordered = make_histories(), make_histories(ordered=False)
    short, longer = InterestConfig(history_length=2), InterestConfig(history_length=2, tower="attention")
    assert [find_length(ordered, short), find_length(unordered, short), find_length(unordered, longer)] == [2, 4, 2]
    assert draw(unordered, history_length=1).ask(np.array([0])).items.shape == (1, 4)


def test_no_more_questions_than_wanted_and_no_negative_twice():
    items, interactions = checkerboard(users=20, items=20)
    drawer = draw(build_histories(interactions, items, None), targets=7, negatives=8)
    seen = set()
    for _ in range(200):
        questions = drawer.ask(np.arange(20))
        assert len(questions.rows) == len(questions.places) == len(questions.weights) == 7
        assert len(set(questions.negatives.tolist())) == 8
        assert questions.stands_for == 20 / 8
        seen |= set(zip(questions.rows.tolist(), questions.places.tolist(), strict=True))
    assert len(seen) == 20 * 4


def test_answers_weigh_as_their_events_and_one_on_average():
    rows = [{"user": "u", "item": item, "day": day, "weight": day} for day, item in enumerate("abc", start=1)]
    histories = build_histories(make_interactions(*rows), make_items(*"abcd"), None)
    # b weighs 2, c 3; nobody asks for a.
    assert draw(histories, event_weights=True).ask(np.array([0])).weights == pytest.approx([0.8, 1.2])
