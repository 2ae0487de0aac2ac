"""The DAGs under a real scheduler, dag processor, triggerer and api server, which run the commands as in production."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from live_airflow import LiveAirflow, wait_for
from miniature import LAST_DAY, Trained, copy_home, read_files, settings
from postgres_server import run_server
from stand_ins import Receiver, Stub

pytestmark = [pytest.mark.airflow, pytest.mark.timeout(900)]

REFUSED = "refused: 52.5% of rows are fallback items (limit 50%)"
# Whichever call the deadline's alert makes, the answer names the lists, as that of the real command does.
LATE = {"code": 3, "err": "refused: not yet", "out": {"fresh": False, "lists": "2025-02-27"}}
FRESH = {"out": {"fresh": True, "lists": "2025-02-27"}}
REAL = [{"real": True}]


@pytest.fixture(scope="module")
def stub(tmp_path_factory: pytest.TempPathFactory) -> Stub:
    return Stub(tmp_path_factory.mktemp("stub"))


@pytest.fixture(scope="module")
def places(raw: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the real command works with; its home is filled by the test that needs it."""
    folder = tmp_path_factory.mktemp("live")
    (folder / "mini.yaml").write_text(yaml.safe_dump({**settings(), "generation": {"shard_size": 4}}))
    return {"RECSYS_HOME": str(folder / "home"), "RECSYS_DATA": str(raw), "RECSYS_CONFIG": str(folder / "mini.yaml")}


@pytest.fixture(scope="module")
def live(
    stub: Stub, places: dict[str, str], receiver: Receiver, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LiveAirflow]:
    pytest.importorskip("airflow", reason="needs the [airflow] extra")
    variables = {"ALERT_URL": receiver.url, "ALERT_ON": "failure refusal alert late", "DATA_POLL_MINUTES": "0.02"}
    environment = {
        **stub.environment(),
        **places,
        **{f"AIRFLOW_VAR_RECSYS_{name}": value for name, value in variables.items()},
        "RECSYS_RETRY_MINUTES": "0.02",
        "RECSYS_DEADLINE_HOURS": "0.002",
        "HF_HUB_OFFLINE": "1",
        "PYTHONPATH": os.environ.get("PYTHONPATH", ""),
    }
    with run_server() as database:
        airflow = LiveAirflow(tmp_path_factory.mktemp("airflow"), database, environment)
        try:
            airflow.start()
            yield airflow
        finally:
            airflow.stop()


def test_the_schedule_starts_a_night_that_waits_for_data_and_misses_its_deadline(
    live: LiveAirflow, stub: Stub, receiver: Receiver
) -> None:
    stub.scripts["freshness"] = [LATE, LATE, FRESH]
    stub.write_scripts()
    live.change("PATCH", "/api/v2/dags/recsys_nightly", is_paused=False)
    # The pool is missing, which Airflow itself says in this log only.
    wait_for(lambda: "non-existent pool 'recsys'" in live.read_log("scheduler"), 180, "the warning", live.log)
    live.command("pools", "import", str(Path(__file__).parents[2] / "airflow_dags" / "pools.json"))
    run = live.finish("recsys_nightly", 0)
    assert (run["run_type"], run["state"]) == ("scheduled", "success")
    day = run["logical_date"][:10]
    assert [call[3:5] for call in stub.calls() if call[0] == "generate"] == [["--run-date", day]]
    # The alert has the lists that `freshness` names; the night still ended well.
    late = [alert for alert in receiver.take() if "has not finished in time" in alert]
    assert len(late) == 1
    assert "last good night 2025-02-27, which remain published" in late[0]
    assert "is waiting for the pool 'recsys'" in late[0]


def test_a_promotion_starts_a_night_whose_refusal_is_not_tried_again(
    live: LiveAirflow, stub: Stub, receiver: Receiver
) -> None:
    stub.scripts["freshness"] = [FRESH]
    stub.scripts["generate"] = [{"code": 3, "err": REFUSED}]
    stub.write_scripts()
    live.change("PATCH", "/api/v2/dags/recsys_train", is_paused=False)
    assert live.finish("recsys_train", 0)["state"] == "success"
    run = live.finish("recsys_nightly", 1)
    assert (run["run_type"], run["state"]) == ("asset_triggered", "failed")
    tasks = live.tasks(run)
    assert (tasks["generate"], tasks["monitor"], tasks["prune"]) == ("failed", "success", "upstream_failed")
    assert live.tries(run, "generate") == 1
    assert live.xcom(run, "generate", "reason") == REFUSED
    assert sum(REFUSED in alert for alert in receiver.take()) == 1


def test_airflows_own_backfill_of_three_dates(live: LiveAirflow, stub: Stub) -> None:
    stub.scripts["generate"] = [{}]
    stub.write_scripts()
    before = len(stub.calls())
    dates = ("--from-date", "2025-02-03", "--to-date", "2025-02-05T12:00")
    live.command("backfill", "create", "--dag-id", "recsys_nightly", *dates, "--max-active-runs", "1")
    runs = [live.finish("recsys_nightly", number) for number in (2, 3, 4)]
    assert {(run["run_type"], run["state"]) for run in runs} == {("backfill", "success")}
    made = [call for call in stub.calls()[before:] if call[0] == "generate"]
    assert [call[4] for call in made] == ["2025-02-03", "2025-02-04", "2025-02-05"]
    # Readers are left where they are.
    assert all("--keep-pointer" in call for call in made)


def test_a_killed_task_is_tried_again_and_ends_in_the_same_bytes(
    live: LiveAirflow, stub: Stub, places: dict[str, str], trained: Trained, tmp_path: Path
) -> None:
    copy_home(trained.home, Path(places["RECSYS_HOME"]))
    undisturbed = copy_home(trained.home, tmp_path / "home")
    arguments = ["generate", "--config", places["RECSYS_CONFIG"], "--run-date", LAST_DAY]
    environment = {**os.environ, **places, "RECSYS_HOME": str(undisturbed)}
    alone = subprocess.Popen([sys.executable, "-m", "recsys.cli", "--quiet", *arguments], env=environment, cwd=tmp_path)
    stub.scripts["generate"] = REAL
    stub.write_scripts()
    lists = Path(places["RECSYS_HOME"]) / "recommendations"
    live.change("POST", "/api/v2/dags/recsys_nightly/dagRuns", logical_date=None, conf={"run_date": LAST_DAY})
    shards = lists / f".run_date={LAST_DAY}.shards"
    wait_for(lambda: list(shards.glob("part-*.json")) if shards.exists() else None, 150, "a shard", live.log)
    command, task = find_process(LAST_DAY, places["RECSYS_CONFIG"])
    os.kill(task, signal.SIGKILL)
    # The command ends with its task, so that it does not keep the lock from the next try.
    wait_for(lambda: not Path(f"/proc/{command}").exists(), 20, "the end of the command", live.log)
    assert not (lists / f"run_date={LAST_DAY}").exists()
    run = live.finish("recsys_nightly", 5)
    assert run["state"] == "success"
    assert live.tries(run, "generate") == 2
    assert alone.wait(timeout=120) == 0
    published = f"run_date={LAST_DAY}"
    assert read_files(lists / published) == read_files(undisturbed / "recommendations" / published)
    assert (lists / "CURRENT").read_text().strip() == published


def find_process(*words: str) -> tuple[int, int]:
    """Return the process that runs generate with these arguments, and its parent."""
    for folder in Path("/proc").iterdir():
        try:
            arguments = (folder / "cmdline").read_text().split("\0")
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
        except (OSError, ValueError):
            continue
        if "generate" in arguments and "--json" in arguments and all(word in arguments for word in words):
            return int(folder.name), parent
    raise AssertionError(f"no process with {words}")
