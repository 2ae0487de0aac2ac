"""Faults in a night's feed are caught in the same night, with the right cause; normal nights are calm."""

import pytest
from night_world import FAULTS, Fault, Feed, Watchman, World

from recsys.config import MonitoringConfig

_FIRST, _NIGHTS = 35, 16


@pytest.fixture(scope="module")
def world() -> World:
    return World.draw(users=3_000, items=400, days=60, seed=1)


@pytest.fixture(scope="module")
def watchman(world: World) -> Watchman:
    """Sixteen good nights."""
    watchman = Watchman()
    for day in range(_FIRST, _FIRST + _NIGHTS):
        watchman.watch(world.night(day))
    return watchman


@pytest.fixture(scope="module")
def feed(world: World) -> Feed:
    return world.night(_FIRST + _NIGHTS)


def test_normal_nights_are_calm(watchman: Watchman, feed: Feed) -> None:
    assert [(night.run_date, night.alerts) for night in watchman.nights if night.verdict != "calm"] == []
    assert watchman.judge(feed)[1] == []


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
def test_a_fault_is_caught_with_its_cause(fault: Fault, watchman: Watchman, feed: Feed, world: World) -> None:
    faulty = fault.apply(feed, world)
    _, alerts, _ = watchman.judge(faulty)
    assert alerts, "not caught"
    assert alerts[0].cause in fault.causes
    assert alerts[0].since == faulty.run_date


def test_a_fault_that_stays_is_alerted_every_night(world: World, watchman: Watchman) -> None:
    """Bad nights never make each other normal, and the alert says since when."""
    again = Watchman()
    again.nights, again._last, again._before = list(watchman.nights), watchman._last, watchman._before
    without = next(fault for fault in FAULTS if fault.name == "purchases gone")
    starts = []
    for day in range(_FIRST + _NIGHTS, _FIRST + _NIGHTS + 4):
        alerts = again.watch(without.apply(world.night(day), world))
        starts += [alert.since for alert in alerts if alert.cause == "kind_gone"]
    assert starts == [again.nights[_NIGHTS].run_date] * 4


def test_ignored_figures_cause_no_alert(world: World, watchman: Watchman, feed: Feed) -> None:
    deaf = Watchman(MonitoringConfig(ignore=("data.attribute_*",)))
    deaf.nights, deaf._last, deaf._before = watchman.nights, watchman._last, watchman._before
    prices = next(fault for fault in FAULTS if fault.name == "prices in cents")
    assert deaf.judge(prices.apply(feed, world))[1] == []


def test_an_alert_names_the_segments_that_moved_most(world: World, watchman: Watchman, feed: Feed) -> None:
    robot = next(fault for fault in FAULTS if fault.name.startswith("a robot"))
    (alert, *_) = watchman.judge(robot.apply(feed, world))[1]
    assert (alert.segments[0].segment, alert.segments[0].value) == ("user: robot", 14_400)
    assert len(alert.segments) == 3
