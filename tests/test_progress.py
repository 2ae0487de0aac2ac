"""What a long stage says of itself."""

import logging
from io import StringIO

import pytest
from rich.console import Console

from recsys import progress
from recsys.progress import ProgressLogger, Steps, format_duration, progress_bar, track, waiting


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


def test_steps_are_numbered_and_timed(clock, caplog):
    caplog.set_level(logging.INFO, "recsys")
    steps = Steps(2)
    steps.begin("ingest")
    clock[0] += 70
    steps.begin("lists")
    clock[0] += 122
    assert steps.finish() == 192
    assert [record.message for record in caplog.records] == [
        "step 1 of 2: ingest",
        "step 2 of 2: lists",
        "all 2 steps done in 3 min 12 s",
    ]


def test_durations():
    assert [format_duration(seconds) for seconds in (0.4, 59.4, 59.6, 192, 3600, 7500)] == [
        "0 s",
        "59 s",
        "1 min 0 s",
        "3 min 12 s",
        "1 h 0 min",
        "2 h 5 min",
    ]


def test_a_bar_logs_a_line_a_minute_where_there_is_no_terminal(clock, caplog):
    caplog.set_level(logging.INFO, "recsys")
    with progress_bar("Ranker, trees", 400) as advance:
        clock[0] += 61
        advance(100)
    assert [record.message for record in caplog.records] == ["Ranker, trees: 100 of 400, 2 per second, 3 min left"]
    with progress_bar("Lists", 400, log=False) as advance:
        clock[0] += 61
        advance(100)
    assert len(caplog.records) == 1


@pytest.fixture
def terminal(monkeypatch: pytest.MonkeyPatch) -> StringIO:
    written = StringIO()
    monkeypatch.setattr(progress, "console", Console(file=written, force_terminal=True, width=80))
    return written


def test_a_long_loop_has_a_bar_with_the_time_left(clock, terminal):
    for part in track(range(4), "Nights"):
        clock[0] += 2
        if part == 1:
            assert "Nights" in terminal.getvalue()
            assert "1/4" in terminal.getvalue()
            assert "left" in terminal.getvalue()


def test_a_short_loop_draws_nothing(clock, terminal):
    assert list(track(range(1000), "Nights")) == list(range(1000))
    assert terminal.getvalue() == ""


def test_a_loop_that_is_left_early_takes_its_bar_along(clock, terminal):
    for _ in track(range(4), "Nights"):
        clock[0] += 2
        if "Nights" in terminal.getvalue():
            break
    # The cursor, hidden while a bar is drawn, is shown again.
    assert terminal.getvalue().rfind("\x1b[?25h") > terminal.getvalue().rfind("\x1b[?25l")


def test_a_wait_is_named_on_a_terminal_only(terminal, monkeypatch):
    with waiting("loading"):
        pass
    assert "loading …" in terminal.getvalue()
    file = StringIO()
    monkeypatch.setattr(progress, "console", Console(file=file))
    with waiting("loading"):
        pass
    assert file.getvalue() == ""
