"""Ranks of positives when scores tie, by hand and against plain lists."""

import numpy as np
import polars as pl
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array

from recsys.evaluation.metrics import METRICS, count_positives, find_hits
from recsys.evaluation.tied_ranks import TiedRanks, rank_positives


def rank_all(scores: np.ndarray) -> pl.DataFrame:
    """Rank all items: rows are users, columns items, NaN means no score; ties are ordered by item number."""
    user, item = np.nonzero(~np.isnan(scores))
    frame = pl.DataFrame(
        {"user_index": user.astype(np.uint32), "item_index": item.astype(np.uint32), "score": scores[user, item]}
    )
    return frame.sort(["user_index", "score", "item_index"], descending=[False, True, False]).with_columns(
        pl.int_range(1, pl.len() + 1).over("user_index").cast(pl.UInt16).alias("rank")
    )


def pairs(consumed: np.ndarray) -> pl.DataFrame:
    user, item = np.nonzero(consumed)
    return pl.DataFrame({"user_index": user.astype(np.uint32), "item_index": item.astype(np.uint32)})


NAN = float("nan")
# User 0: item 2 is first, 0, 1 and 3 tie behind it; user 1 has one scored item; user 2 has none.
SCORES = np.array([[0.5, 0.5, 0.9, 0.5, 0.1], [NAN, NAN, NAN, 0.3, NAN], [NAN] * 5])
CONSUMED = np.array([[0, 1, 0, 1, 1], [0, 0, 0, 1, 1], [1, 0, 0, 0, 0]], dtype=bool)


def test_by_hand() -> None:
    placed = rank_positives(rank_all(SCORES), pairs(CONSUMED), 3, 2)
    assert placed.lists.tolist() == [[2, 0], [3, -1], [-1, -1]]
    # The tie of three reaches beyond the end of the list.
    assert placed.tie_starts.tolist() == [[0, 1], [0, 1], [0, 1]]
    assert placed.tie_sizes.tolist() == [[1, 3], [1, 1], [1, 1]]
    # Items 1 and 3 of user 0 are in that tie, 4 is below the list; item 3 of user 1 has no tie, 4 is not ranked.
    assert placed.users.tolist() == [0, 0, 0, 1, 1, 2]
    assert placed.positive_starts.tolist() == [1, 1, -1, 0, -1, -1]
    assert placed.positive_tie_sizes.tolist() == [3, 3, 1, 1, 1, 1]
    assert placed.find_hits().chance.tolist() == [[0.0, 2 / 3], [1.0, 0.0], [0.0, 0.0]]
    assert placed.count_positives().tolist() == [3, 2, 1]
    assert placed.chance_in_first(2).tolist() == [1 / 3, 1 / 3, 0.0, 1.0, 0.0, 0.0]
    assert placed.chance_in_first(1).tolist() == [0.0, 0.0, 0.0, 1.0, 0.0, 0.0]


def test_only_some_positives_count() -> None:
    placed = rank_positives(rank_all(SCORES), pairs(CONSUMED), 3, 2)
    kept = np.array([True, False, True, False, False, False])
    assert placed.find_hits(kept).chance.tolist() == [[0.0, 1 / 3], [0.0, 0.0], [0.0, 0.0]]
    assert placed.count_positives(kept).tolist() == [2, 0, 0]


def test_shards_join() -> None:
    whole = rank_positives(rank_all(SCORES), pairs(CONSUMED), 3, 2)
    shards = [
        rank_positives(rank_all(SCORES[users]), pairs(CONSUMED[users]), len(SCORES[users]), 2)
        for users in (slice(0, 1), slice(1, 3))
    ]
    joined = TiedRanks.join(shards)
    for name in ("lists", "tie_starts", "tie_sizes", "users", "positive_starts", "positive_tie_sizes"):
        assert np.array_equal(getattr(joined, name), getattr(whole, name)), name
        assert getattr(joined, name).dtype == np.int32


def test_ranks_alone_give_the_same_hits() -> None:
    scores = np.array([[0.5, 0.4, 0.9, 0.3, 0.1], [NAN, NAN, NAN, 0.3, NAN], [NAN] * 5])
    ranked = rank_all(scores)
    whole = rank_positives(ranked, pairs(CONSUMED), 3, 3)
    ranks = pairs(CONSUMED).join(ranked, on=["user_index", "item_index"], how="left", maintain_order="left")["rank"]
    again = TiedRanks.from_ranks(whole.users, ranks, 3, 3)
    assert again.find_hits().chance.tolist() == whole.find_hits().chance.tolist()
    assert again.count_positives().tolist() == whole.count_positives().tolist()


@given(st.integers(1, 5), st.integers(1, 9), st.integers(0, 2**32 - 1), st.integers(1, 12))
def test_without_ties_it_is_a_plain_list(n_users: int, n_items: int, seed: int, depth: int) -> None:
    generator = np.random.default_rng(seed)
    scores = np.array([generator.permutation(n_items) for _ in range(n_users)], dtype=float)
    consumed = generator.random((n_users, n_items)) < 0.4
    consumed[:, 0] = True
    placed = rank_positives(rank_all(scores), pairs(consumed), n_users, depth)
    order = np.argsort(-scores, axis=1)[:, :depth]
    lists = np.full((n_users, depth), -1)
    lists[:, : order.shape[1]] = order
    assert placed.lists.tolist() == lists.tolist()
    hits, counts = find_hits(lists, csr_array(consumed)), count_positives(csr_array(consumed))
    assert np.array_equal(placed.count_positives(), counts)
    for measure in METRICS.values():
        assert np.array_equal(measure(placed.find_hits(), counts, depth), measure(hits, counts, depth))
    assert np.isclose(placed.chance_in_first(depth).sum(), hits.sum())


@given(st.integers(0, 2**32 - 1), st.integers(1, 8))
def test_a_constant_score_is_worth_a_random_order(seed: int, depth: int) -> None:
    # The positives have the smallest item numbers, as popular items often do: sorting by id would look like skill.
    generator = np.random.default_rng(seed)
    consumed = np.zeros((4, 8), dtype=bool)
    consumed[:, :3] = generator.random((4, 3)) < 0.7
    consumed[:, 0] = True
    placed = rank_positives(rank_all(np.full((4, 8), 0.25)), pairs(consumed), 4, depth)
    counts = placed.count_positives()
    expected = depth / 8
    assert np.allclose(METRICS["recall"](placed.find_hits(), counts, depth), expected)
    assert np.allclose(METRICS["precision"](placed.find_hits(), counts, depth), counts / 8)
    assert np.allclose(placed.chance_in_first(depth), expected)
