"""The comparison of two variants: who is counted, what decides, and what is said."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from lists_of_two import make_config, make_lists, make_shop, publish_lists
from worlds import at, make_interactions

from recsys.config import Config
from recsys.dataset.windows import cut
from recsys.errors import DataError
from recsys.evaluation.two_samples import Sample
from recsys.monitoring.ab import Plan, SampleRatio, compare_sample, decide
from recsys.monitoring.experiment import collect_events, collect_totals, summarize_history
from recsys.monitoring.nights import find_test
from recsys.monitoring.power import predict_days

CHAMPION, CHALLENGER = "champion", "challenger"


def publish_three_nights(home: Path) -> None:
    """Users a, b: champion; c, d: challenger; e: changes; f: champion, from the second night on."""
    for day in (11, 12, 13):
        rows = [(user, CHAMPION, "xyz") for user in "ab"] + [(user, CHALLENGER, "zyx") for user in "cd"]
        rows.append(("e", CHALLENGER if day == 13 else CHAMPION, "xyz"))
        if day > 11:
            rows.append(("f", CHAMPION, "xyz"))
        publish_lists(home, f"2025-01-{day}", make_lists(rows))


class TestExperiment:
    def test_users_count_from_their_first_list_on_whatever_they_do(self, tmp_path: Path) -> None:
        publish_three_nights(tmp_path)
        nights, _ = find_test(tmp_path, CHAMPION, None)
        events = make_interactions(
            {"user": "a", "item": "x", "day": 10.5, "value": 2.0},
            {"user": "a", "item": "q", "day": 11.5, "value": 4.0},
            ("c", "q", 12.5),
            ("d", "z", 9.5),
            ("e", "x", 10.5),
            # Before the first list of f, and after it.
            ("f", "x", 10.5),
            ("f", "z", 11.5),
        )
        history = make_interactions(("a", "x", 1.0), ("a", "y", 9.0), ("b", "x", 9.5), ("b", "x", 9.6)).lazy()
        made = collect_events(nights, (CHAMPION, CHALLENGER), events, history, 5)
        assert made.users["user_id"].to_list() == ["a", "b", "c", "d", "f"]
        assert made.users["treated"].to_list() == [False, False, True, True, False]
        assert (made.changed, made.strangers) == (1, 0)
        assert made.sample("hit").values.tolist() == [1, 0, 0, 0, 1]
        assert made.sample("conversion").values.tolist() == [1, 0, 1, 0, 1]
        assert made.sample("events").values.tolist() == [2, 0, 1, 0, 1]
        assert made.sample("value").values.tolist() == [6, 0, 0, 0, 0]
        # a: rank 1 on the first of three nights. f: rank 3 on the first of two.
        assert made.sample("ndcg").values == pytest.approx([1 / 3, 0, 0, 0, 0.5 / 2])
        # As known after the first night.
        assert made.sample("hit", 1).values.tolist() == [1, 0, 0, 0]
        assert made.sample("events").before.tolist() == [1, 2, 0, 0, 0]
        assert made.before["items"].to_list() == [2, 1, 0, 0, 0]
        assert made.count_days(2) == 2
        assert made.count_days(3) == pytest.approx(2.5, abs=1e-6)

    def test_history_ends_where_the_test_begins(self) -> None:
        events = make_interactions(
            {"user": "a", "item": "x", "day": 8.0, "value": 1.0},
            {"user": "a", "item": "y", "day": 9.0, "value": 2.0},
            {"user": "a", "item": "z", "day": 9.5, "positive": False},
            {"user": "a", "item": "w", "day": 10.0, "value": 9.0},
        )
        users = pl.Series(["b", "a"])
        made = summarize_history(events.lazy(), users, at(10), 1.0)
        assert made.rows() == [(0, 0.0, 0), (1, 2.0, 3)]
        assert made.equals(summarize_history(cut(events, at(10)).lazy(), users, at(10), 1.0))

    def test_nights_after_the_last_event_are_left_out(self, tmp_path: Path) -> None:
        publish_three_nights(tmp_path)
        nights, _ = find_test(tmp_path, CHAMPION, None)
        made = collect_events(nights, (CHAMPION, CHALLENGER), make_interactions(("a", "x", 11.5)), None, 0)
        assert [night.run_date for night in made.nights] == ["2025-01-11", "2025-01-12"]
        # Nobody has changed yet.
        assert made.changed == 0

    def test_a_table_of_values(self, tmp_path: Path) -> None:
        publish_three_nights(tmp_path)
        nights, _ = find_test(tmp_path, CHAMPION, None)
        table = pl.DataFrame({"user_id": ["a", "zz", "d"], "value": [2.0, 9.0, 1.0], "value_before": [1.0, 1.0, 0.0]})
        made = collect_totals(nights, (CHAMPION, CHALLENGER), table, None, 0)
        assert made.metrics == ("value",)
        assert made.sample("value").values.tolist() == [2, 0, 0, 1, 0]
        assert made.sample("value").before.tolist() == [1, 0, 0, 0, 0]
        assert (made.strangers, made.missing) == (1, 3)
        with pytest.raises(DataError, match="no metric 'hit' in them; found value; choose one with --metric"):
            made.sample("hit")
        with pytest.raises(DataError, match="none of the 1 user of the table, such as 'zz', has a list"):
            collect_totals(nights, (CHAMPION, CHALLENGER), table.filter(pl.col("user_id") == "zz"), None, 0)

    def test_events_that_cannot_be_used(self, tmp_path: Path) -> None:
        publish_three_nights(tmp_path)
        nights, _ = find_test(tmp_path, CHAMPION, None)
        for events, message in (
            (
                make_interactions(("a", "x", 9.9)),
                "no event after the first list of 2025-01-11; the last is from 2025-01-10",
            ),
            (make_interactions(("a", "x")), "no event after the first list of 2025-01-11; no event has a time"),
            (make_interactions(("A", "x", 10.5)), "none of the 5 users with a list has a positive event"),
        ):
            with pytest.raises(DataError, match=message):
                collect_events(nights, (CHAMPION, CHALLENGER), events, None, 0)
        lists = make_lists([("a", CHAMPION, "x"), ("b", CHALLENGER, "x"), ("c", CHALLENGER, "x")])
        publish_lists(tmp_path / "few", "2025-01-11", lists)
        nights, _ = find_test(tmp_path / "few", CHAMPION, None)
        with pytest.raises(DataError, match="1 user saw only the variant 'champion', expected at least 2"):
            collect_events(nights, (CHAMPION, CHALLENGER), make_interactions(("a", "x", 10.5)), None, 0)


def draw(lift: float, users: int = 20_000, seed: int = 0) -> Sample:
    rng = np.random.default_rng(seed)
    treated = rng.random(users) < 0.5
    return Sample((rng.random(users) < 0.2 * (1 + lift * treated)).astype(float), treated)


class TestDecide:
    def decide(self, sample: Sample, ratio: SampleRatio | None = None, **plan: object) -> str:
        chosen = replace(Plan(), **plan)
        return decide(compare_sample("hit", sample, 28.0, chosen), sample, ratio, chosen)

    def test_the_answers(self) -> None:
        assert self.decide(draw(0.2)) == "better"
        assert self.decide(draw(-0.2)) == "worse"
        assert self.decide(draw(0.0)) == "cannot tell"
        assert self.decide(draw(0.0, users=100_000), lift=0.1) == "as good"
        assert self.decide(draw(0.0, users=1000), lift=0.1) == "cannot tell"

    def test_daily_looks_ask_for_more(self) -> None:
        sample = draw(0.075, seed=2)
        statistic = compare_sample("hit", sample, 28.0, Plan()).once.statistic
        assert 1.96 < statistic < 3.0
        assert self.decide(sample) == "better"
        assert self.decide(sample, looks="daily") == "cannot tell"
        assert self.decide(draw(0.2), looks="daily") == "better"

    def test_a_sample_ratio_that_does_not_fit_voids_everything(self) -> None:
        assert self.decide(draw(0.2), SampleRatio((10, 90), 0.5, 0.0009)) == "not valid"
        assert self.decide(draw(0.2), SampleRatio((10, 90), 0.5, 0.0011)) == "better"

    def test_too_little_data(self) -> None:
        treated = np.arange(1000) < 500
        rare = np.zeros(1000)
        rare[:19] = 1
        assert self.decide(Sample(rare, treated)) == "cannot tell"
        rare[19] = 1
        assert self.decide(Sample(rare, treated)) == "better"
        few = np.arange(529) < 29
        assert self.decide(Sample(few.astype(float), few)) == "cannot tell"
        assert self.decide(Sample(np.zeros(1000), treated)) == "cannot tell"


class TestPredictDays:
    def test_independent_days(self) -> None:
        days = np.arange(1.0, 11.0)
        assert predict_days(days, 0.1 / np.sqrt(days), 0.01) == pytest.approx(100)
        assert predict_days(days[:2], 0.1 / np.sqrt(days[:2]), 0.01) == pytest.approx(100)

    def test_days_that_repeat_one_another(self) -> None:
        days = np.arange(1.0, 11.0)
        slow = 0.1 * np.sqrt(0.5 + 0.5 / days)
        assert predict_days(days, slow, 0.073) == pytest.approx(0.005 / (0.073**2 - 0.005))
        assert predict_days(days, slow, 0.01) is None
        assert predict_days(days, np.full(10, 0.1), 0.05) is None

    def test_a_lift_that_showed_already(self) -> None:
        assert predict_days([1.0, 2.0, 3.0], [0.3, 0.2, 0.1], 0.25) == 2.0


@pytest.fixture(scope="module")
def config() -> Config:
    return make_config()


def test_a_world_with_a_known_effect(config: Config, tmp_path: Path) -> None:
    from recsys.monitoring.verdict import judge

    events = make_shop(tmp_path, config, users=1500, nights=7, effect=0.6, share=0.4)
    nights, treatment = find_test(tmp_path, CHAMPION, None)
    history = pl.scan_parquet(next((tmp_path / "snapshots").glob("*/interactions.parquet")))
    times = events.select(
        "user_id",
        "item_id",
        pl.col("timestamp").str.to_datetime(time_unit="us", time_zone="UTC").alias("time"),
        pl.lit(None, dtype=pl.Float32).alias("value"),
        pl.lit(True).alias("positive"),
    )
    made = collect_events(nights, (CHAMPION, treatment), times, history, 28)
    plan = Plan(share=0.4, lift=0.1, segments=True)
    result = judge(made, nights, (CHAMPION, treatment), plan, config.evaluation.segments)
    assert result.verdict == "better"
    assert result.versions == (("1",), ("2",))
    assert (result.first, result.last, len(result.looks)) == ("2025-03-01", "2025-03-07", 7)
    deciding = result.comparisons[0]
    assert deciding.once.low < deciding.once.difference < deciding.once.high
    assert deciding.daily.low < deciding.once.low
    # What a user did in the month before says how eager the user is.
    assert deciding.once.variance_left < 0.97
    assert deciding.once.standard_error < deciding.unadjusted.standard_error
    hits = next(row for row in result.comparisons if row.metric == "hits").once
    assert hits.lift_low < 0.6 < hits.lift_high
    assert [look.daily.high - look.daily.low for look in result.looks][-1] > 0
    assert result.looks[-1].once == deciding.once
    assert not result.sample_ratio.alarm
    assert result.prediction.days > result.days
    assert result.prediction.users > 1500
    assert [row.segment for row in result.segments] == ["new", "light", "heavy"]
    assert sum(sum(row.users) for row in result.segments) == 1500
    # All of it fits JSON.
    assert result.to_dict()["verdict"] == "better"
