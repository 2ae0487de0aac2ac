"""Our metrics against other libraries: the same lists give the same numbers, or a documented difference.

The adapters live in `benchmarks/cross_check.py`, which also covers the libraries that only its own run needs.
"""

from __future__ import annotations

import os
from itertools import chain, permutations, product
from pathlib import Path

import numpy as np
import pytest
from benchmarks.cross_check import (
    CONFIG,
    DEPTH,
    DIFFERENT,
    World,
    make_world,
    measure_with,
    measure_with_pytrec_eval,
    measure_with_sklearn,
    name_user,
    nest_lists,
    place,
)
from scipy.sparse import csr_array

from recsys.config import load_config
from recsys.evaluation.metrics import METRICS, count_positives, find_hits

DATA = Path(os.environ.get("RECSYS_TEST_DATA") or Path(__file__).parents[3] / "shared/data")

# torchmetrics computes in float32.
TOLERANCE = {"pytrec_eval": 1e-9, "torchmetrics": 1e-6, "sklearn": 1e-9}
# The metrics that each library has, by our names.
KNOWN = {"pytrec_eval": set(METRICS), "torchmetrics": set(METRICS) - {"f1"}, "sklearn": {"ndcg"}}


def draw_world(seed: int, shortest: int) -> tuple[np.ndarray, csr_array]:
    """30 users with 1 to 20 positives among 25 items, lists of at most 12."""
    generator = np.random.default_rng(seed)
    lists = np.array([generator.permutation(25)[:12] for _ in range(30)], dtype=np.int32)
    lists[np.arange(12) >= generator.integers(shortest, 13, size=(30, 1))] = -1
    consumed = np.zeros((30, 25), dtype=np.uint8)
    for user in range(30):
        consumed[user, generator.permutation(25)[: generator.integers(1, 21)]] = 1
    return lists, csr_array(consumed)


def assert_same(
    library: str, lists: np.ndarray, positives: csr_array, n: int, but: frozenset[str] = frozenset()
) -> None:
    theirs = measure_with(library, lists, positives, n)
    assert theirs.keys() == KNOWN[library]
    hits, n_positives = find_hits(lists, positives), count_positives(positives)
    for metric in theirs.keys() - but:
        _, measure = DIFFERENT.get((library, metric), ("same", METRICS[metric]))
        expected = measure(hits, n_positives, n)
        np.testing.assert_allclose(theirs[metric], expected, rtol=0, atol=TOLERANCE[library], err_msg=metric)


class TestSmallLists:
    @pytest.mark.parametrize("library", TOLERANCE)
    @pytest.mark.parametrize("n", [1, 3, 12])
    def test_full_lists(self, library: str, n: int) -> None:
        assert_same(library, *draw_world(n, shortest=12), n)

    @pytest.mark.parametrize("library", TOLERANCE)
    @pytest.mark.parametrize("n", [1, 3, 12])
    def test_short_lists(self, library: str, n: int) -> None:
        # trec_eval's F knows no n: see the next test.
        assert_same(library, *draw_world(n, shortest=1), n, but=frozenset({"f1"}))

    def test_f_of_trec_eval_divides_by_what_the_list_holds(self) -> None:
        lists, positives = draw_world(0, shortest=1)
        hits, n_positives = find_hits(lists, positives), count_positives(positives)
        theirs = measure_with("pytrec_eval", lists, positives, 12)["f1"]
        assert theirs == pytest.approx(2 * hits.sum(axis=1) / ((lists >= 0).sum(axis=1) + n_positives), abs=1e-9)

    @pytest.mark.parametrize(("library", "metric"), [pair for pair in DIFFERENT if pair[0] in TOLERANCE])
    def test_the_named_differences_are_real(self, library: str, metric: str) -> None:
        lists, positives = draw_world(1, shortest=12)
        ours = METRICS[metric](find_hits(lists, positives), count_positives(positives), 3)
        assert np.abs(measure_with(library, lists, positives, 3)[metric] - ours).max() > 0.01


class TestTies:
    @pytest.mark.parametrize("n", [1, 4, 10])
    @pytest.mark.parametrize("levels", [1, 3, 8])
    def test_ndcg_of_sklearn(self, levels: int, n: int) -> None:
        generator = np.random.default_rng(levels)
        scores = generator.integers(levels, size=(40, 15)).astype(np.float32)
        consumed = generator.random((40, 15)) < 0.3
        consumed[:, 0] = True
        tied_ranks = place(scores, csr_array(consumed), 10)
        ours = METRICS["ndcg"](tied_ranks.find_hits(), tied_ranks.count_positives(), n)
        theirs = measure_with_sklearn(scores.astype(np.float64), consumed, n)["ndcg"]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)

    @pytest.mark.parametrize("n", [1, 2, 4, 6])
    @pytest.mark.parametrize("scores", [[2, 2, 1, 1, 1, 0], [1, 0, 0, 0, 0, 0], [1, 1, 1, 1, 1, 1], [3, 2, 2, 2, 2, 1]])
    @pytest.mark.parametrize("consumed", [[0, 3], [1, 2, 4], [5], [0, 1, 2, 3, 4]])
    def test_mean_of_trec_eval_over_all_orders(self, scores: list[int], consumed: list[int], n: int) -> None:
        groups = [[item for item in range(6) if scores[item] == score] for score in sorted(set(scores), reverse=True)]
        orders = [list(chain(*order)) for order in product(*map(permutations, groups))]
        # Cut at n, since two of its measures know no n.
        run = nest_lists(np.array(orders, dtype=np.int32)[:, :n])
        wanted = {name_user(number): {str(item): 1 for item in consumed} for number in range(len(orders))}
        theirs = {name: values.mean() for name, values in measure_with_pytrec_eval(run, wanted, n).items()}
        theirs["map"] *= len(consumed) / min(len(consumed), n)
        positives = csr_array((np.ones(len(consumed)), (np.zeros(len(consumed), dtype=int), consumed)), shape=(1, 6))
        # A tie at n reaches beyond the list.
        tied_ranks = place(np.array([scores], dtype=np.float32), positives, n)
        ours = {
            name: measure(tied_ranks.find_hits(), tied_ranks.count_positives(), n)[0]
            for name, measure in METRICS.items()
        }
        assert ours == pytest.approx(theirs, abs=1e-9)


@pytest.fixture(scope="module")
def world() -> World:
    if not (DATA / "ml100k").is_dir():
        pytest.skip("no ml100k in the real data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(DATA))
        return make_world(load_config(CONFIG))


@pytest.mark.realdata
class TestMl100k:
    @pytest.mark.parametrize("library", TOLERANCE)
    def test_same_lists_same_numbers(self, world: World, library: str) -> None:
        assert_same(library, world.lists("item_to_item"), world.positives, 10)

    def test_ties_as_sklearn_averages_them(self, world: World) -> None:
        scores = world.scores["popular in steps"]
        tied_ranks = place(scores, world.positives, DEPTH)
        assert np.median(tied_ranks.tie_sizes[:, :10]) > 1
        ours = METRICS["ndcg"](tied_ranks.find_hits(), tied_ranks.count_positives(), 10)
        everywhere = np.nan_to_num(scores.astype(np.float64), nan=-1.0)
        theirs = measure_with_sklearn(everywhere, world.positives.toarray() > 0, 10)["ndcg"]
        np.testing.assert_allclose(ours, theirs, rtol=0, atol=1e-9)
