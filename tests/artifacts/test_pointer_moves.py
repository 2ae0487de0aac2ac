from pathlib import Path

import pytest

from recsys.artifacts.pointer_moves import Move, append_move, read_moves
from recsys.errors import ArtifactError
from recsys.storage.home import pointer_moves_file

FIRST = Move("2025-03-02T07:00:00+00:00", "anna@shop-2", "2025-03-02", "2025-03-01")
SECOND = Move("2025-03-03T07:00:00+00:00", "李@shop-2", "", "2025-03-02")


def test_moves_are_kept_in_order(tmp_path: Path) -> None:
    assert read_moves(tmp_path) == []
    append_move(tmp_path, FIRST)
    append_move(tmp_path, SECOND)
    assert read_moves(tmp_path) == [FIRST, SECOND]


def test_damaged_lines_are_left_out_and_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    append_move(tmp_path, FIRST)
    path = pointer_moves_file(tmp_path)
    path.write_bytes(path.read_bytes() + b'\xff\xfe\n[1]\n{"time": 3}')
    append_move(tmp_path, SECOND)
    assert read_moves(tmp_path) == [FIRST, SECOND]
    assert [f"line {number} is not a valid entry" in caplog.text for number in (2, 3, 4, 5)] == [
        True,
        True,
        True,
        False,
    ]


def test_a_log_that_cannot_be_read_does_not_hide_the_nights(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    pointer_moves_file(tmp_path).mkdir()
    assert read_moves(tmp_path) == []
    assert "cannot be read (Is a directory)" in caplog.text
    with pytest.raises(ArtifactError, match="move it away, then run again"):
        append_move(tmp_path, FIRST)
