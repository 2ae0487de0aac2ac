import json
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.registry.promotion_log import append_entry, find_previous_champion, read_entries


def promote(home: Path, version: str, previous: str | None, model: str = "books") -> None:
    append_entry(home, "promote", model, version, previous, f"version {version} is better")


def test_entries_come_back_oldest_first(tmp_path: Path) -> None:
    assert read_entries(tmp_path, "books") == []
    append_entry(tmp_path, "promote", "books", "1", None, "好过\n😀\u2028 than popular")
    promote(tmp_path, "7", None, model="films")
    append_entry(tmp_path, "rollback", "books", "1", "2", "rolled back")
    assert read_entries(tmp_path, "books") == [
        {
            "action": "promote",
            "model": "books",
            "version": "1",
            "previous": None,
            "reason": "好过\n😀\u2028 than popular",
        },
        {"action": "rollback", "model": "books", "version": "1", "previous": "2", "reason": "rolled back"},
    ]
    assert len((tmp_path / "ledger.jsonl").read_bytes().split(b"\n")) == 4


def test_rolling_back_goes_one_version_at_a_time(tmp_path: Path) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "2", "1")
    promote(tmp_path, "5", "2")
    assert find_previous_champion(tmp_path, "books", "5") == "2"
    append_entry(tmp_path, "rollback", "books", "2", "5", "rolled back")
    # Not to 5 again: it was rolled back for a reason.
    assert find_previous_champion(tmp_path, "books", "2") == "1"
    with pytest.raises(RegistryError, match="no champion of 'books' before version 1"):
        find_previous_champion(tmp_path, "books", "1")


def test_the_newest_promotion_of_a_version_counts(tmp_path: Path) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "3", "1")
    promote(tmp_path, "2", "1")
    promote(tmp_path, "3", "2")
    assert find_previous_champion(tmp_path, "books", "3") == "2"


@pytest.mark.parametrize("lines", [[], ["films"], ["books"]])
def test_there_is_nothing_to_roll_back_to(lines: list[str], tmp_path: Path) -> None:
    for model in lines:
        promote(tmp_path, "1", None, model=model)
    with pytest.raises(RegistryError, match=r"ledger\.jsonl: no champion of 'books' before version 1"):
        find_previous_champion(tmp_path, "books", "1")


def test_an_incomplete_line_hides_no_other_entry(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "2", "1")
    whole = (tmp_path / "ledger.jsonl").read_bytes()
    # A crash while the entry of version 3 was written; its alias was never set.
    (tmp_path / "ledger.jsonl").write_bytes(whole + json.dumps({"action": "promote", "model": "书"}).encode()[:-5])
    assert find_previous_champion(tmp_path, "books", "2") == "1"
    assert "line 3 is incomplete" in caplog.text
    promote(tmp_path, "4", "2")
    assert find_previous_champion(tmp_path, "books", "4") == "2"
    assert (tmp_path / "ledger.jsonl").read_bytes().startswith(whole)


def test_a_log_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(RegistryError, match="cannot be written"):
        promote(tmp_path, "1", None)
