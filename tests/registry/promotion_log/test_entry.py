import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest

from recsys.errors import RegistryError
from recsys.registry.promotion_log.entry import MAX_CHARACTERS, Entry, parse_entry


def make_entry(**changes: object) -> Entry:
    entry = Entry(
        number=1,
        time=datetime(2025, 3, 1, 4, 5, 6, tzinfo=UTC),
        who="anna",
        host="training-2",
        action="promote",
        model="recsys",
        from_version="1",
        to_version="2",
        reason="好过 than popular",
        decision=None,
        snapshot="abc",
        code_version="0.1.0",
        anchor="1",
        spent=0.01,
        window="w",
        details={},
        previous_hash="",
    )
    return replace(entry, **changes).sealed()  # type: ignore[arg-type]


def test_comes_back_as_it_was() -> None:
    entry = make_entry(details={"share": 0.1, "key": "é"})
    assert parse_entry(entry.to_text()) == entry
    assert entry.compute_hash() == entry.hash
    # Equal content has one text, whatever the order of the fields was.
    assert parse_entry(json.dumps(dict(reversed(json.loads(entry.to_text()).items())))).to_text() == entry.to_text()


@pytest.mark.parametrize("field", ["number", "time", "who", "action", "to_version", "reason", "spent", "previous_hash"])
def test_every_field_is_part_of_the_hash(field: str) -> None:
    changed = {
        "number": 2,
        "time": datetime(2025, 3, 2, tzinfo=UTC),
        "action": "force",
        "spent": 0.02,
    }.get(field, "other")
    assert make_entry(**{field: changed}).hash != make_entry().hash


@pytest.mark.parametrize(
    "change",
    [
        {"action": "delete"},
        {"number": "1"},
        {"number": True},
        {"time": "2025-03-01T00:00:00"},
        {"time": "yesterday"},
        {"to_version": 2},
        {"reason": None},
        {"details": []},
        {"spent": "0"},
        {"spent": float("nan")},
        {"surprise": 1},
    ],
)
def test_what_is_no_entry_is_a_value_error(change: dict[str, object]) -> None:
    content = {**make_entry().to_dict(), **change}
    with pytest.raises(ValueError, match=r".+"):
        parse_entry(json.dumps(content))


@pytest.mark.parametrize("text", ["", "null", "[]", "{}", '"entry"', "{'a': 1}"])
def test_other_json_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError, match=r".+"):
        parse_entry(text)


def test_a_long_reason_is_shortened_and_long_details_are_an_error() -> None:
    entry = make_entry(reason="several\nlines " + "x" * 9000)
    assert entry.reason.startswith("several lines xxx")
    assert entry.reason.endswith("…")
    assert len(entry.to_text()) < MAX_CHARACTERS
    message = r"details of 'promote' have a length of 6,\d\d\d, expected at most 5,900 characters"
    with pytest.raises(RegistryError, match=message):
        make_entry(details={"text": "x" * 6000})
