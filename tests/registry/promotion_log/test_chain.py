from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recsys.registry.promotion_log.chain import (
    Canary,
    count_tries,
    find_break,
    find_budget,
    find_canary,
    find_champion,
    find_previous_champion,
    find_rollback,
    find_serving_entry,
)
from recsys.registry.promotion_log.entry import Entry

START = datetime(2025, 3, 1, tzinfo=UTC)


def make_chain(*steps: tuple[Any, ...]) -> list[Entry]:
    """Entries, one an hour, of (action, from, to) and a dict of other fields."""
    entries: list[Entry] = []
    for number, (action, before, after, *others) in enumerate(steps, start=1):
        fields: dict[str, Any] = {
            "who": "anna",
            "host": "h",
            "model": "recsys",
            "reason": "",
            "decision": None,
            "snapshot": None,
            "code_version": "0",
            "anchor": None,
            "spent": 0.0,
            "window": None,
            "details": {},
        }
        fields.update(others[0] if others else {})
        entry = Entry(
            number=number,
            time=START + timedelta(hours=number),
            action=action,
            from_version=before,
            to_version=after,
            previous_hash=entries[-1].hash if entries else "",
            **fields,
        )
        entries.append(entry.sealed())
    return entries


MONTH = make_chain(
    ("promote", None, "1"),
    ("promote", "1", "2"),
    ("refuse", "2", "3"),
    ("promote", "2", "5"),
    ("rollback", "5", "2"),
)


def test_a_whole_chain() -> None:
    assert find_break([]) is None
    assert find_break(MONTH) is None


@pytest.mark.parametrize("number", range(1, 6))
def test_a_changed_entry_is_named(number: int) -> None:
    changed = [replace(entry, who="eve") if entry.number == number else entry for entry in MONTH]
    assert find_break(changed) == (number, "was changed: its hash does not match its content")


@pytest.mark.parametrize("number", range(1, 5))
def test_an_entry_that_was_replaced_with_its_hash_is_noticed_at_the_next(number: int) -> None:
    forged = [replace(entry, who="eve").sealed() if entry.number == number else entry for entry in MONTH]
    broken = find_break(forged)
    assert broken
    assert broken[0] == number + 1
    assert "does not follow" in broken[1]


@pytest.mark.parametrize("number", range(1, 5))
def test_a_missing_entry_is_named(number: int) -> None:
    rest = [entry for entry in MONTH if entry.number != number]
    assert find_break(rest) == (number, f"is missing; the next entry has number {number + 1}")


def test_champion_and_the_one_before() -> None:
    assert find_champion([]) is None
    assert find_champion(MONTH[:3]) == "2"
    assert find_champion(MONTH) == "2"
    # Not to 5 again: it was rolled back for a reason.
    assert find_previous_champion(MONTH, "2") == "1"
    assert find_previous_champion(MONTH, "5") == "2"
    assert find_previous_champion(MONTH, "1") is None
    assert find_rollback(MONTH, "5") == MONTH[4]
    assert find_rollback(MONTH, "2") is None
    again = make_chain(*[(entry.action, entry.from_version, entry.to_version) for entry in MONTH], ("force", "2", "5"))
    assert find_rollback(again, "5") is None


def test_an_alias_that_was_deleted_leaves_the_champion_known() -> None:
    entries = make_chain(("promote", None, "1"), ("hand_made", "1", None))
    assert find_champion(entries) == "1"
    serving = find_serving_entry(entries)
    assert serving
    assert serving.to_version is None


def test_a_change_by_hand_can_be_rolled_back() -> None:
    entries = make_chain(("promote", None, "1"), ("promote", "1", "2"), ("hand_made", "2", "7"))
    assert find_champion(entries) == "7"
    assert find_previous_champion(entries, "7") == "2"


def test_what_served_at_an_instant() -> None:
    def version(hours: float) -> str | None:
        entry = find_serving_entry(MONTH, START + timedelta(hours=hours))
        return entry.to_version if entry else None

    assert [version(hours) for hours in (0, 1, 1.5, 2, 3.5, 4, 5, 99)] == [None, "1", "1", "2", "2", "5", "2", "2"]


def test_lines_taken_over_late_change_nothing() -> None:
    entries = make_chain(("promote", None, "4"), ("imported", "1", "2", {"details": {"late": True}}))
    assert find_champion(entries) == "4"


def test_a_rollback_restores_anchor_and_budget() -> None:
    entries = make_chain(
        ("promote", None, "1", {"anchor": "1"}),
        ("promote", "1", "2", {"anchor": "1", "spent": 0.01}),
        ("promote", "2", "3", {"anchor": "3"}),
    )
    assert find_budget(entries, "2") == ("1", 0.01)
    assert find_budget(entries, "3") == ("3", 0.0)
    # A version that was never promoted: nothing is known, so nothing changes.
    assert find_budget(entries, "9") == ("3", 0.0)
    assert find_budget([], "9") == (None, 0.0)


CANARY = ("canary", "1", "2", {"details": {"share": 0.05, "key": "k"}})


@pytest.mark.parametrize(
    ("steps", "running"),
    [
        ([CANARY], True),
        ([CANARY, ("canary_stop", "1", "2")], False),
        ([CANARY, ("promote", "1", "2")], False),
        ([CANARY, ("force", "1", "2")], False),
        ([CANARY, ("refuse", "1", "2")], True),
        ([CANARY, ("promote", "1", "3")], True),
        ([CANARY, ("rollback", "2", "1")], False),
        ([CANARY, ("canary_stop", "1", "2"), CANARY], True),
    ],
)
def test_a_canary_runs_until_it_is_stopped_promoted_or_rolled_back(steps: list[tuple[Any, ...]], running: bool) -> None:
    canary = find_canary(make_chain(("promote", None, "1"), *steps))
    assert canary == (Canary("2", 0.05, "k") if running else None)


def test_tries_on_a_window_count_each_version_once() -> None:
    window = {"window": "w"}
    entries = make_chain(
        ("promote", None, "1", window),
        ("refuse", "1", "2", window),
        ("refuse", "1", "2", window),
        ("force", "1", "3", window),
        ("refuse", "1", "4", {"window": "other"}),
        ("rollback", "3", "1"),
    )
    assert count_tries(entries, "w") == 3
    assert count_tries(entries, "w", besides="2") == 2
    assert count_tries(entries, "w", besides="9") == 3
    assert count_tries(entries, "none") == 0
