"""Trainings over time: which are compared, and how they are drawn."""

import shutil
from pathlib import Path

import pytest
from handmade import RUN, make_home

from recsys.artifacts.runs import read_run
from recsys.report.trend import read_trainings, show_trend
from recsys.storage.files import read_json, write_json
from recsys.storage.folders import MANIFEST


def copy_run(home: Path, name: str, **facts: str) -> Path:
    folder = home / "runs" / name
    shutil.copytree(home / "runs" / RUN, folder)
    write_json(folder / MANIFEST, {**read_json(folder / MANIFEST), "run": name, **facts})
    return folder


def test_older_trainings_of_the_same_config_and_split_are_shown(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    home = tmp_path / "home"
    make_home(home, nights=0)
    copy_run(home, "mini-2025-01-20-aaaaaaaa", end="2025-01-20T00:00:00+00:00")
    copy_run(home, "mini-2025-01-27-bbbbbbbb", end="2025-01-27T00:00:00+00:00")
    copy_run(home, "mini-2025-02-10-cccccccc", end="2025-02-10T00:00:00+00:00")
    copy_run(home, "mini-big-2025-01-21-dddddddd", end="2025-01-21T00:00:00+00:00")
    copy_run(home, "mini-2025-01-22-eeeeeeee", protocol="random")
    damaged = copy_run(home, "mini-2025-01-23-ffffffff", end="2025-01-23T00:00:00+00:00")
    (damaged / "metrics.parquet").write_bytes(b"PAR1")
    run = read_run(home, "mini")
    trainings = read_trainings(home, run)
    assert [training.end for training in trainings] == ["2025-01-20", "2025-01-27", "2025-02-03"]
    assert "mini-2025-01-23-ffffffff is left out" in caplog.text
    panel = show_trend(trainings, run.config.evaluation)
    assert [row.cells[0] for row in panel.grids[0].rows] == ["2025-02-03", "2025-01-27", "2025-01-20"]
    assert panel.grids[0].rows[0].cells[1:3] == ("0.161 [0.149, 0.174]", "text_zero_shot 0.157")
    (figure,) = panel.figures
    assert figure.name == "trend"
    # Later trainings are no part of an older run's page.
    older = read_trainings(home, read_run(home, "mini", "mini-2025-01-27-bbbbbbbb"))
    assert [training.end for training in older] == ["2025-01-20", "2025-01-27"]


def test_a_single_training_has_no_chart(handmade_home: Path) -> None:
    run = read_run(handmade_home, "mini")
    panel = show_trend(read_trainings(handmade_home, run), run.config.evaluation)
    assert panel.figures == ()
    assert panel.notes[0].startswith("The first training of this config")
