import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, make_interactions, make_items

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.scores import Scores, SharedScores
from recsys.dataset.histories import Histories, build_histories
from recsys.ranking.lists import fill_up, rank_candidates

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


class Order:
    """A source with the same order for everybody, which it says in scores."""

    name, reason = "order", "The test says so"

    def __init__(self, *items: int) -> None:
        self._items = items

    def score(self, histories: Histories) -> Scores:
        row = np.full(histories.n_items, np.nan, dtype=np.float32)
        row[list(self._items)] = -np.arange(len(self._items), dtype=np.float32)
        return SharedScores(row, np.array(self._items, dtype=np.int32), histories.n_users)


def make_users(count: int, size: int) -> Histories:
    rows = make_interactions(*((f"u{user:04d}", "i0000", 1) for user in range(count)))
    return build_histories(rows, make_items(*(f"i{item:04d}" for item in range(size))), at(5))


def exclude(size: int, *taken: list[int]) -> Exclusions:
    starts = np.concatenate([[0], np.cumsum([len(some) for some in taken])]).astype(np.int64)
    return Exclusions(
        np.ones(size, dtype=bool), starts, np.array([item for some in taken for item in some], dtype=np.int32)
    )


def test_filling_by_hand():
    items = np.array([[1, 2, -1], [-1, -1, -1], [1, 2, 3]], dtype=np.int32)
    scores = np.array([[0.5, 0.25, 0], [0, 0, 0], [9, 8, 7]], dtype=np.float32)
    # User 0 has 4 and lacks one; user 1 has nothing and lacks three; user 2 is complete.
    filled = fill_up(items, scores, Order(2, 4, 3, 1, 0), make_users(3, 5), exclude(5, [4], [], [0]))
    assert items.tolist() == [[1, 2, 3], [2, 4, 3], [1, 2, 3]]
    assert filled.tolist() == [[False, False, True], [True] * 3, [False] * 3]
    assert scores.tolist() == [[0.5, 0.25, -0.75], [-1, -2, -3], [9, 8, 7]]


def test_one_source_after_the_other():
    items, scores = np.full((1, 4), -1, dtype=np.int32), np.zeros((1, 4), dtype=np.float32)
    users, exclusions = make_users(1, 5), exclude(5, [0])
    assert fill_up(items, scores, Order(3), users, exclusions).tolist() == [[True, False, False, False]]
    assert fill_up(items, scores, Order(0, 3, 1), users, exclusions).tolist() == [[False, True, False, False]]
    assert fill_up(items, scores, Order(*range(5)), users, exclusions).tolist() == [[False, False, True, True]]
    assert items.tolist() == [[3, 1, 2, 4]]
    assert scores.tolist() == [[-1, -2, -3, -4]]


@st.composite
def fillings(draw: st.DrawFn) -> tuple[np.ndarray, list[int], list[list[int]]]:
    users, size, n = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 6))
    lists = np.full((users, n), -1, dtype=np.int32)
    taken = []
    for user in range(users):
        items = draw(st.permutations(range(size)))
        length = draw(st.integers(0, min(n, size)))
        lists[user, :length] = items[:length]
        taken.append(items[length : draw(st.integers(length, size))])
    return lists, draw(st.permutations(range(size)))[: draw(st.integers(0, size))], taken


@settings(deadline=None)
@given(fillings())
def test_everyone_gets_a_list_as_long_as_the_source_allows(filling):
    lists, order, taken = filling
    before = lists.copy()
    scores = np.where(lists >= 0, -np.arange(lists.shape[1]), 0).astype(np.float32)
    filled = fill_up(lists, scores, Order(*order), make_users(len(lists), 9), exclude(9, *taken))
    for user, own in enumerate(lists.tolist()):
        had = [item for item in before[user].tolist() if item >= 0]
        free = [item for item in order if item not in had and item not in taken[user]]
        expected = (had + free)[: len(own)]
        assert own == expected + [-1] * (len(own) - len(expected))
        assert filled[user].tolist() == [len(had) <= place < len(expected) for place in range(len(own))]
        shown = scores[user][: len(expected)].tolist()
        assert shown == sorted(set(shown), reverse=True)
