from __future__ import annotations

import dataclasses
from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import ListDrift, compare_lists, compare_scores
from recsys.tables import Recommendations, check


def scores(*values: float) -> pl.Series:
    return pl.Series("score", values, dtype=pl.Float32)


def recommend(**lists: str) -> pl.DataFrame:
    """Lists as `Recommendations`: `ann="abc"` lists a, b, c for Ann."""
    rows = [(user, rank, item, -rank) for user, items in lists.items() for rank, item in enumerate(items, 1)]
    schema = {"user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String, "score": pl.Float32}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        sources=pl.lit(["als"]), reason=pl.lit(""), variant=pl.lit("main"), model_version=pl.lit("1")
    )
    return check(Recommendations, frame, "lists", "fix the test")


class TestCompareScores:
    def test_hand_worked(self) -> None:
        # Two bins, split after the score 2: before 2 and 2, now 1 and 3; half a score more in each bin.
        drift = compare_scores(scores(1, 3, 4, 9), scores(1, 2, 3, 4), bins=2)
        p, q = np.array([1.5, 3.5]) / 5, np.array([2.5, 2.5]) / 5
        assert drift.psi == pytest.approx((p[0] - q[0]) * log(p[0] / q[0]) + (p[1] - q[1]) * log(p[1] / q[1]))
        assert drift.edges == (2.0,)
        assert drift.now == (0.25, 0.75)
        assert drift.before == (0.5, 0.5)
        # After 2: 1/4 of now against 2/4; after 4: 3/4 against 4/4.
        assert drift.ks == 0.25

    def test_the_same_scores_do_not_drift(self) -> None:
        generator = np.random.default_rng(1)
        before = pl.Series(generator.normal(size=1000))
        drift = compare_scores(before.shuffle(seed=1), before)
        assert (drift.psi, drift.ks) == (0.0, 0.0)
        assert drift.now == drift.before == pytest.approx([0.1] * 10)

    def test_expected_value_without_drift(self) -> None:
        generator = np.random.default_rng(2)
        drift = [compare_scores(*(pl.Series(generator.normal(size=500)) for _ in range(2))).psi for _ in range(300)]
        assert np.mean(drift) == pytest.approx(9 * (1 / 500 + 1 / 500), rel=0.15)

    def test_grows_with_the_shift(self) -> None:
        before = pl.Series(np.random.default_rng(3).normal(size=2000))
        drift = [compare_scores(before + shift, before) for shift in (0.0, 0.1, 0.5, 2.0)]
        assert sorted(each.psi for each in drift) == [each.psi for each in drift]
        assert drift[1].psi < 0.1 < 0.2 < drift[2].psi
        assert compare_scores(before + 100, before).ks == 1.0

    def test_equal_scores_share_a_bin(self) -> None:
        # The first two of three ends fall on 0.
        drift = compare_scores(scores(0, 0, 1, 3), scores(0, 0, 0, 0, 0, 1, 2, 2), bins=4)
        assert (drift.edges, drift.now, drift.before) == ((0.0, 1.0), (0.5, 0.25, 0.25), (0.625, 0.125, 0.25))
        # With a single score, the second bin is for scores above it.
        constant = compare_scores(scores(5, 5), scores(5, 5))
        assert (constant.psi, constant.ks, constant.edges, constant.now) == (0.0, 0.0, (5.0,), (1.0, 0.0))
        assert compare_scores(scores(6, 6), scores(5, 5)).psi > 0.25

    @settings(max_examples=50)
    @given(
        st.lists(st.integers(-3, 3), min_size=1, max_size=30),
        st.lists(st.integers(-3, 3), min_size=1, max_size=30),
        st.integers(2, 12),
    )
    def test_is_each_measure_by_its_definition(self, now: list[int], before: list[int], bins: int) -> None:
        drift = compare_scores(scores(*now), scores(*before), bins)
        gaps = [np.mean(np.array(now) <= score) - np.mean(np.array(before) <= score) for score in range(-3, 4)]
        assert drift.ks == pytest.approx(np.abs(gaps).max())
        assert np.isfinite(drift.psi)
        assert drift.psi >= 0.0
        assert len(drift.now) == len(drift.before) == len(drift.edges) + 1 <= bins
        for share, values in ((drift.now, now), (drift.before, before)):
            bin_index = np.searchsorted(drift.edges, values, "left")
            expected = np.bincount(bin_index, minlength=len(share)) / len(values)
            assert share == pytest.approx(expected)

    def test_refusals(self) -> None:
        good = scores(1, 2)
        with pytest.raises(DataError, match="bins: 1"):
            compare_scores(good, good, 1)
        with pytest.raises(DataError, match="new scores: 0 of 0"):
            compare_scores(scores(), good)
        with pytest.raises(DataError, match="old scores: 2 of 3 are not finite numbers"):
            compare_scores(good, pl.Series([1.0, None, float("inf")]))


class TestListDrift:
    def test_hand_worked(self) -> None:
        now = recommend(ann="abc", bob="xyz", eve="a")
        before = recommend(ann="bad", bob="xyz", old="pq", gone="p")
        drift = compare_lists(now, before, 3)
        assert drift.users == 2
        # Ann keeps 2 of 3 items, and 2 of the 4 in either list; Bob keeps all.
        assert drift.churn == pytest.approx((1 / 3 + 0) / 2)
        assert drift.jaccard == pytest.approx((2 / 4 + 1) / 2)
        # The agreement of Ann's lists at depths 1, 2, 3 is 0, 2/2, 2/3, with weights 1, 0.9, 0.81.
        assert drift.rbo == pytest.approx(((0.9 + 0.81 * 2 / 3) / 2.71 + 1) / 2)
        assert drift.users_new == pytest.approx(1 / 3)  # eve, of three
        assert drift.users_gone == pytest.approx(2 / 4)  # old and gone, of four
        assert drift.items_new == pytest.approx(1 / 6)  # c; d, p, q are gone, a is not new

    def test_only_the_first_n_ranks_count(self) -> None:
        assert compare_lists(recommend(ann="abcd"), recommend(ann="abxy"), 2) == ListDrift(
            1, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0
        )
        # b had rank 3 before: among the first 2 it is new.
        assert compare_lists(recommend(ann="ab"), recommend(ann="axb"), 2).items_new == 0.5

    def test_the_same_lists_do_not_drift(self) -> None:
        lists = recommend(ann="abcdefg", bob="a", 陈="猫狗")
        drift = compare_lists(lists, lists, 5)
        assert drift == ListDrift(3, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            drift.users = 1  # type: ignore[misc]

    def test_nothing_in_common(self) -> None:
        assert compare_lists(recommend(ann="ab"), recommend(ann="cd"), 5) == ListDrift(1, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)

    def test_means_are_none_without_common_users(self) -> None:
        drift = compare_lists(recommend(ann="ab"), recommend(bob="ab"), 2)
        assert drift == ListDrift(0, None, None, None, 1.0, 1.0, 0.0)

    def test_the_top_has_more_weight(self) -> None:
        before = recommend(ann="abcdef")
        top, bottom = (compare_lists(recommend(ann=items), before, 6).rbo for items in ("bacdef", "abcdfe"))
        assert top is not None
        assert bottom is not None
        assert top < bottom < 1.0

    def test_a_shorter_list_is_compared_to_the_end_of_the_longer(self) -> None:
        # Agreement 1, 1, 2/3 at depths 1, 2, 3, whichever list is the short one.
        expected = pytest.approx((1 + 0.9 + 0.81 * 2 / 3) / 2.71)
        assert compare_lists(recommend(ann="ab"), recommend(ann="abc"), 10).rbo == expected
        assert compare_lists(recommend(ann="abc"), recommend(ann="ab"), 10).rbo == expected

    @settings(max_examples=30)
    @given(st.permutations("abcdefg"), st.permutations("abcdefgh"), st.integers(1, 7), st.integers(1, 8))
    def test_is_each_measure_by_its_definition(self, now: list[str], before: list[str], size: int, n: int) -> None:
        new, old = recommend(ann="".join(now[:size])), recommend(ann="".join(before), bob="a")
        drift = compare_lists(new, old, n)
        a, b = now[:size][:n], before[:n]
        depths = range(1, max(len(a), len(b)) + 1)
        agreement = sum(0.9 ** (d - 1) * len(set(a[:d]) & set(b[:d])) / d for d in depths)
        assert drift.rbo == pytest.approx(agreement / sum(0.9 ** (d - 1) for d in depths))
        assert drift.jaccard == pytest.approx(len(set(a) & set(b)) / len(set(a) | set(b)))
        assert drift.churn == churn(new, old, n)["churn"].mean()
        assert compare_lists(new.reverse(), old.reverse(), n) == drift

    def test_refusals(self) -> None:
        good = recommend(ann="ab")
        with pytest.raises(DataError, match="old lists: no column 'sources'"):
            compare_lists(good, good.drop("sources"), 2)
        with pytest.raises(DataError, match="new lists: 0 rows"):
            compare_lists(good.clear(), good, 2)
        with pytest.raises(DataError, match="new lists: n = 0"):
            compare_lists(good, good, 0)
        with pytest.raises(DataError, match=r"old lists: 2 rows .* a repeated item"):
            compare_lists(good, recommend(ann="aa"), 2)
