import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ranking.lists import fill_up, list_matrix, rank_candidates

PAIR = {"user_index": pl.UInt32, "item_index": pl.UInt32}


def make_pairs(*pairs: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema=PAIR, orient="row")


def rank(n: int, *scored: tuple[int, int, float | None]) -> pl.DataFrame:
    """Lists of (user, item, score) rows."""
    candidates = make_pairs(*((user, item) for user, item, _ in scored))
    scores = np.array([np.nan if score is None else score for *_, score in scored], dtype=np.float32)
    return rank_candidates(candidates, scores, n)


# --- rank ------------------------------------------------------------------------------------------------


def test_the_best_come_first_and_equal_scores_go_to_the_smaller_item():
    lists = rank(3, (1, 5, 0.1), (0, 9, 2.0), (0, 3, 2.0), (0, 4, -1.0), (0, 7, 3.0), (0, 1, 2.0), (1, 2, 0.1))
    assert lists.select("user_index", "rank", "item_index").rows() == [
        (0, 1, 7),
        (0, 2, 1),
        (0, 3, 3),
        (1, 1, 2),
        (1, 2, 5),
    ]
    assert lists.schema["rank"] == pl.UInt16
    assert lists.schema["score"] == pl.Float32


def test_rows_without_a_score_are_left_out():
    lists = rank(5, (0, 1, None), (0, 2, -3.0), (1, 1, None))
    assert lists.select("user_index", "item_index", "rank").rows() == [(0, 2, 1)]
    nulls = rank_candidates(make_pairs((0, 1), (0, 2)), pl.Series([None, 1.0], dtype=pl.Float32), 5)
    assert nulls["item_index"].to_list() == [2]


def test_other_columns_stay_with_their_rows():
    candidates = make_pairs((0, 1), (0, 2)).with_columns(reason=pl.Series(["one", "two"]))
    lists = rank_candidates(candidates, np.array([1.0, 2.0], dtype=np.float32), 2)
    assert lists["reason"].to_list() == ["two", "one"]
    assert rank_candidates(candidates.clear(), np.zeros(0, dtype=np.float32), 2).is_empty()


# --- fill ------------------------------------------------------------------------------------------------


def test_filling_by_hand():
    lists = rank(3, (0, 1, 0.5), (0, 2, 0.25), (2, 1, 9.0), (2, 2, 8.0), (2, 3, 7.0))
    # User 0 has 4 and lacks one; user 1 has nothing and lacks three; user 2 is complete.
    filled = fill_up(lists, 3, np.array([2, 4, 3, 1, 0], dtype=np.int32), make_pairs((0, 4), (2, 0)), 3)
    assert filled.columns == ["user_index", "item_index", "rank", "score", "fallback"]
    assert filled.drop("score").rows() == [
        (0, 1, 1, False),
        (0, 2, 2, False),
        (0, 3, 3, True),
        (1, 2, 1, True),
        (1, 4, 2, True),
        (1, 3, 3, True),
        (2, 1, 1, False),
        (2, 2, 2, False),
        (2, 3, 3, False),
    ]
    assert filled["score"].to_list() == [0.5, 0.25, -0.75, -1.0, -2.0, -3.0, 9.0, 8.0, 7.0]
    assert filled.schema == {**PAIR, "rank": pl.UInt16, "score": pl.Float32, "fallback": pl.Boolean}


def test_complete_lists_stay_as_they_are():
    lists = rank(2, (0, 1, 0.5), (0, 2, 0.25))
    filled = fill_up(lists, 1, np.array([3], dtype=np.int32), make_pairs(), 2)
    assert filled.drop("fallback").equals(lists.select("user_index", "item_index", "rank", "score"))
    assert filled["fallback"].to_list() == [False, False]
    longer = fill_up(lists, 2, np.array([3], dtype=np.int32), make_pairs(), 2)
    assert longer.schema == filled.schema


@st.composite
def fillings(draw: st.DrawFn) -> tuple[pl.DataFrame, int, np.ndarray, pl.DataFrame, int]:
    users, items, n = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 6))
    cells = st.tuples(st.integers(0, users - 1), st.integers(0, items - 1))
    taken = draw(st.sets(cells, max_size=30))
    scored = draw(st.dictionaries(cells, st.floats(-50, 50, width=32), max_size=20))
    lists = rank(n, *((*pair, score) for pair, score in scored.items() if pair not in taken))
    fallback = draw(st.permutations(range(items)))[: draw(st.integers(0, items))]
    # A user may have touched an item more than once.
    return lists, users, np.array(fallback, dtype=np.int32), make_pairs(*taken, *list(taken)[:3]), n


@settings(deadline=None)
@given(fillings())
def test_everyone_gets_a_list_as_long_as_the_fallback_allows(filling):
    lists, users, fallback, taken, n = filling
    filled = fill_up(lists, users, fallback, taken, n)
    assert filled.equals(filled.sort("user_index", "rank"))
    assert filled.filter(~pl.col("fallback")).drop("fallback").equals(lists.select(filled.columns[:4]))
    had = set(taken.rows())
    for user in range(users):
        own = filled.filter(pl.col("user_index") == user)
        listed = set(lists.filter(pl.col("user_index") == user)["item_index"])
        free = [item for item in fallback.tolist() if item not in listed and (user, item) not in had]
        assert own.filter("fallback")["item_index"].to_list() == free[: n - len(listed)]
        assert own.height == min(n, len(listed) + len(free))
        assert own["item_index"].n_unique() == own.height
        assert own["rank"].to_list() == list(range(1, own.height + 1))
        below = own.filter("fallback")["score"].to_list()
        above = own.filter(~pl.col("fallback"))["score"].to_list()
        assert below == sorted(set(below), reverse=True)
        assert not above or not below or below[0] < above[-1]


def test_one_keen_user_does_not_make_the_others_expensive(monkeypatch):
    """Each user's reach into the order follows what that user has, so a night's memory follows the lists."""
    order, users = np.arange(3_000, dtype=np.int32), 3_000
    keen = make_pairs(*((0, item) for item in range(2_990)))
    joined: list[int] = []
    join = pl.DataFrame.join
    monkeypatch.setattr(
        pl.DataFrame, "join", lambda *args, **more: joined.append((frame := join(*args, **more)).height) or frame
    )
    filled = fill_up(rank(5), users, order, keen, 5)
    assert filled.height == 5 * users
    assert filled.filter(pl.col("user_index") == 0)["item_index"].to_list() == [2990, 2991, 2992, 2993, 2994]
    assert max(joined) <= 5 * users + 2_990


# --- matrix ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 2, 4])
def test_matrix_holds_the_best_n_and_minus_one_beyond(n):
    lists = rank(3, (0, 7, 3.0), (0, 5, 2.0), (0, 6, 1.0), (2, 9, 0.0))
    matrix = list_matrix(lists, 4, n)
    assert matrix.dtype == np.int32
    assert matrix.tolist() == [row[:n] for row in ([7, 5, 6, -1], [-1] * 4, [9, -1, -1, -1], [-1] * 4)]


def test_no_lists_make_an_empty_matrix():
    assert list_matrix(rank(3), 2, 3).tolist() == [[-1] * 3] * 2
    assert list_matrix(rank(3), 0, 3).shape == (0, 3)
