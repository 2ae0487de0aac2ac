"""What lists lost above chance, worked by hand."""

import pytest

from recsys.config import MonitoringConfig
from recsys.monitoring.falls import Loss, measure_losses
from recsys.monitoring.figures import Figures
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.reference import select_reference

CHANCE = 0.01


def make_figures(ours: float, popularity: float, users: int = 400) -> tuple[dict[str, float], dict]:
    values = {
        "outcomes.sample_users": users,
        "outcomes.random_ndcg": CHANCE,
        "outcomes.sample_ndcg": ours,
        "outcomes.popularity_ndcg": popularity,
    }
    names = ("outcomes.sample_ndcg", "outcomes.popularity_ndcg")
    return values, {name: {"": [values[name] - 0.00196, values[name] + 0.00196]} for name in names}


def make_night(day: int, figures: tuple[dict[str, float], dict], cause: str = "") -> Night:
    values, intervals = figures
    alerts = [{"cause": cause}] if cause else []
    verdict = "alert" if cause else "calm"
    return Night(f"2025-01-{day:02}", "", "s", "1", "c", verdict, values, {}, alerts=alerts, intervals=intervals)


def measure(nights: list[Night], tonight: tuple[dict[str, float], dict]) -> dict[str, Loss]:
    reference = select_reference(nights, "2025-01-31", MonitoringConfig())
    return measure_losses(Figures(values=tonight[0], intervals=tonight[1]), reference, nights)


GOOD = [make_night(day, make_figures(0.21, 0.05)) for day in range(1, 8)]


def test_shares_above_chance_are_comparable() -> None:
    losses = measure(GOOD, make_figures(0.11, 0.03))
    assert losses["sample"].share == pytest.approx(0.5)
    assert losses["popularity"].share == pytest.approx(0.5)
    # 0.001 of tonight and half of 0.001 / sqrt(7) of the level, over 0.04.
    assert losses["popularity"].error == pytest.approx((1 + 0.25 / 7) ** 0.5 * 0.001 / 0.04)
    assert set(losses) == {"sample", "popularity"}


def test_all_at_chance_fell_together_however_good_they_were() -> None:
    losses = measure(GOOD, make_figures(CHANCE, CHANCE))
    assert losses["popularity"].follows(losses["sample"]) is True


def test_the_nights_of_the_fall_count_by_their_users() -> None:
    fallen = [
        make_night(8, make_figures(0.01, 0.05), "volume_low"),
        make_night(9, make_figures(0.11, 0.05, users=100), "lists_worse"),
    ]
    losses = measure([*GOOD, *fallen], make_figures(0.06, 0.05, users=300))
    assert losses["sample"].share == pytest.approx(1 - (0.25 * 0.1 + 0.75 * 0.05) / 0.2)
    assert losses["popularity"].follows(losses["sample"]) is False


def test_too_little_is_no_answer() -> None:
    assert Loss(0.4, 0.2).follows(Loss(0.9, 0.01)) is None
    assert Loss(0.4, 0.01).follows(Loss(-0.1, 0.01)) is None
    # Popularity at chance has nothing to lose; nights without baselines measure nothing.
    assert "popularity" not in measure([make_night(1, make_figures(0.2, CHANCE))], make_figures(0.1, CHANCE))
    assert measure(GOOD, ({}, {})) == {}
    assert measure([], make_figures(0.1, 0.1)) == {}
