"""Monitored nights on disk."""

import logging
from pathlib import Path

import pytest

from recsys.errors import ArtifactError
from recsys.monitoring.monitored_nights import Night, accept_night, prune_nights, read_last, read_nights, write_night
from recsys.monitoring.sketches import HistorySketch, ListSketch, Sketches, TextSketch
from recsys.tables import empty

EMPTY = Sketches(empty(HistorySketch), empty(TextSketch), empty(ListSketch))


def write(home: Path, *run_dates: str) -> list[Night]:
    for run_date in run_dates:
        night = Night(run_date, "", "s", "1", "c", "calm", {"data.users": 3.0}, {"data.users": {"users: new": 1.0}})
        write_night(home, "mini", night, EMPTY)
    return read_nights(home, "mini")


def test_nights_come_back_in_order(tmp_path: Path) -> None:
    nights = write(tmp_path, "2025-02-02", "2025-02-01")
    assert [night.run_date for night in nights] == ["2025-02-01", "2025-02-02"]
    assert nights[0].segments == {"data.users": {"users: new": 1.0}}
    assert nights[0].weekday == 5
    last = read_last(tmp_path, "mini", nights)
    assert last is not None
    assert last.night == nights[1]
    assert last.sketches is not None
    assert read_nights(tmp_path, "other") == []
    assert read_last(tmp_path, "mini", []) is None


@pytest.mark.parametrize("content", ["", "[]", '{"run_date": "2025-02-01"}', '{"unknown": 1}', "\0\0"])
def test_a_damaged_night_is_left_out(tmp_path: Path, content: str, caplog: pytest.LogCaptureFixture) -> None:
    write(tmp_path, "2025-02-01", "2025-02-02")
    (tmp_path / "monitoring/mini/nights/2025-02-01.json").write_text(content)
    with caplog.at_level(logging.WARNING):
        assert [night.run_date for night in read_nights(tmp_path, "mini")] == ["2025-02-02"]
    assert "skipped; run 'recsys monitor' for that date again" in caplog.text


def test_damaged_samples_do_not_stop_the_monitor(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    nights = write(tmp_path, "2025-02-01")
    (tmp_path / "monitoring/mini/samples/2025-02-01/texts.parquet").write_bytes(b"PAR1")
    last = read_last(tmp_path, "mini", nights)
    assert last is not None
    assert last.sketches is None
    assert "tonight's ids and texts are not compared with those of 2025-02-01" in caplog.text


def test_accepting_a_night(tmp_path: Path) -> None:
    write(tmp_path, "2025-02-01")
    accept_night(tmp_path, "mini", "2025-02-01", "new export")
    assert read_nights(tmp_path, "mini")[0].accepted == "new export"
    with pytest.raises(
        ArtifactError, match=r"monitored night 2025-02-05 of 'mini': none; the last ones are 2025-02-01"
    ):
        accept_night(tmp_path, "mini", "2025-02-05", "why")


def test_old_nights_and_samples_are_deleted(tmp_path: Path) -> None:
    nights = write(tmp_path, *(f"2025-02-{day:02d}" for day in range(1, 21)))
    prune_nights(tmp_path, "mini", nights, "2025-02-08", 15)
    assert [night.run_date for night in read_nights(tmp_path, "mini")] == [f"2025-02-{day:02d}" for day in range(6, 21)]
    samples = sorted(path.name for path in (tmp_path / "monitoring/mini/samples").iterdir())
    # The last ones, and those of the last good night.
    assert samples == ["2025-02-08", *(f"2025-02-{day:02d}" for day in range(14, 21))]
