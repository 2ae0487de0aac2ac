from __future__ import annotations

from itertools import combinations
from math import log2

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.evaluation import beyond_accuracy
from recsys.evaluation.beyond_accuracy import (
    churn,
    cold_share,
    compute_coverage,
    compute_gini,
    diversity,
    novelty,
    take_first,
)

# Three users and a catalogue of 8; the second list is short, the third empty.
LISTS = np.array([[0, 1, 2], [0, 3, -1], [-1, -1, -1]], dtype=np.int32)
ALL = np.ones(8, dtype=bool)
NO_LISTS = np.empty((0, 3), dtype=np.int32)


@st.composite
def some_lists(draw: st.DrawFn) -> tuple[np.ndarray, int, int]:
    """Lists of different items that end in -1, the number of items, and n."""
    n_items, n_users, length = draw(st.integers(1, 12)), draw(st.integers(0, 6)), draw(st.integers(1, 8))
    generator = np.random.default_rng(draw(st.integers(0, 10_000)))
    lists = np.full((n_users, length), -1, dtype=np.int32)
    for row in lists:
        size = generator.integers(0, min(length, n_items) + 1)
        row[:size] = generator.permutation(n_items)[:size]
    return lists, n_items, draw(st.integers(1, length))


def frame(**lists: str) -> pl.DataFrame:
    """Lists as a frame: `ann="abc"` lists a, b, c for Ann."""
    rows = [(user, rank, item) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    return pl.DataFrame(rows, schema={"user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String}, orient="row")


class TestCoverage:
    def test_share_of_the_catalogue_in_the_first_n(self) -> None:
        assert compute_coverage(LISTS, ALL, 1) == 1 / 8  # item 0
        assert compute_coverage(LISTS, ALL, 2) == 3 / 8  # items 0, 1, 3
        assert compute_coverage(LISTS, ALL, 3) == 4 / 8

    def test_only_recommendable_items_count(self) -> None:
        # 0 and 3 are listed; 5 is not; 1 and 2 are listed but do not count.
        assert compute_coverage(LISTS, np.isin(np.arange(8), [0, 3, 5]), 3) == 2 / 3

    def test_no_users(self) -> None:
        assert compute_coverage(NO_LISTS, ALL, 3) == 0.0

    @given(some_lists())
    def test_grows_with_n(self, world: tuple[np.ndarray, int, int]) -> None:
        lists, n_items, n = world
        everything = np.ones(n_items, dtype=bool)
        assert 0.0 <= compute_coverage(lists, everything, n) <= compute_coverage(lists, everything, lists.shape[1]) <= 1

    def test_refusals(self) -> None:
        lists = np.array([[0, 1]], dtype=np.int32)
        with pytest.raises(DataError, match="recommendable: none of 0 items"):
            compute_coverage(lists, np.ones(0, dtype=bool), 2)
        with pytest.raises(DataError, match="recommendable: none of 4 items"):
            compute_coverage(lists, np.zeros(4, dtype=bool), 2)
        with pytest.raises(DataError, match="shape"):
            compute_coverage(lists, ALL, 3)
        with pytest.raises(DataError, match="outside"):
            compute_coverage(lists, ALL[:1], 2)
        # Item numbers instead of a flag per item.
        with pytest.raises(DataError, match=r"recommendable: shape \(2,\) of int64, expected \(n_items,\) of bool"):
            compute_coverage(lists, np.array([0, 1]), 2)


class TestGini:
    def test_hand_worked(self) -> None:
        # Among the first 2, items 0, 1, 3 are listed 2, 1, 1 times and item 7 never: 0, 1, 1, 2.
        # (-3 x 0 - 1 x 1 + 1 x 1 + 3 x 2) / (4 x 4) = 6 / 16.
        assert compute_gini(LISTS, np.isin(np.arange(8), [0, 1, 3, 7]), 2) == 6 / 16
        # Item 2, which is not among the first 2, makes it 0, 0, 1, 1, 2: (2 x 1 + 4 x 2 + 0) / (5 x 4).
        assert compute_gini(LISTS, np.isin(np.arange(8), [0, 1, 2, 3, 7]), 2) == 10 / 20

    def test_ends(self) -> None:
        same = np.zeros((50, 1), dtype=np.int32)
        assert compute_gini(same, ALL, 1) == 1 - 1 / 8
        assert compute_gini(same, ALL[:1], 1) == 0.0
        assert compute_gini(np.arange(8, dtype=np.int32)[:, None], ALL, 1) == 0.0
        assert compute_gini(NO_LISTS, ALL, 3) == 0.0

    @given(some_lists())
    def test_is_half_the_mean_difference_over_the_mean(self, world: tuple[np.ndarray, int, int]) -> None:
        lists, n_items, n = world
        shown = np.bincount(lists[:, :n][lists[:, :n] >= 0], minlength=n_items)
        apart = np.abs(shown[:, None] - shown).mean()
        expected = 0.0 if shown.sum() == 0 else apart / 2 / shown.mean()
        assert compute_gini(lists, np.ones(n_items, dtype=bool), n) == pytest.approx(expected)

    @given(some_lists(), st.integers(0, 100))
    def test_item_numbers_do_not_matter(self, world: tuple[np.ndarray, int, int], seed: int) -> None:
        lists, n_items, n = world
        renamed = np.append(np.random.default_rng(seed).permutation(n_items), -1)[lists]
        everything = np.ones(n_items, dtype=bool)
        assert compute_gini(renamed, everything, n) == compute_gini(lists, everything, n)

    def test_refuses_an_empty_catalogue(self) -> None:
        with pytest.raises(DataError, match="recommendable: none of 8"):
            compute_gini(LISTS, ~ALL, 3)


class TestNovelty:
    def test_hand_worked(self) -> None:
        # 7 users. All of them have item 0: (7 + 1) / (7 + 1), 0 bits; three have item 1: 4/8, 1 bit; one has item 2:
        # 2/8, 2 bits; nobody has item 3: 1/8, 3 bits.
        users = np.array([7, 3, 1, 0])
        assert novelty(LISTS, users, 7, 3).tolist() == [1.0, 1.5, 0.0]
        assert novelty(LISTS, users, 7, 2).tolist() == [0.5, 1.5, 0.0]
        assert novelty(LISTS, users, 7, 1).tolist() == [0.0, 0.0, 0.0]

    @given(some_lists(), st.integers(0, 1000))
    def test_between_0_and_the_item_without_users(self, world: tuple[np.ndarray, int, int], n_users: int) -> None:
        lists, n_items, n = world
        users = np.random.default_rng(n_users).integers(n_users, size=n_items, endpoint=True)
        values = novelty(lists, users, n_users, n)
        assert values.dtype == np.float64
        assert (values >= 0).all()
        assert (values <= log2(n_users + 1) + 1e-9).all()
        # An item that loses a user gets no less novel.
        assert (novelty(lists, np.maximum(users - 1, 0), n_users, n) >= values).all()

    def test_refusals(self) -> None:
        with pytest.raises(DataError, match=r"item_users: between 0 and 9, expected 0 … n_users = 7"):
            novelty(LISTS, np.array([9, 0, 0, 0]), 7, 3)
        with pytest.raises(DataError, match="between -1 and 0"):
            novelty(LISTS, np.array([-1, 0, 0, 0]), 7, 3)
        with pytest.raises(DataError, match=r"expected .* of whole numbers"):
            novelty(LISTS, np.array([0.5, 0, 0, 0]), 7, 3)
        with pytest.raises(DataError, match="outside"):
            novelty(LISTS, np.array([1, 1]), 7, 3)


class TestDiversity:
    # 0 and 1 are equal, 2 is at a right angle to them, 3 opposite to 0, 4 without text.
    ROWS = np.array([[1, 0], [1, 0], [0, 1], [-1, 0], [0, 0]], dtype=np.float32)

    @pytest.mark.parametrize(
        ("items", "expected"),
        [
            ([0, 1], 0.0),
            ([0, 2], 1.0),
            ([0, 3], 2.0),
            ([0, 4], 1.0),
            ([0, 1, 2], 2 / 3),  # 0, 1, 1
            ([0, 3, 2], 4 / 3),  # 2, 1, 1
            ([0, 1, 4], 2 / 3),  # 0, 1, 1
            ([3], 0.0),
            ([], 0.0),
        ],
    )
    def test_hand_worked(self, items: list[int], expected: float) -> None:
        lists = np.array([items + [-1] * (4 - len(items))], dtype=np.int32)
        assert diversity(lists, self.ROWS, 4) == pytest.approx([expected], abs=1e-6)

    def test_only_the_first_n_count(self) -> None:
        assert diversity(np.array([[0, 1, 2, 3]]), self.ROWS, 2) == pytest.approx([0.0], abs=1e-6)

    @given(some_lists(), st.integers(1, 6), st.integers(0, 1000))
    def test_is_the_mean_over_pairs(self, world: tuple[np.ndarray, int, int], size: int, seed: int) -> None:
        lists, n_items, n = world
        rows = np.random.default_rng(seed).normal(size=(n_items, size)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        rows[seed % n_items] = 0.0
        pairs = [[1.0 - rows[a] @ rows[b] for a, b in combinations(row[row >= 0], 2)] for row in lists[:, :n]]
        values = diversity(lists, rows, n)
        assert values.dtype == np.float64
        assert values == pytest.approx(np.array([np.mean(each) if each else 0.0 for each in pairs]), abs=1e-5)

    def test_result_does_not_depend_on_the_block_size(self, monkeypatch: pytest.MonkeyPatch) -> None:
        generator = np.random.default_rng(1)
        rows = generator.normal(size=(40, 16)).astype(np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
        lists = generator.permuted(np.tile(np.arange(40, dtype=np.int32), (23, 1)), axis=1)[:, :6]
        lists[::4, 2:] = -1
        whole = diversity(lists, rows, 6)
        assert whole.std() > 0.05
        for cells in (1, 16 * 5, 16 * 22):
            monkeypatch.setattr(beyond_accuracy, "_CELLS_AT_ONCE", cells)
            assert diversity(lists, rows, 6).tobytes() == whole.tobytes()

    def test_refusals(self) -> None:
        with pytest.raises(DataError, match="embeddings: 1 of 5 rows, expected unit length"):
            diversity(LISTS, self.ROWS * [[2], [1], [1], [1], [1]], 3)
        with pytest.raises(DataError, match="embeddings: 5 of 5 rows"):
            diversity(LISTS, np.full((5, 2), np.nan, dtype=np.float32), 3)
        with pytest.raises(DataError, match=r"embeddings: shape \(5,\)"):
            diversity(LISTS, self.ROWS[:, 0], 3)
        with pytest.raises(DataError, match="outside"):
            diversity(LISTS, self.ROWS[:3], 3)


class TestColdShare:
    def test_hand_worked(self) -> None:
        cold = np.isin(np.arange(8), [1, 3])
        assert cold_share(LISTS, cold, 3) == pytest.approx([1 / 3, 1 / 2, 0])
        assert cold_share(LISTS, cold, 1).tolist() == [0, 0, 0]

    @given(some_lists(), st.integers(0, 1000))
    def test_cold_and_warm_are_the_whole_list(self, world: tuple[np.ndarray, int, int], seed: int) -> None:
        lists, n_items, n = world
        cold = np.random.default_rng(seed).random(n_items) < 0.5
        both = cold_share(lists, cold, n) + cold_share(lists, ~cold, n)
        assert both == pytest.approx((lists[:, 0] >= 0).astype(float))

    def test_refuses_item_numbers(self) -> None:
        with pytest.raises(DataError, match=r"cold: shape .* expected \(n_items,\) of bool"):
            cold_share(LISTS, np.array([1, 3]), 3)


@pytest.mark.parametrize("n", [0, -1, 4])
def test_n_outside_the_lists(n: int) -> None:
    for measure in (compute_coverage, compute_gini, cold_share):
        with pytest.raises(DataError, match="lists: shape"):
            measure(LISTS, ALL, n)
    with pytest.raises(DataError, match="lists: shape"):
        novelty(LISTS, np.zeros(8, dtype=int), 7, n)
    with pytest.raises(DataError, match="lists: shape"):
        diversity(LISTS, np.zeros((8, 2), dtype=np.float32), n)


def test_an_item_twice_is_refused() -> None:
    with pytest.raises(DataError, match="the same item twice"):
        cold_share(np.array([[1, 1]]), ALL, 2)


class TestChurn:
    def test_hand_worked(self) -> None:
        now = frame(zoe="abc", ann="abcd", bob="xy", 陈="猫")
        before = frame(ann="dcz", zoe="bac", eve="abc", 陈="狗")
        assert churn(now, before, 4).rows() == [
            ("ann", 2 / 4),  # a and b are new; the order does not matter
            ("zoe", 0.0),
            ("陈", 1.0),
        ]
        # Among the first 2: ann a, b against d, c; zoe a, b against b, a.
        assert churn(now, before, 2).rows() == [("ann", 1.0), ("zoe", 0.0), ("陈", 1.0)]

    def test_a_short_list_counts_its_own_items(self) -> None:
        assert churn(frame(ann="a"), frame(ann="abc"), 3).rows() == [("ann", 0.0)]
        assert churn(frame(ann="abc"), frame(ann="a"), 3)["churn"].to_list() == pytest.approx([2 / 3])

    def test_nobody_in_both(self) -> None:
        values = churn(frame(ann="a"), frame(bob="a"), 3)
        assert values.is_empty()
        assert values.schema == {"user_id": pl.String, "churn": pl.Float64}

    @given(st.lists(st.permutations("abcdefg"), min_size=2, max_size=2), st.integers(1, 8), st.integers(0, 100))
    def test_between_0_and_1_in_any_order_of_rows(self, lists: list[list[str]], n: int, seed: int) -> None:
        now, before = (frame(ann="".join(items), bob="".join(items[:3])) for items in lists)
        values = churn(now, before, n)
        assert values["churn"].is_between(0, 1).all()
        assert churn(now.sample(fraction=1.0, shuffle=True, seed=seed), before.reverse(), n).equals(values)
        assert churn(now, now, n)["churn"].to_list() == [0.0, 0.0]
        assert values["churn"][0] == pytest.approx(len(set(lists[0][:n]) - set(lists[1][:n])) / min(n, 7))

    def test_refusals(self) -> None:
        good = frame(ann="ab")
        with pytest.raises(DataError, match="previous lists: no column 'rank'"):
            churn(good, good.drop("rank"), 2)
        with pytest.raises(DataError, match="lists: n = 0"):
            churn(good, good, 0)
        with pytest.raises(DataError, match=r"previous lists: 2 rows .* a repeated item"):
            churn(good, frame(ann="aa", bob="a"), 2)
        with pytest.raises(DataError, match="lists: 1 row with a rank below 1"):
            churn(good.with_columns(pl.col("rank") - 1), good, 2)

    def test_ranks_below_n_are_ignored(self) -> None:
        assert take_first(frame(ann="aba"), 2, "lists").rows() == [("ann", 1, "a"), ("ann", 2, "b")]
