"""`recsys monitor` as the shell sees it: table, JSON, page and exit code."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import settings
from monitored_home import put_night
from night_world import FAULTS, World
from shell import Call

from recsys.config import parse_config

FIRST = 35


@pytest.fixture(scope="module")
def world() -> World:
    return World.draw(users=600, items=120, days=45, seed=3)


@pytest.fixture
def home(world: World, tmp_path: Path) -> Path:
    """A home whose readers follow a night of which one good night was watched and one bad night was not."""
    put_night(tmp_path / "home", parse_config(settings(), "test"), world.night(FIRST))
    return tmp_path / "home"


def test_calm_and_alert(call: Call, write_config: Callable[..., Path], world: World, home: Path) -> None:
    config = write_config(monitoring={"mlflow": False})
    calm = call("monitor", "-c", config, home=home)
    assert calm.code == 0
    assert "Night of 2025-02-05: calm" in calm.out
    put_night(home, parse_config(settings(), "test"), FAULTS[5].apply(world.night(FIRST + 1), world))
    alert = call("monitor", "-c", config, "--run-date", "2025-02-06", home=home)
    assert alert.code == 4
    lines = alert.out.splitlines()
    # The answer comes first, then what to do about it, then the table.
    assert lines[0].startswith("Night of 2025-02-06: alert; 1 alert (texts_permuted)")
    assert lines[2].startswith("ALERT")
    assert lines.index(next(line for line in lines if "outside their range" in line)) > lines.index(lines[2])
    for part in ("ALERT", "texts_permuted", "identity.text_moved", "since    2025-02-06", "do       Check the join"):
        assert part in alert.out
    assert max(map(len, alert.out.splitlines()[:-1])) <= 80
    assert alert.err.splitlines()[-1].startswith("alert: 2025-02-06: texts_permuted: the texts of the catalogue")
    page = home / "monitoring/mini/page.html"
    assert str(page) in alert.out
    assert "texts_permuted" in page.read_text()


def test_json(call: Call, write_config: Callable[..., Path], home: Path) -> None:
    answer = call("monitor", "-c", write_config(), "--json", home=home)
    assert answer.code == 0
    shown = json.loads(answer.out)
    assert (shown["run_date"], shown["verdict"], shown["alerts"], shown["reference"]) == ("2025-02-05", "calm", [], [])
    assert shown["figures"]["data.items"] > 0
    assert shown["retrain"] is False
    # The night is logged by default.
    assert len(shown["mlflow_run"]) == 32


def test_a_dead_store_changes_neither_result_nor_exit_code(
    call: Call,
    write_config: Callable[..., Path],
    home: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    answer = call("monitor", "-c", write_config(), "--json", home=home)
    assert answer.code == 0
    assert json.loads(answer.out)["mlflow_run"] is None
    assert "the night's result and its page are complete without it" in caplog.text


def test_accept(call: Call, write_config: Callable[..., Path], home: Path) -> None:
    config = write_config(monitoring={"mlflow": False})
    answer = call("monitor", "-c", config, "--accept", "why", home=home)
    assert (answer.code, answer.err) == (2, "error: --accept: --run-date is missing; give the night to accept\n")
    call("monitor", "-c", config, home=home)
    answer = call("monitor", "-c", config, "--accept", "new shop", "--run-date", "2025-02-05", home=home)
    assert answer.code == 0
    assert "2025-02-05: accepted (new shop)" in answer.out
