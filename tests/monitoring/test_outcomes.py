"""The join of events to lists: which event counts for which list, by hand and against the metrics."""

from datetime import UTC, datetime, time, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from lists_of_two import make_lists, publish_lists
from worlds import at, make_interactions

from recsys.errors import DataError
from recsys.evaluation.metrics import ndcg
from recsys.monitoring.nights import ServedNight, describe_gaps, find_test, list_periods
from recsys.monitoring.outcomes import count_events, measure_night, select_events

NIGHT = ServedNight("2025-01-11", at(10), at(11))


def measure(lists: pl.DataFrame, events: pl.DataFrame, night: ServedNight = NIGHT) -> pl.DataFrame:
    return measure_night(lists.lazy(), select_events(events, night))


class TestPeriods:
    def test_lists_are_shown_until_the_next_ones(self) -> None:
        nights = list_periods(["2025-01-11", "2025-01-12", "2025-01-15"], time(3, 30))
        hours = [
            (night.start.day, night.start.hour, (night.end - night.start) / timedelta(hours=1)) for night in nights
        ]
        assert hours == [(11, 3, 24), (12, 3, 72), (15, 3, 24)]
        assert nights[0].start == datetime(2025, 1, 11, 3, 30, tzinfo=UTC)
        assert list_periods([]) == []

    def test_a_period_is_half_open(self) -> None:
        second = 1 / 86_400
        days = [10 - second, 10.0, 11 - second, 11.0]
        events = make_interactions(*(("u", f"i{number}", day) for number, day in enumerate(days)))
        assert select_events(events, NIGHT)["item_id"].to_list() == ["i1", "i2"]


class TestMeasureNight:
    def test_by_hand(self) -> None:
        lists = make_lists([("a", "champion", "xyz"), ("b", "challenger", "zyx"), ("c", "champion", "xy")])
        events = make_interactions(
            {"user": "a", "item": "x", "day": 10.1, "value": 2.0},
            {"user": "a", "item": "z", "day": 10.2, "value": 3.0},
            # The same item again, another that was not shown, and a view: positive events only.
            {"user": "a", "item": "x", "day": 10.3},
            {"user": "a", "item": "q", "day": 10.4},
            {"user": "a", "item": "y", "day": 10.5, "positive": False, "consumed": False},
            # Before and after the night.
            ("b", "z", 9.9),
            ("b", "y", 11.0),
            # A user without a list.
            ("d", "x", 10.5),
        )
        rows = measure(lists, events).to_dicts()
        assert [row["user_id"] for row in rows] == ["a", "b", "c"]
        a, b, c = rows
        # Hits at ranks 1 and 3 of three positives, in lists of three.
        assert a["ndcg"] == pytest.approx((1 + 1 / 2) / (1 + 1 / np.log2(3) + 1 / 2))
        assert {**a, "ndcg": 0} == {
            "user_id": "a",
            "variant": "champion",
            "model_version": "1",
            "events": 4,
            "items": 3,
            "hits": 2,
            "first_rank": 1,
            "ndcg": 0,
            "value": 5.0,
        }
        for row in (b, c):
            assert (row["events"], row["hits"], row["first_rank"], row["ndcg"], row["value"]) == (0, 0, None, 0.0, 0.0)
        assert count_events(select_events(events, NIGHT))["user_id"].to_list() == ["a", "d"]

    @given(st.integers(0, 2**32 - 1))
    def test_ndcg_is_that_of_the_metrics(self, seed: int) -> None:
        rng = np.random.default_rng(seed)
        users, items, n = 6, 12, 4
        shown = rng.random((users, items)).argsort(axis=1)[:, :n]
        chosen = rng.random((users, items)) < 0.3
        lists = make_lists([(f"u{user}", "champion", [f"i{item}" for item in shown[user]]) for user in range(users)])
        events = make_interactions(("extra", "i0", 10.5), *((f"u{u}", f"i{i}", 10.5) for u, i in np.argwhere(chosen)))
        measured = measure(lists, events)
        some = chosen.any(axis=1)
        hits = np.take_along_axis(chosen, shown, axis=1)
        expected = np.zeros(users)
        if some.any():
            expected[some] = ndcg(hits[some], chosen[some].sum(axis=1), n)
        np.testing.assert_allclose(measured["ndcg"].to_numpy(), expected, atol=1e-12)
        assert measured["hits"].to_list() == hits.sum(axis=1).tolist()


class TestFindTest:
    def publish(self, home: Path, day: int, variants: str, *, version: str = "1", **canary: object) -> None:
        names = {"c": "champion", "t": "challenger", "r": "ranker", "o": "other"}
        lists = make_lists([(f"u{number}", names[letter], "xy") for number, letter in enumerate(variants)])
        lists = lists.with_columns(
            pl.when(pl.col("variant") == "champion")
            .then(pl.lit(version))
            .otherwise("model_version")
            .alias("model_version")
        )
        publish_lists(home, f"2025-01-{day:02}", lists, {"canary": canary} if canary else {})

    def find(self, home: Path, *args: str | None) -> tuple[list[str], str]:
        nights, treatment = find_test(home, "champion", *(args or (None,)))
        return [night.served.run_date for night in nights], treatment

    def test_the_newest_nights_in_a_row_with_the_same_models_and_canary(self, tmp_path: Path) -> None:
        self.publish(tmp_path, 1, "ctct", key="old")
        self.publish(tmp_path, 2, "ctct", key="new", version="0")
        for day in (3, 4):
            self.publish(tmp_path, day, "ctct", key="new")
        for day in (5, 6):
            self.publish(tmp_path, day, "rrrr")
        assert self.find(tmp_path) == (["2025-01-03", "2025-01-04"], "challenger")
        given, _ = self.find(tmp_path, None, "2025-01-01", "2025-01-03")
        assert given == ["2025-01-01", "2025-01-02", "2025-01-03"]

    def test_a_night_of_one_variant_ends_a_test(self, tmp_path: Path) -> None:
        for day, variants in enumerate(("ct", "cc", "ct", "ct"), start=1):
            self.publish(tmp_path, day, variants)
        assert self.find(tmp_path)[0] == ["2025-01-03", "2025-01-04"]
        nights, _ = find_test(tmp_path, "champion", None, "2025-01-01")
        assert len(nights) == 3
        assert "nights before 2025-01-03" in str(describe_gaps(nights))

    def test_errors_name_what_was_found(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"none are published .* run 'recsys generate' first"):
            self.find(tmp_path)
        self.publish(tmp_path, 1, "rr")
        with pytest.raises(
            DataError, match=r"no night shows the variants 'champion' and another; found ranker; start a"
        ):
            self.find(tmp_path)
        with pytest.raises(DataError, match=r"from 2025-02-01 until 2025-01-01: none of the 1 published run date"):
            self.find(tmp_path, None, "2025-02-01")
        with pytest.raises(DataError, match=r"run date '2025-1-1': expected YYYY-MM-DD"):
            self.find(tmp_path, None, "2025-1-1")
        self.publish(tmp_path, 2, "cto")
        with pytest.raises(DataError, match=r"challenger, other can all be compared .* --treatment"):
            self.find(tmp_path)
        assert self.find(tmp_path, "other") == (["2025-01-02"], "other")
