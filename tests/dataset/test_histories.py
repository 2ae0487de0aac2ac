import dataclasses
from itertools import permutations

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, event_rows, make_interactions, make_items, shuffle

from recsys.dataset.histories import Histories, build_histories, find_recommendable, stream_histories
from recsys.dataset.windows import cut
from recsys.errors import DataError

ITEMS = make_items("a", "b", "c", "d")
# u takes a, b, a again; v only what the catalogue lacks; w takes c twice on one day and then b.
ROWS = make_interactions(
    {"user": "u", "item": "a", "day": 1, "weight": 1.0},
    {"user": "u", "item": "b", "day": 2, "weight": 0.5},
    {"user": "u", "item": "a", "day": 4, "weight": 3.0},
    {"user": "v", "item": "gone", "day": 1},
    {"user": "w", "item": "c", "day": 3},
    {"user": "w", "item": "c", "day": 3},
    {"user": "w", "item": "b", "day": 4.5},
)
WORLD = build_histories(ROWS, ITEMS, at(5))
ARRAYS = ("starts", "items", "weights", "counts", "ages", "first_ages")


def same(one: Histories, other: Histories) -> bool:
    return (
        one.user_ids.equals(other.user_ids)
        and one.item_ids.equals(other.item_ids)
        and (one.cutoff, one.ordered) == (other.cutoff, other.ordered)
        and all(getattr(one, name).tobytes() == getattr(other, name).tobytes() for name in ARRAYS)
        and all(getattr(one, name).dtype == getattr(other, name).dtype for name in ARRAYS)
    )


def contents(histories: Histories) -> dict[str, list[tuple[str, float, float]]]:
    return {
        user: [
            (histories.item_ids[int(histories.items[k])], float(histories.weights[k]), float(histories.counts[k]))
            for k in range(histories.starts[number], histories.starts[number + 1])
        ]
        for number, user in enumerate(histories.user_ids)
    }


# --- building --------------------------------------------------------------------------------------------


def test_hand_worked_world():
    assert contents(WORLD) == {
        "u": [("b", 0.5, 1.0), ("a", 4.0, 2.0)],
        "v": [],
        "w": [("c", 2.0, 2.0), ("b", 1.0, 1.0)],
    }
    assert WORLD.ages.tolist() == [3.0, 1.0, 2.0, 0.5]
    assert WORLD.first_ages.tolist() == [3.0, 4.0, 2.0, 0.5]
    assert (WORLD.cutoff, WORLD.ordered, WORLD.n_users, WORLD.n_items) == (at(5), True, 3, 4)
    assert WORLD.item_ids.to_list() == ["a", "b", "c", "d"]


def test_item_is_consumed_if_any_of_its_events_consumes_it():
    viewed, bought = {"user": "u", "event": "view", "consumed": False}, {"user": "u", "event": "buy"}
    rows = make_interactions(
        {**viewed, "item": "a", "day": 1},
        {**bought, "item": "a", "day": 2},
        {**bought, "item": "b", "day": 1},
        {**viewed, "item": "b", "day": 2},
        {**viewed, "item": "c", "day": 3},
        {**viewed, "item": "c", "day": 4},
    )
    histories = build_histories(rows, ITEMS, at(5))
    assert histories.items.tolist() == [0, 1, 2]
    assert histories.consumed.tolist() == [True, True, False]


def test_pairs_are_numbered_by_the_users_and_the_catalogue():
    pairs = pl.DataFrame({"user_id": ["w", "u", "x"], "item_id": ["d", "b", "a"], "value": [1, 2, 3]})
    assert WORLD.number_pairs(pairs).rows() == [(0, 1, 2), (2, 3, 1)]


def test_derived_arrays():
    assert WORLD.lengths.tolist() == [2, 0, 2]
    assert WORLD.users.tolist() == [0, 0, 2, 2]
    assert WORLD.steps_back.tolist() == [1, 0, 1, 0]


def test_dtypes_are_as_documented():
    expected = {"starts": np.int64, "items": np.int32} | dict.fromkeys(ARRAYS[2:], np.float32)
    for histories in (WORLD, WORLD.take(pl.Series(["w"])), WORLD.select(slice(0, 1))):
        assert {name: getattr(histories, name).dtype for name in ARRAYS} == expected


@settings(max_examples=40)
@given(event_rows())
def test_building_agrees_with_a_slow_reference(rows):
    catalogue = make_items("B", "b", "ñ", "文", "never touched")
    interactions = make_interactions(*rows)
    expected: dict[str, dict[str, tuple[float, float]]] = {}
    for row in interactions.sort("user_id", "step").iter_rows(named=True):
        own = expected.setdefault(row["user_id"], {})
        if row["item_id"] in catalogue["item_id"]:
            weight, count = own.pop(row["item_id"], (0.0, 0.0))
            own[row["item_id"]] = (weight + row["weight"], count + 1)
    histories = build_histories(interactions, catalogue, at(20))
    found = contents(histories)
    assert list(found) == sorted(expected, key=str.encode)
    for user, entries in found.items():
        assert [item for item, _, _ in entries] == list(expected[user])
        assert [count for _, _, count in entries] == [count for _, count in expected[user].values()]
        assert [w for _, w, _ in entries] == pytest.approx([w for w, _ in expected[user].values()], rel=1e-5)
    # Newest last, by time too.
    last = histories.steps_back[:-1] > 0
    assert (np.diff(histories.ages)[last] <= 0).all()
    assert (histories.ages <= histories.first_ages).all()
    assert (histories.ages > 0).all()


@settings(max_examples=40)
@given(event_rows(), st.integers(0, 9))
def test_order_of_the_rows_does_not_matter(rows, seed):
    catalogue = make_items("B", "b", "ñ", "文", "🎈", "ب")
    interactions = make_interactions(*rows)
    assert same(
        build_histories(interactions, catalogue, at(20)),
        build_histories(shuffle(interactions, seed), catalogue, at(20)),
    )


def test_catalogue_without_history_and_history_without_catalogue():
    nobody = build_histories(make_interactions(), ITEMS, at(5))
    assert (nobody.n_users, nobody.n_items, len(nobody.items), nobody.starts.tolist()) == (0, 4, 0, [0])
    nothing = build_histories(ROWS, make_items(), at(5))
    assert (nothing.n_users, nothing.n_items, nothing.lengths.tolist()) == (3, 0, [0, 0, 0])


# --- the cut-off -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("day", [5, 5.00001, 9])
def test_event_at_or_after_the_cutoff_stops_the_run(day):
    late = make_interactions(("u", "a", 1), ("u", "b", day), ("v", "b", day))
    with pytest.raises(DataError, match=r"histories as of 2025-01-06T00:00:00\+00:00: 2 interactions at or after"):
        build_histories(late, ITEMS, at(5))


def test_late_event_on_an_unknown_item_stops_the_run_too():
    with pytest.raises(DataError, match="1 interaction at or after"):
        build_histories(make_interactions(("u", "a", 1), ("u", "gone", 6)), ITEMS, at(5))


def test_event_a_microsecond_before_the_cutoff_is_known():
    histories = build_histories(make_interactions(("u", "a", 5 - 1e-6 / 86_400)), ITEMS, at(5))
    assert histories.lengths.tolist() == [1]
    assert 0 <= histories.ages[0] < 1e-6


def test_without_a_cutoff_ages_count_from_the_last_event():
    histories = build_histories(make_interactions(("u", "a", 1), ("v", "b", 4)), ITEMS, None)
    assert histories.ages.tolist() == [3.0, 0.0]
    assert histories.cutoff is None


@pytest.mark.parametrize("cutoff", [None, at(5)])
def test_without_times_ages_are_nan_and_nothing_is_late(cutoff):
    histories = build_histories(make_interactions(("u", "b"), ("u", "a")), ITEMS, cutoff)
    assert np.isnan(histories.ages).all()
    assert np.isnan(histories.first_ages).all()
    assert histories.items.tolist() == [1, 0]
    assert histories.ordered


# --- data without an order -------------------------------------------------------------------------------


def test_without_an_order_the_rows_may_come_in_any():
    rows = [{"user": "u", "item": "a", "weight": weight} for weight in (0.1, 0.2, 0.3, 1e7)] + [
        {"user": "u", "item": "c"}
    ]
    first = build_histories(make_interactions(*rows, ordered=False), ITEMS, None)
    assert not first.ordered
    for other in permutations(rows):
        assert same(first, build_histories(make_interactions(*other, ordered=False), ITEMS, None))


def test_without_an_order_every_item_weighs_the_same():
    histories = build_histories(make_interactions(("u", "c"), ("u", "a"), ("v", "b"), ordered=False), ITEMS, None)
    assert histories.matrix(histories.weigh_steps(0.5)).toarray().tolist() == [[1, 0, 1, 0], [0, 1, 0, 0]]


def test_without_an_order_later_does_not_mean_larger_id():
    catalogue = make_items(*(f"i{number:03d}" for number in range(200)))
    rows = make_interactions(*(("u", item) for item in catalogue["item_id"]), ordered=False)
    items = build_histories(rows, catalogue, None).items
    assert sorted(items.tolist()) == list(range(200))
    assert abs(np.corrcoef(items, np.arange(200))[0, 1]) < 0.3


# --- runs of users ---------------------------------------------------------------------------------------


@settings(max_examples=40)
@given(event_rows(), st.lists(st.sampled_from(["a", "é", "用户", "😀", "nobody", "", "zzz", "𐍈"])))
def test_take_gives_each_user_the_own_history(rows, wanted):
    histories = build_histories(make_interactions(*rows), make_items("B", "b", "ñ", "文"), at(20))
    taken = histories.take(pl.Series(wanted, dtype=pl.String))
    everyone = contents(histories)
    assert contents(taken) == {user: everyone.get(user, []) for user in sorted(set(wanted), key=str.encode)}
    assert (taken.cutoff, taken.ordered) == (histories.cutoff, histories.ordered)
    assert taken.item_ids.equals(histories.item_ids)


def test_take_of_everyone_is_the_same_thing():
    assert same(WORLD.take(WORLD.user_ids), WORLD)
    assert same(WORLD.take(pl.Series(["w", "u", "v", "u", "w"])), dataclasses.replace(WORLD))


def test_take_from_nobody():
    nobody = build_histories(make_interactions(), ITEMS, at(5))
    taken = nobody.take(pl.Series(["x", "y"]))
    assert contents(taken) == {"x": [], "y": []}
    assert taken.recent_items(2).tolist() == [[-1, -1], [-1, -1]]


@settings(max_examples=40)
@given(event_rows(), st.integers(0, 6), st.integers(0, 6))
def test_select_is_a_run_of_users(rows, start, length):
    histories = build_histories(make_interactions(*rows), make_items("B", "b", "ñ"), at(20))
    run = histories.select(slice(start, start + length))
    assert same(run, histories.take(histories.user_ids[start : start + length]))


def test_a_run_numbers_its_users_from_zero():
    run = WORLD.select(slice(2, 3))
    assert (run.users.tolist(), run.steps_back.tolist(), run.starts.tolist()) == ([0, 0], [1, 0], [0, 2])


# --- matrices --------------------------------------------------------------------------------------------


def test_matrix_holds_weights_or_the_values_given():
    assert WORLD.matrix().toarray().tolist() == [[4, 0.5, 0, 0], [0, 0, 0, 0], [0, 1, 2, 0]]
    values = np.array([10, 20, 30, 40], dtype=np.float32)
    matrix = WORLD.matrix(values)
    assert matrix.toarray().tolist() == [[20, 10, 0, 0], [0, 0, 0, 0], [0, 40, 30, 0]]
    assert (matrix.dtype, matrix.shape) == (np.float32, (3, 4))
    assert matrix.indices.tolist() == [0, 1, 1, 2]
    # Sorting the columns left the histories alone.
    assert WORLD.items.tolist() == [1, 0, 2, 1]


def test_weights_of_steps_fall_with_the_distance_from_the_newest():
    rows = make_interactions(("u", "d", 1), ("u", "a", 2), ("u", "c", 3), ("v", "b", 1))
    histories = build_histories(rows, ITEMS, at(5))
    assert histories.matrix(histories.weigh_steps(0.5)).toarray().tolist() == [[0.5, 0, 1, 0.25], [0, 1, 0, 0]]
    assert histories.matrix(histories.weigh_steps(1.0)).toarray().tolist() == [[1, 0, 1, 1], [0, 1, 0, 0]]
    assert histories.weigh_steps(0.5).dtype == np.float32


def test_recent_items_come_newest_first():
    assert WORLD.recent_items(1).tolist() == [[0], [-1], [1]]
    assert WORLD.recent_items(3).tolist() == [[0, 1, -1], [-1, -1, -1], [1, 2, -1]]
    assert WORLD.recent_items(3).dtype == np.int32
    assert WORLD.recent_items(0).shape == (3, 0)


# --- the catalogue ---------------------------------------------------------------------------------------


def test_recommendable_is_available_and_already_listed():
    catalogue = make_items(
        {"item_id": "always"},
        {"item_id": "before", "created": 4.9},
        {"item_id": "gone", "available": False},
        {"item_id": "instant", "created": 5},
        {"item_id": "later", "created": 6},
        {"item_id": "lost", "created": 1, "available": False},
    )
    assert find_recommendable(catalogue, at(5)).tolist() == [True, True, False, False, False, False]
    assert find_recommendable(catalogue, None).tolist() == [True, True, False, True, True, False]
    assert find_recommendable(make_items(), at(5)).shape == (0,)


# --- more rows than fit in memory --------------------------------------------------------------------------


@pytest.mark.parametrize("size", [1, 2, 7, 1000])
@pytest.mark.parametrize("kind", ["timed", "ordered", "shapeless"])
def test_streamed_histories_are_the_same(monkeypatch, size, kind):
    rng = np.random.default_rng(size)
    items = make_items(*(f"i{number}" for number in range(9)))
    drawn = [(f"u{rng.integers(20):02d}", f"i{rng.integers(12)}", float(rng.integers(10))) for _ in range(200)]
    rows = make_interactions(*(row if kind == "timed" else row[:2] for row in drawn), ordered=kind != "shapeless")
    monkeypatch.setattr("recsys.dataset.user_blocks._BLOCK_ROWS", size)
    for cutoff in (at(5), at(20), at(0), None):
        if kind != "timed" and cutoff:
            continue
        expected = build_histories(rows if cutoff is None else cut(rows, cutoff), items, cutoff)
        streamed = stream_histories(rows.lazy(), items, cutoff)
        for name in ("user_ids", "item_ids", "cutoff", "ages_until", "ordered"):
            found, wanted = getattr(streamed, name), getattr(expected, name)
            assert found.equals(wanted) if isinstance(found, pl.Series) else found == wanted
        for name in ("starts", "items", "weights", "counts", "consumed", "ages", "first_ages"):
            one, other = getattr(streamed, name), getattr(expected, name)
            assert (one.dtype, one.tobytes()) == (other.dtype, other.tobytes()), name


def test_streamed_histories_of_nothing():
    empty = make_interactions().lazy()
    assert stream_histories(empty, make_items("a"), at(5)).n_users == 0
