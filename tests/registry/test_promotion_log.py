import json
from pathlib import Path

import pytest

from recsys.errors import RegistryError
from recsys.registry.promotion_log import append_line, find_previous, read_lines


def promote(home: Path, version: str, previous: str | None, model: str = "books") -> None:
    append_line(home, "promote", model, version, previous, f"version {version} is better")


def test_lines_come_back_oldest_first(tmp_path: Path) -> None:
    assert read_lines(tmp_path, "books") == []
    append_line(tmp_path, "promote", "books", "1", None, "好过\n😀\u2028 than popular")
    promote(tmp_path, "7", None, model="films")
    append_line(tmp_path, "rollback", "books", "1", "2", "rolled back")
    assert read_lines(tmp_path, "books") == [
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


def test_the_way_back_goes_step_by_step(tmp_path: Path) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "2", "1")
    promote(tmp_path, "5", "2")
    assert find_previous(tmp_path, "books", "5") == "2"
    append_line(tmp_path, "rollback", "books", "2", "5", "rolled back")
    # Not to 5 again: that one was left for a reason.
    assert find_previous(tmp_path, "books", "2") == "1"
    with pytest.raises(RegistryError, match="knows no champion of 'books' before version 1"):
        find_previous(tmp_path, "books", "1")


def test_the_newest_promotion_of_a_version_counts(tmp_path: Path) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "3", "1")
    promote(tmp_path, "2", "1")
    promote(tmp_path, "3", "2")
    assert find_previous(tmp_path, "books", "3") == "2"


@pytest.mark.parametrize("lines", [[], ["films"], ["books"]])
def test_nothing_to_go_back_to(lines: list[str], tmp_path: Path) -> None:
    for model in lines:
        promote(tmp_path, "1", None, model=model)
    with pytest.raises(RegistryError, match=r"ledger\.jsonl: knows no champion of 'books' before version 1"):
        find_previous(tmp_path, "books", "1")


def test_a_line_that_was_cut_off_hides_no_other(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    promote(tmp_path, "1", None)
    promote(tmp_path, "2", "1")
    whole = (tmp_path / "ledger.jsonl").read_bytes()
    # A crash while version 3 was written; its alias was never set.
    (tmp_path / "ledger.jsonl").write_bytes(whole + json.dumps({"action": "promote", "model": "书"}).encode()[:-5])
    assert find_previous(tmp_path, "books", "2") == "1"
    assert "line 3 was cut off" in caplog.text
    promote(tmp_path, "4", "2")
    assert find_previous(tmp_path, "books", "4") == "2"
    assert (tmp_path / "ledger.jsonl").read_bytes().startswith(whole)


def test_a_ledger_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "ledger.jsonl").mkdir()
    with pytest.raises(RegistryError, match="cannot be written"):
        promote(tmp_path, "1", None)
