"""What new data may lose: faults of exports are found, ordinary feeds pass."""

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from recsys.config import DatasetSanityConfig
from recsys.dataset.ingestion.losses import Data, find_losses

START = datetime(2025, 1, 1, tzinfo=UTC)
DAY = timedelta(days=1)
DAYS = 60
Change = Callable[[pl.DataFrame], pl.DataFrame]


def make_events(days: int = DAYS, users: int = 300) -> pl.DataFrame:
    """Forty events a day of users who come and go: each is active for about twenty days."""
    rng = np.random.default_rng(0)
    day = np.repeat(np.arange(days), 40)
    user = (day * users / DAYS + rng.integers(0, 100, len(day))).astype(int)
    kinds = rng.choice(["view", "purchase"], len(day), p=[0.9, 0.1])
    return pl.DataFrame(
        {
            "user_id": [f"u{number:04d}" for number in user],
            "event": kinds,
            "time": [START + DAY * int(number) + timedelta(minutes=place % 40) for place, number in enumerate(day)],
        }
    )


EVENTS = make_events()
ITEMS = pl.DataFrame({"item_id": [f"i{number:03d}" for number in range(100)]})


def find(change: Change, *, items: pl.DataFrame = ITEMS, before: pl.DataFrame = EVENTS, **limits: float) -> list[str]:
    now = Data(items.lazy(), change(EVENTS).lazy())
    return find_losses(now, Data(ITEMS.lazy(), before.lazy()), DatasetSanityConfig(**limits))


def until(day: int) -> pl.Expr:
    return pl.col("time") < START + DAY * day


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda e: e.filter(pl.col("user_id").hash(seed=1) % 2 == 0), r"\d+\.\d% of the users are missing"),
        (
            lambda e: e.filter(~until(DAYS - 1)),
            r"98\.3% of the interactions are missing \(40 of 2,400 left; limit 30%, dat",
        ),
        (
            lambda e: e.filter(pl.col("event") == "view"),
            r"100\.0% of .* of the kind 'purchase' are missing",
        ),
        (lambda e: e.with_columns(event=pl.col("event").replace("purchase", "buy")), "100.0% .* kind 'purchase'"),
        (
            lambda e: e.with_columns(user_id="x" + pl.col("user_id")),
            r"100\.0% of the users with events since the start of the new data are missing",
        ),
        (lambda e: e.head(0), "100.0% of the interactions are missing"),
    ],
    ids=["half the users", "only the last day", "a kind gone", "a kind renamed", "all users new", "no event"],
)
def test_faults_of_an_export_are_found(change: Change, sentence: str) -> None:
    faults = find(change)
    assert any(re.match(sentence, fault) for fault in faults), faults
    assert all("dataset.sanity.max_" in fault for fault in faults)


def test_lost_items_are_found() -> None:
    (fault,) = find(lambda events: events, items=ITEMS.head(60))
    assert fault.startswith("40.0% of the items of the last good snapshot are missing (60 of 100 left; limit 30%")
    assert find(lambda events: events, items=ITEMS.head(60), max_items_lost=0.4) == []


@pytest.mark.parametrize(
    ("change", "before"),
    [
        (lambda e: e, EVENTS.filter(until(30))),
        (lambda e: e, EVENTS),
        (lambda e: e.filter(~until(7)), EVENTS.filter(until(53))),
        (lambda e: e.filter(~until(46)), EVENTS.filter(until(46) & ~until(32))),
        (lambda e: e.filter(pl.int_range(pl.len()) % 5 > 0), EVENTS),
        (lambda e: e.drop("time").with_columns(time=pl.lit(None, pl.Datetime("us", "UTC"))), EVENTS),
    ],
    ids=[
        "grows",
        "the same",
        "a window moves by a week",
        "a window of two weeks, ingested fortnightly",
        "fewer",
        "no times",
    ],
)
def test_ordinary_feeds_pass(change: Change, before: pl.DataFrame) -> None:
    assert find(change, before=before) == []


def test_small_data_is_not_judged() -> None:
    few = EVENTS.head(29)
    assert (
        find_losses(Data(ITEMS.lazy(), few.head(1).lazy()), Data(ITEMS.lazy(), few.lazy()), DatasetSanityConfig()) == []
    )


def with_vectors(known: int, name: str = "image") -> pl.LazyFrame:
    vectors = [[1.0, 0.0] if number < known else None for number in range(ITEMS.height)]
    return ITEMS.with_columns(pl.Series(f"vector:{name}", vectors, dtype=pl.List(pl.Float32))).lazy()


def test_vectors_that_are_gone() -> None:
    events = EVENTS.lazy()

    def compare(now: pl.LazyFrame, before: pl.LazyFrame) -> list[str]:
        return find_losses(Data(now, events), Data(before, events), DatasetSanityConfig())

    assert compare(with_vectors(60), with_vectors(100)) == [
        "40.0% of the vectors 'image' are missing (60 of 100 left; limit 30%, dataset.sanity.max_vectors_lost)"
    ]
    assert compare(with_vectors(75), with_vectors(100)) == []
    assert compare(with_vectors(100), with_vectors(50)) == []
    # Few are not judged, and other settings have other names.
    assert compare(with_vectors(1), with_vectors(20)) == []
    assert len(compare(with_vectors(100, "other"), with_vectors(100))) == 1
    assert compare(with_vectors(100), ITEMS.lazy()) == []
