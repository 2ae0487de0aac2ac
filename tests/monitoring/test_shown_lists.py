"""What users did with the last lists, by hand: means, segments, baselines, ages and weeks."""

from datetime import timedelta

import polars as pl
import pytest
from lists_of_two import make_lists
from worlds import at, make_interactions, make_items

from recsys.monitoring.figures import Figures, Observed, ShownLists
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.nights import ServedNight
from recsys.monitoring.shown_lists import watch_outcomes
from recsys.monitoring.wording import limit_interval
from recsys.tables import BaselineLists

NIGHT = ServedNight("2025-01-11", at(10), at(11))
# Users a, b and c have lists; a and b choose something, d has no list.
EVENTS = make_interactions(
    ("a", "q", 9.0),
    ("a", "x", 10.1),
    ("b", "q", 10.2),
    ("b", "z", 10.3),
    ("d", "x", 10.4),
    # The next night's.
    ("c", "x", 11.0),
)


def make_baselines(*rows: tuple[str, str, str]) -> pl.DataFrame:
    """A row is (user, baseline, items from the top)."""
    filled = [
        {"user_id": user, "baseline": name, "rank": rank, "item_id": item}
        for user, name, items in rows
        for rank, item in enumerate(items, start=1)
    ]
    return pl.DataFrame(filled, schema={name: column.dtype for name, column in BaselineLists.columns().items()})


def watch(events: pl.DataFrame = EVENTS, nights: tuple[Night, ...] = (), **shown: object) -> Figures:
    lists = make_lists([("a", "champion", "xy"), ("b", "challenger", "yz"), ("c", "champion", "xy")])
    figures = Figures()
    observed = Observed(
        run_date="2025-01-12",
        end=at(11),
        snapshot="s",
        items=make_items(*"qxyz").with_columns(category=pl.Series(["old", "new", "new", "old"])),
        interactions=events.lazy(),
        item_columns=("category",),
        shown=ShownLists(NIGHT, lists.lazy(), **shown),  # type: ignore[arg-type]
    )
    watch_outcomes(figures, observed, nights)
    return figures


class TestTheLastLists:
    def test_means_over_the_users_who_chose_something(self) -> None:
        figures = watch()
        assert figures.values["outcomes.users"] == 2
        assert figures.values["outcomes.hit_rate"] == 1
        # a: the only chosen item on rank 1; b: one of two on rank 2.
        discount = 0.6309297535714575
        assert figures.values["outcomes.ndcg"] == pytest.approx((1 + discount / (1 + discount)) / 2, abs=1e-6)
        assert figures.values["outcomes.first_rank"] == 1.5
        assert figures.segments["outcomes.first_rank"]["first hit at rank 1"] == 0.5
        assert figures.values["outcomes.recall"] == pytest.approx(2 / 3, abs=1e-6)
        assert figures.segments["outcomes.recall"] == {"category: old": 0.5, "category: new": 1.0}

    def test_variants_and_histories_are_segments_with_intervals(self) -> None:
        figures = watch()
        parts = {"variant: challenger", "variant: champion", "users: new"}
        assert set(figures.segments["outcomes.ndcg"]) == parts
        assert set(figures.intervals["outcomes.ndcg"]) == {"", *parts}
        low, high = limit_interval("outcomes.hit_rate", figures.intervals["outcomes.hit_rate"][""])
        # Two users prove little, and a share is no more than 1.
        assert low < 0.5
        assert high == 1

    def test_nobody_chose_anything(self) -> None:
        assert watch(EVENTS.filter(pl.col("time") < at(10))).values == {"outcomes.users": 0}

    def test_nothing_is_complete(self) -> None:
        figures = Figures()
        watch_outcomes(figures, Observed("2025-01-12", at(11), "s", make_items("x"), EVENTS.lazy()), ())
        assert figures.values == {}


class TestBaselines:
    def test_the_same_users(self) -> None:
        baselines = make_baselines(
            ("a", "blend", "yx"), ("a", "popularity", "zq"), ("c", "blend", "xy"), ("c", "popularity", "xy")
        )
        figures = watch(baselines=baselines).values
        # c did nothing.
        assert figures["outcomes.sample_users"] == 1
        assert figures["outcomes.sample_ndcg"] == 1
        assert figures["outcomes.blend_ndcg"] == pytest.approx(0.63093, abs=1e-5)
        assert figures["outcomes.popularity_ndcg"] == 0
        assert figures["outcomes.over_blend"] == pytest.approx(1 - 0.63093, abs=1e-5)
        assert figures["outcomes.popularity_hit_rate"] == 0

    def test_no_sampled_user_chose_anything(self) -> None:
        figures = watch(baselines=make_baselines(("c", "blend", "xy"), ("c", "popularity", "xy")))
        assert "outcomes.over_blend" not in figures.values


def test_older_lists_on_the_same_events() -> None:
    def sketch(**lists: str) -> pl.DataFrame:
        return make_lists([(user, "champion", items) for user, items in lists.items()])

    earlier = {0: sketch(a="xy", b="yz"), 1: sketch(a="yz", b="qz"), 3: sketch(a="zz"[:1])}
    figures = watch(earlier=earlier).values
    # Only a had all of these lists.
    assert figures["outcomes.by_age_users"] == 1
    assert {name: figures[f"outcomes.by_age.{name}"] for name in (0, 1, 3)} == {0: 1.0, 1: 0.0, 3: 0.0}


def test_a_week_weighs_nights_by_their_users() -> None:
    def night(day: int, users: float, hit_rate: float) -> Night:
        run_date = (at(10) + timedelta(days=day)).date().isoformat()
        figures = {"outcomes.users": users, "outcomes.hit_rate": hit_rate}
        intervals = {"outcomes.hit_rate": {"": [hit_rate - 0.1, hit_rate + 0.1]}}
        return Night(run_date, "", "s", "1", "c", "alert", figures, {}, intervals=intervals)

    # The oldest is more than a week ago; tonight's two users hit.
    nights = tuple(night(day, 98 if day == 0 else 0, 0.0) for day in range(-6, 1))
    figures = watch(nights=nights)
    assert figures.values["outcomes.week.hit_rate"] == pytest.approx(0.02)
    low, high = figures.intervals["outcomes.week.hit_rate"][""]
    assert high - low == pytest.approx(0.2, rel=0.05)
