"""What the last good nights make normal."""

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest

from recsys.config import LimitConfig, MonitoringConfig
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.reference import Reference, select_reference

MONDAY = date(2025, 3, 3)
SETTINGS = MonitoringConfig()


def make_night(day: int, verdict: str = "calm", accepted: str = "", **figures: float) -> Night:
    """A night that many days after a Monday; two underscores in a name stand for a dot."""
    named = {name.replace("__", "."): value for name, value in figures.items()}
    run_date = (MONDAY + timedelta(days=day)).isoformat()
    return Night(run_date, "", "s", "1", "c", verdict, named, {}, accepted=accepted)  # type: ignore[arg-type]


def make_reference(values: list[float], name: str, config: MonitoringConfig = SETTINGS) -> Reference:
    nights = [make_night(day, **{name.replace(".", "__"): value}) for day, value in enumerate(values)]
    return select_reference(nights, (MONDAY + timedelta(days=len(values))).isoformat(), config)


class TestWhichNightsCount:
    def test_a_night_with_an_alert_is_no_reference(self) -> None:
        nights = [make_night(0), make_night(1, "alert"), make_night(2), make_night(3, "alert")]
        chosen = select_reference(nights, "2025-03-07", SETTINGS)
        assert [night.run_date for night in chosen.nights] == ["2025-03-03", "2025-03-05"]

    def test_the_last_ones_before_the_run_date(self) -> None:
        config = MonitoringConfig(reference_nights=5)
        chosen = select_reference([make_night(day) for day in range(20)], "2025-03-13", config)
        assert [night.run_date for night in chosen.nights] == [f"2025-03-{day:02d}" for day in range(8, 13)]

    def test_an_accepted_night_starts_a_new_reference(self) -> None:
        nights = [make_night(0), make_night(1, "alert", accepted="new shop"), make_night(2)]
        chosen = select_reference(nights, "2025-03-07", SETTINGS)
        assert [night.run_date for night in chosen.nights] == ["2025-03-04", "2025-03-05"]


class TestRanges:
    def test_too_few_nights_leave_the_fixed_limits(self) -> None:
        reference = make_reference([1.0, 1.0], "data.users_kept")
        expected = reference.expect("data.users_kept")
        assert expected is not None
        assert (expected.value, expected.low, expected.high, expected.nights) == (1.0, 0.9, None, 0)
        assert make_reference([100, 100], "arrival.events").expect("arrival.events") is None

    def test_an_unknown_figure_is_only_recorded(self) -> None:
        assert make_reference([1.0] * 20, "shop.size").expect("shop.size") is None

    def test_counts_keep_the_noise_of_a_count(self) -> None:
        few = make_reference([4.0] * 20, "arrival.events.buy").expect("arrival.events.buy")
        many = make_reference([400.0] * 20, "arrival.events.buy").expect("arrival.events.buy")
        assert few is not None
        assert many is not None
        # No event is normal where four are expected, and an alert where four hundred are.
        assert few.contains(0)
        assert not many.contains(0)
        assert many.low == pytest.approx(401 / 2.5 - 1)

    def test_weekdays_have_their_own_level(self) -> None:
        rng = np.random.default_rng(0)
        weekly = [1000, 1000, 1000, 1000, 1000, 200, 100]
        values = [level * float(np.exp(rng.normal(0, 0.02))) for level in weekly * 4]
        # Nights from Monday on: the next one is a Monday again, and after five more a Saturday.
        monday = make_reference(values, "arrival.events").expect("arrival.events")
        saturday = make_reference([*values, *values[:5]], "arrival.events").expect("arrival.events")
        assert monday is not None
        assert saturday is not None
        assert monday.value == pytest.approx(1000, rel=0.15)
        assert saturday.value == pytest.approx(200, rel=0.15)
        assert not monday.contains(200)
        assert saturday.contains(200)

    def test_growth_moves_the_level(self) -> None:
        values = [100 * 1.02**day for day in range(40)]
        expected = make_reference(values, "data.users").expect("data.users")
        assert expected is not None
        assert expected.contains(values[-1] * 1.02)

    def test_what_good_nights_had_is_normal(self) -> None:
        values = [0.01] * 19 + [0.5]
        expected = make_reference(values, "lists.churn").expect("lists.churn")
        assert expected is not None
        assert expected.high == 0.5

    def test_a_configured_limit_replaces_the_learned_range(self) -> None:
        config = MonitoringConfig(limits={"lists.churn": LimitConfig(high=0.02)})
        expected = make_reference([0.01] * 20, "lists.churn", config).expect("lists.churn")
        assert expected is not None
        assert (expected.low, expected.high) == (None, 0.02)
        assert expected.contains(0.0)
        assert not expected.contains(0.03)

    def test_two_bad_nights_do_not_make_each_other_normal(self) -> None:
        nights = [make_night(day, arrival__events=1000.0) for day in range(20)]
        nights += [make_night(day, "alert", arrival__events=10.0) for day in range(20, 40)]
        expected = select_reference(nights, "2025-06-01", SETTINGS).expect("arrival.events")
        assert expected is not None
        assert not expected.contains(10.0)


def test_the_level_of_a_segment_is_that_of_the_last_week() -> None:
    nights = [replace(make_night(day), segments={"data.events": {"event kind: buy": float(day)}}) for day in range(10)]
    reference = select_reference(nights, "2025-04-01", SETTINGS)
    assert reference.find_level("data.events", "event kind: buy") == 6.0
    assert reference.find_level("data.events", "event kind: view") is None


def test_a_promotion_does_not_make_its_churn_an_alert() -> None:
    nights = [make_night(day, lists__churn=0.2) for day in range(10)]
    reference = select_reference(nights, "2025-06-01", SETTINGS)
    same = replace(reference, version="1").expect("lists.churn")
    assert same is not None
    assert not same.contains(0.8)
    # The new version has no nights of its own yet, and no fixed limit.
    assert replace(reference, version="2").expect("lists.churn") is None
