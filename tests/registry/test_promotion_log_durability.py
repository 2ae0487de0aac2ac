from pathlib import Path

import pytest
from faults import DiskLog

from recsys.registry.promotion_log import append_entry
from recsys.storage.home import promotion_log_file


def test_a_line_is_on_the_disk_before_append_returns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    append_entry(tmp_path, "promote", "books", "1", None, "first")
    log = DiskLog(monkeypatch)
    append_entry(tmp_path, "promote", "books", "2", "1", "better")
    assert ("sync", promotion_log_file(tmp_path)) in log.events
