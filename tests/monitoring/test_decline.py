"""Weeks of outcomes with known chances: a calm month, lists that get worse, and a world that changes."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from worlds import at, make_items

from recsys.config import MonitoringConfig
from recsys.monitoring.alerts import judge
from recsys.monitoring.figures import Figures, Observed, ShownLists
from recsys.monitoring.monitored_nights import Night
from recsys.monitoring.nights import ServedNight
from recsys.monitoring.reference import select_reference
from recsys.monitoring.shown_lists import watch_outcomes

USERS, ITEMS, LENGTH = 600, 200, 5
NAMES = np.array([f"i{number:03}" for number in range(ITEMS)])
CHANGE = 18


def draw_lists(rng: np.random.Generator, popular: bool = False) -> np.ndarray:
    """Return (users, length) distinct items; popular ones are the same for everybody."""
    if popular:
        return np.tile(np.arange(LENGTH), (USERS, 1))
    return np.argsort(rng.random((USERS, ITEMS)), axis=1)[:, :LENGTH]


def tabulate(lists: np.ndarray, **columns: str) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "user_id": np.repeat([f"u{user:03}" for user in range(USERS)], LENGTH),
            "rank": np.tile(np.arange(1, LENGTH + 1, dtype=np.uint16), USERS),
            "item_id": NAMES[lists.ravel()],
        }
    ).with_columns(**{name: pl.lit(value) for name, value in columns.items()})


def watch_month(kind: str, nights: int, seed: int = 0) -> list[Night]:
    """Each user chooses an item of a good list with 25 %, of the blend's with 20 %, a popular one with 15 %."""
    rng, watched, config = np.random.default_rng(seed), [], MonitoringConfig()
    items = make_items(*NAMES)
    for number in range(nights):
        good, blend, popular = draw_lists(rng), draw_lists(rng), draw_lists(rng, popular=True)
        chances = [0.25, 0.2, 0.15] if kind != "world" or number < CHANGE else [0.05, 0.04, 0.03]
        luck, place = rng.random(USERS), rng.integers(0, LENGTH, USERS)
        ends = np.cumsum(chances)
        chosen = rng.integers(LENGTH, ITEMS, USERS)
        for lists, low, high in zip((good, blend, popular), (0.0, *ends), ends, strict=False):
            chosen = np.where((luck >= low) & (luck < high), lists[np.arange(USERS), place], chosen)
        served = draw_lists(rng) if kind == "worse" and number >= CHANGE else good
        start = at(number)
        events = pl.DataFrame(
            {"user_id": [f"u{user:03}" for user in range(USERS)], "item_id": NAMES[chosen], "step": [9] * USERS}
        ).with_columns(
            time=pl.lit(start + timedelta(hours=3)), positive=pl.lit(True), value=pl.lit(None, dtype=pl.Float32)
        )
        baselines = [tabulate(blend, baseline="blend"), tabulate(popular, baseline="popularity")]
        end = start + timedelta(days=1)
        run_date = end.date().isoformat()
        shown = ShownLists(
            ServedNight(start.date().isoformat(), start, end),
            tabulate(served, variant="champion", model_version="1").lazy(),
            pl.concat(baselines),
        )
        figures = Figures()
        watch_outcomes(figures, Observed(run_date, end, "s", items, events.lazy(), shown=shown), watched)
        expected, alerts = judge(figures, select_reference(watched, run_date, config), watched)
        watched.append(
            Night(
                run_date,
                end.isoformat(),
                "s",
                "1",
                "c",
                "alert" if alerts else "calm",
                figures.values,
                figures.segments,
                {
                    name: {"value": normal.value, "low": normal.low, "high": normal.high}
                    for name, normal in expected.items()
                },
                [alert.to_dict() for alert in alerts],
                intervals=figures.intervals,
                retrain=any(alert.retrain for alert in alerts),
            )
        )
    return watched


def find_causes(nights: list[Night]) -> list[str]:
    return sorted({str(alert["cause"]) for night in nights for alert in night.alerts})


def test_a_calm_month() -> None:
    assert find_causes(watch_month("calm", 35, seed=1)) == []


@pytest.mark.parametrize(
    ("kind", "cause", "retrain"), [("worse", "lists_worse", True), ("world", "world_changed", False)]
)
def test_a_fall_is_named_within_three_nights_and_until_it_ends(kind: str, cause: str, retrain: bool) -> None:
    nights = watch_month(kind, CHANGE + 8)
    assert find_causes(nights[:CHANGE]) == []
    named = [number for number, night in enumerate(nights) if night.alerts]
    assert named[0] <= CHANGE + 2
    assert named == list(range(named[0], len(nights)))
    assert find_causes(nights) == [cause]
    assert {night.retrain for night in nights[named[0] :]} == {retrain}
    assert nights[-1].alerts[0]["since"] == nights[named[0]].run_date
