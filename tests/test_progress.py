"""What a long stage says of itself."""

import logging

import pytest

from recsys import progress
from recsys.progress import ProgressLogger


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr(progress.time, "monotonic", lambda: now[0])
    return now


def test_a_line_a_minute_with_rate_and_time_left(clock, caplog):
    caplog.set_level(logging.INFO, "recsys")
    pace = ProgressLogger("lists", "users", 30_000)
    for _ in range(3):
        clock[0] += 25
        pace.update(5_000)
    assert [record.message for record in caplog.records] == [
        "lists: 15,000 of 30,000 users, 200 users per second, 1 min left"
    ]
    clock[0] += 60
    pace.update(14_000)
    assert caplog.records[-1].message == "lists: 29,000 of 30,000 users, 215 users per second, less than a minute left"
    assert pace.describe() == ", 215 users per second"


def test_nothing_done_has_no_rate(clock):
    assert ProgressLogger("lists", "users", 10).describe() == ""
