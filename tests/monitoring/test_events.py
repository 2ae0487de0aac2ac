"""Counts over interactions, against a world small enough to count by hand."""

import polars as pl
from worlds import at, make_interactions

from recsys.monitoring.events import EventCounts, count_events

NOBODY = pl.Series([], dtype=pl.String)


def count(
    *rows: object, end: float | None = 10, last_end: float | None = None, users: pl.Series = NOBODY
) -> EventCounts:
    events = make_interactions(*rows)  # type: ignore[arg-type]
    instants = [None if day is None else at(day) for day in (end, last_end)]
    return count_events(events.lazy(), instants[0], instants[1], users, 100)


def row(user: str, item: str, day: float, event: str = "view") -> dict[str, object]:
    return {"user": user, "item": item, "day": day, "event": event}


def test_only_events_before_the_end_count() -> None:
    counts = count(row("a", "x", 1), row("a", "y", 9.5), row("b", "x", 10), end=10)
    assert (counts.events, counts.users, counts.new_users, counts.active_users) == (2, 1, 0, 1)
    assert (counts.first, counts.last) == (at(1), at(9.5))


def test_kinds_and_their_earlier_events() -> None:
    counts = count(
        row("a", "x", 1), row("a", "y", 5, "buy"), row("b", "x", 8, "buy"), row("b", "y", 9.9), end=10, last_end=6
    )
    assert counts.count_kinds() == {"buy": 2, "view": 2}
    assert counts.count_kinds("old") == {"buy": 1, "view": 1}


def test_the_last_day() -> None:
    counts = count(
        *(row("old", f"i{number}", number) for number in range(9)),
        row("old", "x", 9.5, "buy"),
        row("new", "x", 9.25),
        row("new", "y", 9.75),
        end=10,
    )
    assert counts.new_users == 1
    assert counts.hours.rows() == [(6, "view", 1, 1), (12, "buy", 1, 1), (18, "view", 1, 1)]
    assert counts.day_items.rows() == [("x", 2, 2, 1), ("y", 1, 1, 0)]
    assert counts.day_users.rows() == [("new", 2), ("old", 1)]
    assert dict(counts.experience.iter_rows()) == {"light": 1, "new": 2}
    assert counts.longest == 10
    assert dict(counts.lengths.iter_rows())[3] == 1


def test_the_share_of_the_busiest_users() -> None:
    rows = [row("robot", f"i{number:03d}", 9.5) for number in range(50)]
    rows += [row(f"u{number:02d}", "x", 9.5) for number in range(50)]
    # One user in a hundred, at least one.
    assert count(*rows).top_share == 0.5


def test_without_times_there_is_no_last_day() -> None:
    events = make_interactions({"user": "a", "item": "x"}, {"user": "a", "item": "y"}, {"user": "b", "item": "x"})
    counts = count_events(events.lazy(), None, None, NOBODY, 100)
    assert (counts.events, counts.users, counts.active_users, counts.new_users) == (3, 2, 0, 0)
    assert counts.last is None
    unordered = make_interactions({"user": "a", "item": "x"}, {"user": "b", "item": "y"}, ordered=False)
    assert count_events(unordered.lazy(), None, None, NOBODY, 100).users == 2


def test_no_events() -> None:
    counts = count(row("a", "x", 5), end=1)
    assert (counts.events, counts.users, counts.longest, counts.top_share) == (0, 0, 0, 0.0)


def test_a_small_sample_still_has_the_users_of_the_last_night() -> None:
    rows = [row(f"u{number:03d}", f"i{number % 7}", 5) for number in range(300)]
    events = make_interactions(*rows).lazy()
    known = pl.Series(["u000", "u001", "gone"])
    counts = count_events(events, at(10), None, known, 20)
    sampled = counts.pairs.filter("sampled")["user_id"].n_unique()
    assert 0 < sampled <= 40
    assert {"u000", "u001"} <= set(counts.pairs["user_id"])
