from __future__ import annotations

import doctest
from itertools import chain, combinations, product
from math import log2

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_array
from sklearn.metrics import average_precision_score, ndcg_score

from recsys.errors import DataError
from recsys.evaluation import metrics
from recsys.evaluation.metrics import (
    METRICS,
    TiedHits,
    average_precision,
    count_positives,
    f1,
    find_hits,
    hit_rate,
    mrr,
    ndcg,
    precision,
    recall,
)

# User 0 has hits at ranks 1 and 3, and 3 positives; user 1 has one hit at rank 4, and 6 positives, more than the list
# is long; user 2 has no hit; user 3 has both positives at the top.
HITS = np.array(
    [
        [True, False, True, False, False],
        [False, False, False, True, False],
        [False, False, False, False, False],
        [True, True, False, False, False],
    ]
)
N_POSITIVES = np.array([3, 6, 1, 2])


def positives_of(rows: list[list[int]], n_items: int) -> csr_array:
    matrix = np.zeros((len(rows), n_items), dtype=bool)
    for user, items in enumerate(rows):
        matrix[user, items] = True
    return csr_array(matrix)


@st.composite
def worlds(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, int]:
    """Consistent hits, numbers of positives and n: some positives may be in no list."""
    n_users, length = draw(st.integers(1, 6)), draw(st.integers(1, 12))
    cells = draw(st.lists(st.booleans(), min_size=n_users * length, max_size=n_users * length))
    hits = np.array(cells).reshape(n_users, length)
    missed = draw(st.lists(st.integers(0, 15), min_size=n_users, max_size=n_users))
    n_positives = np.maximum(1, hits.sum(axis=1) + np.array(missed))
    return hits, n_positives, draw(st.integers(1, length))


class TestHandWorked:
    def test_ndcg(self) -> None:
        # Rank r gains 1 / log2(r + 1): 1, 1/log2(3), 1/2, 1/log2(5), 1/log2(6).
        ideal_3 = 1 + 1 / log2(3) + 1 / 2
        ideal_5 = ideal_3 + 1 / log2(5) + 1 / log2(6)
        expected = [(1 + 1 / 2) / ideal_3, (1 / log2(5)) / ideal_5, 0, 1]
        assert ndcg(HITS, N_POSITIVES, 5) == pytest.approx(expected)
        # In the first 2 ranks the best possible list has min(positives, 2) hits.
        ideal_2 = 1 + 1 / log2(3)
        assert ndcg(HITS, N_POSITIVES, 2) == pytest.approx([1 / ideal_2, 0, 0, 1])

    def test_recall(self) -> None:
        # 2 of 3; 1 of 6 (not of 5, the list length); 0 of 1; 2 of 2.
        assert recall(HITS, N_POSITIVES, 5) == pytest.approx([2 / 3, 1 / 6, 0, 1])
        assert recall(HITS, N_POSITIVES, 2) == pytest.approx([1 / 3, 0, 0, 1])

    def test_precision(self) -> None:
        assert precision(HITS, N_POSITIVES, 5) == pytest.approx([2 / 5, 1 / 5, 0, 2 / 5])
        assert precision(HITS, N_POSITIVES, 2) == pytest.approx([1 / 2, 0, 0, 1])

    def test_f1(self) -> None:
        # User 0: P = 2/5, R = 2/3, 2PR / (P + R) = (8/15) / (16/15) = 1/2.
        # User 1: P = 1/5, R = 1/6, (2/30) / (11/30) = 2/11. User 3: P = 2/5, R = 1, (4/5) / (7/5) = 4/7.
        assert f1(HITS, N_POSITIVES, 5) == pytest.approx([1 / 2, 2 / 11, 0, 4 / 7])

    def test_mrr(self) -> None:
        assert mrr(HITS, N_POSITIVES, 5) == pytest.approx([1, 1 / 4, 0, 1])
        # The hit at rank 4 is outside the first 3.
        assert mrr(HITS, N_POSITIVES, 3) == pytest.approx([1, 0, 0, 1])

    def test_average_precision(self) -> None:
        # User 0: precision 1/1 at rank 1, 2/3 at rank 3, over min(3, 5) = 3: (5/3) / 3 = 5/9.
        # User 1: 1/4 at rank 4, over min(6, 5) = 5: 1/20. User 3: (1 + 1) / 2.
        assert average_precision(HITS, N_POSITIVES, 5) == pytest.approx([5 / 9, 1 / 20, 0, 1])
        # In the first 2 ranks: user 0 has 1/1, over min(3, 2) = 2.
        assert average_precision(HITS, N_POSITIVES, 2) == pytest.approx([1 / 2, 0, 0, 1])

    def test_hit_rate(self) -> None:
        assert hit_rate(HITS, N_POSITIVES, 5).tolist() == [1, 1, 0, 1]
        assert hit_rate(HITS, N_POSITIVES, 3).tolist() == [1, 0, 0, 1]

    def test_names_and_order(self) -> None:
        assert list(METRICS) == ["ndcg", "recall", "precision", "f1", "mrr", "map", "hit_rate"]
        assert METRICS["map"] is average_precision


def test_docstring_examples() -> None:
    assert doctest.testmod(metrics).failed == 0


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_has_an_example(metric: str) -> None:
    (example,) = doctest.DocTestFinder().find(METRICS[metric], METRICS[metric].__name__, globs={})
    assert example.examples


class TestProperties:
    @given(worlds())
    def test_between_0_and_1(self, world: tuple[np.ndarray, np.ndarray, int]) -> None:
        for measure in METRICS.values():
            values = measure(*world)
            assert values.dtype == np.float64
            assert values.shape == (len(world[0]),)
            assert (values >= 0).all()
            assert (values <= 1).all()

    @given(st.integers(1, 30), st.integers(0, 30))
    def test_perfect_list_is_exactly_1(self, n_positives: int, misses: int) -> None:
        hits = np.array([[True] * n_positives + [False] * misses])
        for measure in (ndcg, recall, average_precision, mrr, hit_rate):
            assert measure(hits, np.array([n_positives]), hits.shape[1]).tolist() == [1.0]

    @given(st.integers(1, 20), st.integers(1, 20))
    def test_list_of_hits_reaches_the_ideal_when_positives_exceed_n(self, n: int, more: int) -> None:
        hits, n_positives = np.ones((1, n), dtype=bool), np.array([n + more])
        for measure in (ndcg, precision, average_precision):
            assert measure(hits, n_positives, n).tolist() == [1.0]
        assert recall(hits, n_positives, n)[0] == n / (n + more)

    @given(worlds(), st.integers(1, 5))
    def test_ranks_after_n_do_not_count(self, world: tuple[np.ndarray, np.ndarray, int], misses: int) -> None:
        hits, n_positives, n = world
        longer = np.hstack([hits, np.zeros((len(hits), misses), dtype=bool)])
        for measure in METRICS.values():
            assert measure(longer, n_positives, n).tobytes() == measure(hits, n_positives, n).tobytes()

    @given(worlds(), st.integers(1, 5))
    def test_longer_n_costs_only_metrics_that_divide_by_n(
        self, world: tuple[np.ndarray, np.ndarray, int], misses: int
    ) -> None:
        hits, n_positives, _ = world
        length = hits.shape[1]
        longer = np.hstack([hits, np.zeros((len(hits), misses), dtype=bool)])
        for measure in (recall, mrr, hit_rate):
            assert (measure(longer, n_positives, length + misses) == measure(hits, n_positives, length)).all()
        # With n at or beyond the positives the ideal list does not grow either.
        within = n_positives <= length
        for measure in (ndcg, average_precision):
            before, after = measure(hits, n_positives, length), measure(longer, n_positives, length + misses)
            assert (after[within] == before[within]).all()
            assert (after <= before).all()

    @given(worlds(), st.randoms(use_true_random=False))
    def test_users_are_independent(self, world: tuple[np.ndarray, np.ndarray, int], random) -> None:  # type: ignore[no-untyped-def]
        hits, n_positives, n = world
        order = random.sample(range(len(hits)), len(hits))
        for measure in METRICS.values():
            assert (measure(hits[order], n_positives[order], n) == measure(hits, n_positives, n)[order]).all()

    @given(worlds())
    def test_recall_mrr_and_hit_rate_never_fall_with_n(self, world: tuple[np.ndarray, np.ndarray, int]) -> None:
        hits, n_positives, _ = world
        for measure in (recall, mrr, hit_rate):
            by_n = np.array([measure(hits, n_positives, n) for n in range(1, hits.shape[1] + 1)])
            assert (np.diff(by_n, axis=0) >= 0).all()

    @given(worlds())
    def test_f1_is_the_harmonic_mean(self, world: tuple[np.ndarray, np.ndarray, int]) -> None:
        p, r = precision(*world), recall(*world)
        expected = [2 * a * b / (a + b) if a + b else 0.0 for a, b in zip(p, r, strict=True)]
        assert f1(*world) == pytest.approx(expected)

    @given(worlds())
    def test_a_hit_moved_up_never_lowers_a_value(self, world: tuple[np.ndarray, np.ndarray, int]) -> None:
        hits, n_positives, n = world
        sorted_hits = -np.sort(-hits.astype(np.int8), axis=1) == 1
        for measure in METRICS.values():
            assert (measure(sorted_hits, n_positives, n) >= measure(hits, n_positives, n)).all()


class TestAgainstSklearn:
    @pytest.mark.parametrize("n", [1, 3, 10, 25])
    def test_ndcg(self, n: int) -> None:
        generator = np.random.default_rng(5)
        consumed = generator.random((40, 25)) < 0.2
        consumed[:, 0] = True
        scores = generator.random((40, 25))
        lists = np.argsort(-scores, axis=1).astype(np.int32)
        positives = csr_array(consumed)
        ours = ndcg(find_hits(lists, positives), count_positives(positives), n)
        theirs = [
            ndcg_score(consumed[[user]].astype(float), scores[[user]], k=n, ignore_ties=True) for user in range(40)
        ]
        assert ours == pytest.approx(theirs)

    def test_average_precision_over_the_whole_catalogue(self) -> None:
        generator = np.random.default_rng(6)
        consumed = generator.random((40, 25)) < 0.2
        consumed[:, 0] = True
        scores = generator.random((40, 25))
        lists = np.argsort(-scores, axis=1).astype(np.int32)
        positives = csr_array(consumed)
        ours = average_precision(find_hits(lists, positives), count_positives(positives), 25)
        theirs = [average_precision_score(consumed[user], scores[user]) for user in range(40)]
        assert ours == pytest.approx(theirs)


class TestFindHits:
    def test_marks_each_hit(self) -> None:
        lists = np.array([[3, 0, 5], [1, 2, -1], [-1, -1, -1]], dtype=np.int32)
        positives = positives_of([[5, 3, 1], [2], [0]], 6)
        assert find_hits(lists, positives).tolist() == [
            [True, False, True],
            [False, True, False],
            [False, False, False],
        ]

    def test_padding_never_hits_the_last_item(self) -> None:
        # An index of -1 would select the last item of the previous user, or of the catalogue.
        lists = np.array([[0, -1], [0, -1]], dtype=np.int32)
        assert not find_hits(lists, positives_of([[2], [2]], 3)).any()

    @pytest.mark.parametrize("dtype", [np.uint8, np.bool_])
    def test_positives_may_be_unsorted_repeated_or_stored_zeros(self, dtype: type) -> None:
        positives = csr_array(
            (np.array([1, 1, 0, 1], dtype=dtype), np.array([2, 0, 1, 2]), np.array([0, 4])), shape=(1, 3)
        )
        before = positives.indices.copy()
        assert find_hits(np.array([[0, 1, 2]], dtype=np.int32), positives).tolist() == [[True, False, True]]
        assert count_positives(positives).tolist() == [2]
        assert positives.indices.tolist() == before.tolist()

    def test_counts_do_not_wrap_in_uint8(self) -> None:
        positives = csr_array(np.ones((1, 300), dtype=np.uint8))
        assert count_positives(positives).tolist() == [300]

    def test_user_without_positives_and_no_users(self) -> None:
        assert not find_hits(np.array([[0, 1]], dtype=np.int32), positives_of([[]], 2)).any()
        assert find_hits(np.empty((0, 4), dtype=np.int32), positives_of([], 3)).shape == (0, 4)

    @given(st.integers(1, 5), st.integers(1, 8), st.integers(0, 2**32 - 1))
    def test_equals_a_look_up_per_item(self, n_users: int, n_items: int, seed: int) -> None:
        generator = np.random.default_rng(seed)
        consumed = generator.random((n_users, n_items)) < 0.4
        lists = np.array([generator.permutation(n_items) for _ in range(n_users)], dtype=np.int32)
        expected = [[bool(consumed[user, item]) for item in lists[user]] for user in range(n_users)]
        assert find_hits(lists, csr_array(consumed)).tolist() == expected

    @pytest.mark.parametrize(
        ("lists", "message"),
        [
            ([[0, 1], [2, 2]], "the same item twice.*row 1"),
            ([[0, 2, 0], [0, 1, 2]], "the same item twice.*row 0"),
            ([[0, 1], [-1, 2]], "an item after a -1.*row 1"),
            ([[0, 3], [0, 1]], "outside -1 … 2.*row 0"),
            ([[0, -2], [0, 1]], "outside -1 … 2.*row 0"),
            ([[0, 1]], "1 row, but positives have 2"),
            ([[0.0, 1.0], [0.0, 1.0]], "float64, expected"),
            ([0, 1], "shape"),
        ],
    )
    def test_rejects_invalid_lists(self, lists: list[object], message: str) -> None:
        array = np.array(lists)
        with pytest.raises(DataError, match=message):
            find_hits(array, positives_of([[0], [1]], 3))


class TestRefusals:
    @pytest.mark.parametrize("measure", METRICS.values(), ids=METRICS)
    def test_user_without_positives(self, measure) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(DataError, match="1 of 4 users have none"):
            measure(HITS, np.array([3, 6, 0, 2]), 5)

    @pytest.mark.parametrize("measure", METRICS.values(), ids=METRICS)
    @pytest.mark.parametrize("n", [0, -1, 6])
    def test_n_outside_the_lists(self, measure, n: int) -> None:  # type: ignore[no-untyped-def]
        with pytest.raises(DataError, match="lists: shape"):
            measure(HITS, N_POSITIVES, n)

    def test_more_hits_than_positives(self) -> None:
        with pytest.raises(DataError, match="row 3 has 2, expected at most 1, its number of positives"):
            ndcg(HITS, np.array([3, 6, 1, 1]), 5)

    def test_counts_of_other_users(self) -> None:
        with pytest.raises(DataError, match="n_positives: shape"):
            recall(HITS, np.array([3, 6, 1]), 5)


def tie(*groups: tuple[int, int], length: int) -> TiedHits:
    """One list of ties, each (items, positives), cut to a length."""
    in_tie, tie_sizes, above = [], [], []
    for size, positives in groups:
        in_tie += [positives] * size
        tie_sizes += [size] * size
        above += list(range(size))
    return TiedHits(*(np.array([row[:length]], dtype=np.int32) for row in (in_tie, tie_sizes, above)))


def all_orders(*groups: tuple[int, int]) -> np.ndarray:
    """Every order of the ties' items, each as a list of hits."""
    parts = [
        [[index in chosen for index in range(size)] for chosen in combinations(range(size), positives)]
        for size, positives in groups
    ]
    return np.array([list(chain(*order)) for order in product(*parts)])


class TestTies:
    def test_hand_worked(self) -> None:
        # Two items tie at the top, one is the user's only positive: it is first in half of the orders.
        hits, n_positives = tie((2, 1), length=2), np.array([1])
        assert recall(hits, n_positives, 1).tolist() == [0.5]
        assert mrr(hits, n_positives, 2).tolist() == [(1 + 1 / 2) / 2]
        assert ndcg(hits, n_positives, 2) == pytest.approx([(1 + 1 / log2(3)) / 2])
        assert hit_rate(hits, n_positives, 2).tolist() == [1.0]

    @given(
        st.lists(
            st.integers(1, 4).flatmap(lambda size: st.tuples(st.just(size), st.integers(0, size))),
            min_size=1,
            max_size=3,
        ),
        st.integers(0, 3),
        st.data(),
    )
    def test_is_the_mean_over_all_orders(self, groups: list[tuple[int, int]], missed: int, data: st.DataObject) -> None:
        # The list may end inside a tie.
        length = data.draw(st.integers(1, sum(size for size, _ in groups)))
        n = data.draw(st.integers(1, length))
        n_positives = max(1, sum(positives for _, positives in groups) + missed)
        orders = all_orders(*groups)[:, :length]
        for name, measure in METRICS.items():
            each = measure(orders, np.full(len(orders), n_positives), n)
            expected = measure(tie(*groups, length=length), np.array([n_positives]), n)
            assert expected == pytest.approx([each.mean()]), name

    @given(worlds())
    def test_ties_of_one_item_are_plain_hits(self, world: tuple[np.ndarray, np.ndarray, int]) -> None:
        hits, n_positives, n = world
        tied = TiedHits(hits.astype(np.int32), np.ones(hits.shape, np.int32), np.zeros(hits.shape, np.int32))
        for measure in METRICS.values():
            assert measure(tied, n_positives, n).tobytes() == measure(hits, n_positives, n).tobytes()

    @pytest.mark.parametrize("n", [1, 5, 10])
    def test_ndcg_agrees_with_sklearn(self, n: int) -> None:
        generator = np.random.default_rng(7)
        for _ in range(30):
            consumed = generator.random(25) < 0.2
            consumed[0] = True
            scores = generator.integers(0, 4, 25)
            groups = [
                (int((scores == s).sum()), int(consumed[scores == s].sum())) for s in sorted(set(scores), reverse=True)
            ]
            ours = ndcg(tie(*groups, length=25), np.array([consumed.sum()]), n)
            assert ours == pytest.approx([ndcg_score(consumed[None].astype(float), scores[None], k=n)])

    def test_more_hits_than_positives(self) -> None:
        with pytest.raises(DataError, match=r"row 0 has 1\.5, expected at most 1, its number of positives"):
            ndcg(tie((4, 3), length=2), np.array([1]), 2)
