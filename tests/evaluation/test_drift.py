from __future__ import annotations

import dataclasses
from math import log

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import ks_2samp

from recsys.errors import DataError
from recsys.evaluation.beyond_accuracy import churn
from recsys.evaluation.drift import ListDrift, compare_lists, compare_scores
from recsys.tables import Recommendations, check


def scores(*values: float) -> pl.Series:
    return pl.Series("score", values, dtype=pl.Float32)


def recommend(**lists: str) -> pl.DataFrame:
    """Lists as `Recommendations`: `ann="abc"` shows Ann a, b, c."""
    rows = [(user, place, item, -place) for user, items in lists.items() for place, item in enumerate(items, 1)]
    schema = {"user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String, "score": pl.Float32}
    frame = pl.DataFrame(rows, schema=schema, orient="row").with_columns(
        sources=pl.lit(["als"]), reason=pl.lit(""), variant=pl.lit("main"), model_version=pl.lit("1")
    )
    return check(Recommendations, frame, "lists", "mend the test")


class TestCompareScores:
    def test_hand_worked(self) -> None:
        # Two bins, split after the score 2: before 2 and 2, now 1 and 3; half a score more in each bin.
        found = compare_scores(scores(1, 3, 4, 9), scores(1, 2, 3, 4), bins=2)
        p, q = np.array([1.5, 3.5]) / 5, np.array([2.5, 2.5]) / 5
        assert found.psi == pytest.approx((p[0] - q[0]) * log(p[0] / q[0]) + (p[1] - q[1]) * log(p[1] / q[1]))
        assert found.edges == (2.0,)
        assert found.now == (0.25, 0.75)
        assert found.before == (0.5, 0.5)
        # After 2: 1/4 of now against 2/4; after 4: 3/4 against 4/4.
        assert found.ks == 0.25

    def test_the_same_scores_do_not_drift(self) -> None:
        generator = np.random.default_rng(1)
        before = pl.Series(generator.normal(size=1000))
        found = compare_scores(before.shuffle(seed=1), before)
        assert (found.psi, found.ks) == (0.0, 0.0)
        assert found.now == found.before == pytest.approx([0.1] * 10)

    def test_chance_alone_is_as_large_as_the_docstring_says(self) -> None:
        generator = np.random.default_rng(2)
        found = [compare_scores(*(pl.Series(generator.normal(size=500)) for _ in range(2))).psi for _ in range(300)]
        assert np.mean(found) == pytest.approx(9 * (1 / 500 + 1 / 500), rel=0.15)

    def test_grows_with_the_shift(self) -> None:
        before = pl.Series(np.random.default_rng(3).normal(size=2000))
        found = [compare_scores(before + shift, before) for shift in (0.0, 0.1, 0.5, 2.0)]
        assert sorted(each.psi for each in found) == [each.psi for each in found]
        assert found[1].psi < 0.1 < 0.2 < found[2].psi
        assert compare_scores(before + 100, before).ks == 1.0

    def test_agrees_with_scipy(self) -> None:
        generator = np.random.default_rng(4)
        now, before = generator.normal(0.3, 1.0, size=90).round(1), generator.normal(size=120).round(1)
        expected = ks_2samp(now, before, method="asymp").statistic
        assert compare_scores(pl.Series(now), pl.Series(before)).ks == pytest.approx(expected)

    def test_equal_scores_share_a_bin(self) -> None:
        # The first two of three ends fall on 0.
        found = compare_scores(scores(0, 0, 1, 3), scores(0, 0, 0, 0, 0, 1, 2, 2), bins=4)
        assert (found.edges, found.now, found.before) == ((0.0, 1.0), (0.5, 0.25, 0.25), (0.625, 0.125, 0.25))
        # One score only: the second bin is for what rises above it.
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
        found = compare_scores(scores(*now), scores(*before), bins)
        gaps = [np.mean(np.array(now) <= score) - np.mean(np.array(before) <= score) for score in range(-3, 4)]
        assert found.ks == pytest.approx(np.abs(gaps).max())
        assert np.isfinite(found.psi)
        assert found.psi >= 0.0
        assert len(found.now) == len(found.before) == len(found.edges) + 1 <= bins
        for share, values in ((found.now, now), (found.before, before)):
            places = np.searchsorted(found.edges, values, "left")
            expected = np.bincount(places, minlength=len(share)) / len(values)
            assert share == pytest.approx(expected)

    def test_refusals(self) -> None:
        good = scores(1, 2)
        with pytest.raises(DataError, match="bins: 1"):
            compare_scores(good, good, 1)
        with pytest.raises(DataError, match="scores of now: 0 of 0"):
            compare_scores(scores(), good)
        with pytest.raises(DataError, match="scores before: 2 of 3 are no finite number"):
            compare_scores(good, pl.Series([1.0, None, float("inf")]))


class TestListDrift:
    def test_hand_worked(self) -> None:
        now = recommend(ann="abc", bob="xyz", eve="a")
        before = recommend(ann="bad", bob="xyz", old="pq", gone="p")
        found = compare_lists(now, before, 3)
        assert found.users == 2
        # Ann keeps 2 of 3 items, and 2 of the 4 in either list; Bob keeps all.
        assert found.churn == pytest.approx((1 / 3 + 0) / 2)
        assert found.jaccard == pytest.approx((2 / 4 + 1) / 2)
        # Ann's lists agree at depths 1, 2, 3 by 0, 2/2, 2/3, with weights 1, 0.9, 0.81.
        assert found.rbo == pytest.approx(((0.9 + 0.81 * 2 / 3) / 2.71 + 1) / 2)
        assert found.users_new == pytest.approx(1 / 3)  # eve, of three
        assert found.users_gone == pytest.approx(2 / 4)  # old and gone, of four
        assert found.items_new == pytest.approx(1 / 6)  # c; d, p, q are gone, a is not new

    def test_only_the_first_n_places_count(self) -> None:
        assert compare_lists(recommend(ann="abcd"), recommend(ann="abxy"), 2) == ListDrift(
            1, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0
        )
        # b stood in the third place before: of the first 2 it is new.
        assert compare_lists(recommend(ann="ab"), recommend(ann="axb"), 2).items_new == 0.5

    def test_the_same_lists_do_not_drift(self) -> None:
        lists = recommend(ann="abcdefg", bob="a", 陈="猫狗")
        found = compare_lists(lists, lists, 5)
        assert found == ListDrift(3, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0)
        with pytest.raises(dataclasses.FrozenInstanceError):
            found.users = 1  # type: ignore[misc]

    def test_nothing_in_common(self) -> None:
        assert compare_lists(recommend(ann="ab"), recommend(ann="cd"), 5) == ListDrift(1, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)

    def test_other_users_have_no_means(self) -> None:
        found = compare_lists(recommend(ann="ab"), recommend(bob="ab"), 2)
        assert found == ListDrift(0, None, None, None, 1.0, 1.0, 0.0)

    def test_the_top_weighs_more(self) -> None:
        before = recommend(ann="abcdef")
        top, bottom = (compare_lists(recommend(ann=items), before, 6).rbo for items in ("bacdef", "abcdfe"))
        assert top is not None
        assert bottom is not None
        assert top < bottom < 1.0

    def test_a_shorter_list_agrees_as_far_as_it_goes(self) -> None:
        # Agreement 1, 1, 2/3 at depths 1, 2, 3, whichever list is the short one.
        expected = pytest.approx((1 + 0.9 + 0.81 * 2 / 3) / 2.71)
        assert compare_lists(recommend(ann="ab"), recommend(ann="abc"), 10).rbo == expected
        assert compare_lists(recommend(ann="abc"), recommend(ann="ab"), 10).rbo == expected

    @settings(max_examples=30)
    @given(st.permutations("abcdefg"), st.permutations("abcdefgh"), st.integers(1, 7), st.integers(1, 8))
    def test_is_each_measure_by_its_definition(self, now: list[str], before: list[str], size: int, n: int) -> None:
        new, old = recommend(ann="".join(now[:size])), recommend(ann="".join(before), bob="a")
        found = compare_lists(new, old, n)
        a, b = now[:size][:n], before[:n]
        depths = range(1, max(len(a), len(b)) + 1)
        agreement = sum(0.9 ** (d - 1) * len(set(a[:d]) & set(b[:d])) / d for d in depths)
        assert found.rbo == pytest.approx(agreement / sum(0.9 ** (d - 1) for d in depths))
        assert found.jaccard == pytest.approx(len(set(a) & set(b)) / len(set(a) | set(b)))
        assert found.churn == churn(new, old, n)["churn"].mean()
        assert compare_lists(new.reverse(), old.reverse(), n) == found

    def test_refusals(self) -> None:
        good = recommend(ann="ab")
        with pytest.raises(DataError, match="lists before: no column 'sources'"):
            compare_lists(good, good.drop("sources"), 2)
        with pytest.raises(DataError, match="lists of now: 0 rows"):
            compare_lists(good.clear(), good, 2)
        with pytest.raises(DataError, match="lists of now: n = 0"):
            compare_lists(good, good, 0)
        with pytest.raises(DataError, match=r"lists before: 2 rows .* twice"):
            compare_lists(good, recommend(ann="aa"), 2)
