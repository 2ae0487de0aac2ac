from pathlib import Path

import polars as pl
import pytest

from recsys.storage import spilled_frames
from recsys.storage.spilled_frames import SpilledFrames


@pytest.mark.parametrize("rows", [1, 4, 100])
def test_frames_come_back_in_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, rows: int) -> None:
    monkeypatch.setattr(spilled_frames, "_ROWS", rows)
    frames = SpilledFrames(tmp_path, "rejected")
    for start in range(0, 9, 3):
        frames.append(pl.DataFrame({"n": range(start, start + 3)}))
    assert frames.rows == 9
    assert pl.concat(list(frames))["n"].to_list() == list(range(9))
    assert len(list(tmp_path.iterdir())) == {1: 3, 4: 1, 100: 0}[rows]
