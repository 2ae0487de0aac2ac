"""The scripts and units that run nights without Airflow."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Thread

import pytest
from stand_ins import Receiver, Stub

SCHEDULES = Path(__file__).parents[2] / "schedules"
DAY = "2025-03-02"
NIGHT = ["freshness", "ingest", "generate", "monitor", "prune"]
LATE = {"code": 3, "err": "refused: not yet"}


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver() as server:
        Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()


def run(script: str, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    given = {"PATH": os.environ["PATH"], **environment}
    return subprocess.run([SCHEDULES / script, *arguments], env=given, capture_output=True, text=True, check=False)


def night(stub: Stub, **environment: str) -> int:
    link = stub.folder / "recsys"
    if not link.exists():
        link.symlink_to(stub.command)
    stub.write_scripts()
    (stub.folder / "calls.jsonl").unlink(missing_ok=True)
    places = {"RECSYS_COMMAND": f"env A=1 {link}", "RECSYS_CONFIG": "/etc/a b/shop.yaml"}
    return run("recsys-night", DAY, **places, **environment).returncode


def test_a_good_night(stub: Stub) -> None:
    assert night(stub) == 0
    dated = {"freshness", "generate", "monitor"}
    config = ["--config", "/etc/a b/shop.yaml"]
    assert [call[:-1] for call in stub.calls()] == [
        [stage, *config, *(["--run-date", DAY] if stage in dated else [])] for stage in NIGHT
    ]


def test_exit_codes(stub: Stub) -> None:
    for scripts, code, stages in (
        ({"ingest": [{"code": 2}]}, 2, NIGHT[:2]),
        ({"ingest": [{"code": 3}]}, 3, NIGHT[:2]),
        # The monitor names the cause.
        ({"generate": [{"code": 3}], "monitor": [{"code": 4}]}, 3, NIGHT[:4]),
        ({"generate": [{"code": 2}]}, 2, NIGHT[:4]),
        ({"monitor": [{"code": 4}]}, 4, NIGHT),
        ({"prune": [{"code": 2}]}, 0, NIGHT),
        ({"freshness": [{"code": 2}]}, 2, NIGHT[:1]),
    ):
        stub.scripts = scripts
        assert (night(stub), stub.stages()) == (code, stages)


def test_it_waits_for_data_until_the_deadline(stub: Stub) -> None:
    stub.scripts = {"freshness": [LATE, LATE, {}]}
    assert night(stub, RECSYS_DATA_POLL_SECONDS="0.01") == 0
    assert stub.stages() == [*NIGHT[:1] * 3, *NIGHT[1:]]
    stub.scripts = {"freshness": [LATE]}
    assert night(stub, RECSYS_DATA_DEADLINE_MINUTES="0") == 3
    assert stub.stages() == NIGHT[:1]


def test_a_training_stops_at_its_first_failure(stub: Stub) -> None:
    environment = {"RECSYS_COMMAND": f"{stub.folder}/recsys", "RECSYS_CONFIG": "shop.yaml"}
    (stub.folder / "recsys").symlink_to(stub.command)
    for scripts, code, last in (
        ({}, 0, "promote"),
        ({"promote": [LATE]}, 3, "promote"),
        ({"train": [LATE]}, 3, "train"),
    ):
        stub.scripts = scripts
        stub.write_scripts()
        assert run("recsys-train", DAY, **environment).returncode == code
        assert stub.stages()[-1] == last


def test_the_config_has_to_be_named(stub: Stub) -> None:
    stub.write_scripts()
    done = run("recsys-night", DAY, RECSYS_COMMAND="true")
    assert done.returncode == 2
    assert "RECSYS_CONFIG: set it to the config file" in done.stderr


def test_alerts(receiver: Receiver) -> None:
    for code in ("0", "2", "3", "4"):
        done = run("recsys-alert", "recsys-night.service", MONITOR_EXIT_STATUS=code, RECSYS_ALERT_URL=receiver.url)
        assert (done.returncode, done.stderr) == (0, "")
    alerts = receiver.take()
    assert [text.split("exit code ")[1][0] for text in alerts] == ["2", "3", "4"]
    assert all(text.startswith("recsys-night.service on ") for text in alerts)
    # Nobody answers; the address is not shown.
    done = run("recsys-alert", "recsys-night.service", "2", RECSYS_ALERT_URL="http://127.0.0.1:1/SECRET")
    assert done.stderr == "recsys-alert: not sent to RECSYS_ALERT_URL\n"


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd")
def test_systemd_accepts_the_units(tmp_path: Path) -> None:
    units = [*SCHEDULES.glob("*.service"), *SCHEDULES.glob("*.timer")]
    assert len(units) == 5
    for unit in units:
        text = unit.read_text().replace("/opt/recsys", str(SCHEDULES.parent)).replace("User=recsys", "User=root")
        (tmp_path / unit.name).write_text(text)
    names = [str(tmp_path / unit.name.replace("@", "@night")) for unit in units]
    done = subprocess.run(["systemd-analyze", "verify", *names], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
