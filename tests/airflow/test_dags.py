import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any, ClassVar

import polars as pl
import pytest

pytestmark = pytest.mark.airflow

CHECKOUT = Path(__file__).parents[2]
CHAIN = {
    "recsys_train": ["ingest", "train", "evaluate", "promote"],
    "recsys_nightly": ["ingest", "generate"],
}


DATED = {"train", "generate"}


def call(stage: str, run_date: str, config: str = "configs/demo.yaml") -> list[str]:
    """Return the arguments of one command and the folder it starts in."""
    return [stage, "--config", config, *(["--run-date", run_date] if stage in DATED else []), str(CHECKOUT)]


def test_files_load_without_the_machine_learning_stack(airflow: Any) -> None:
    found = airflow.describe()
    assert found["import_errors"] == {}
    assert found["heavy_imports"] == []
    assert sorted(found["dags"]) == sorted(CHAIN)


@pytest.mark.parametrize("dag_id", CHAIN)
def test_shape(airflow: Any, dag_id: str) -> None:
    dag = airflow.describe()["dags"][dag_id]
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert dag["doc"]
    tasks = dag["tasks"]
    chain = CHAIN[dag_id]
    assert {name: task["downstream"] for name, task in tasks.items()} == {
        stage: chain[place + 1 : place + 2] for place, stage in enumerate(chain)
    }
    assert all(task["timeout"] for task in tasks.values())
    assert {task["owner"] for task in tasks.values()} == {"recommendations"}
    # Every task's documentation explains its failure.
    assert all("**Failed" in task["doc"] for task in tasks.values())
    assert {name for name, task in tasks.items() if task["retries"]} == {"ingest", "generate"} & set(chain)
    assert {name: task["outlets"] for name, task in tasks.items() if task["outlets"]} == (
        {"promote": ["recsys://champion"]} if dag_id == "recsys_train" else {}
    )


def test_a_promotion_starts_the_nightly_lists(airflow: Any, stub: Any) -> None:
    done = airflow.run("recsys_train", stub.environment(), logical_date="2025-03-02T06:00:00+00:00")
    assert done["state"] == "success"
    assert stub.calls() == [call(stage, "2025-03-02") for stage in CHAIN["recsys_train"]]
    assert done["asset_events"] == 1
    assert done["waiting_for_asset"] == ["recsys_nightly"]


def test_a_run_without_logical_date_uses_the_day_from_which_it_may_run(airflow: Any, stub: Any) -> None:
    done = airflow.run("recsys_nightly", stub.environment(), run_after="2025-03-04T23:30:00+00:00")
    assert done["state"] == "success"
    assert stub.calls() == [call("ingest", "2025-03-04"), call("generate", "2025-03-04")]


def test_the_parameter_overrides_the_date(airflow: Any, stub: Any) -> None:
    environment = stub.environment(RECSYS_CONFIG="/etc/a b/my.yaml")
    logical_date = "2025-03-05T03:00:00+00:00"
    airflow.run("recsys_nightly", environment, logical_date=logical_date, conf={"run_date": "2024-12-31"})
    assert stub.calls() == [call(stage, "2024-12-31", "/etc/a b/my.yaml") for stage in ("ingest", "generate")]


def test_a_refused_promotion_is_skipped_and_triggers_nothing(airflow: Any, stub: Any) -> None:
    stub.exit_codes = {"promote": 3}
    done = airflow.run("recsys_train", stub.environment(), logical_date="2025-03-09T06:00:00+00:00")
    assert done["state"] == "success"
    assert done["tasks"] == {"ingest": "success", "train": "success", "evaluate": "success", "promote": "skipped"}
    assert done["asset_events"] == 0


@pytest.mark.parametrize("exit_code", [2, 3])
def test_an_error_stops_what_follows(airflow: Any, stub: Any, exit_code: int) -> None:
    stub.exit_codes = {"train": exit_code}
    done = airflow.run("recsys_train", stub.environment(), logical_date=f"2025-03-1{exit_code}T06:00:00+00:00")
    assert done["state"] == "failed"
    assert done["tasks"] == {
        "ingest": "success",
        "train": "failed",
        "evaluate": "upstream_failed",
        "promote": "upstream_failed",
    }
    assert done["asset_events"] == 0
    assert [one[0] for one in stub.calls()] == ["ingest", "train"]


class Receiver(BaseHTTPRequestHandler):
    """Keeps the alerts that are sent to it."""

    alerts: ClassVar[list[dict[str, str]]] = []

    def do_POST(self) -> None:
        self.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *args: object) -> None:
        pass


def test_a_failed_task_sends_one_alert_if_an_address_is_set(airflow: Any, stub: Any) -> None:
    stub.exit_codes = {"ingest": 2}
    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        Thread(target=server.serve_forever).start()
        try:
            # The address of a server, none, and an address that nobody answers.
            for minute, url in enumerate((f"http://127.0.0.1:{server.server_port}/hook", "", "http://127.0.0.1:1/")):
                environment = stub.environment(AIRFLOW_VAR_RECSYS_ALERT_URL=url)
                done = airflow.run("recsys_nightly", environment, logical_date=f"2025-03-20T03:0{minute}:00+00:00")
                assert done["tasks"] == {"ingest": "failed", "generate": "upstream_failed"}
        finally:
            server.shutdown()
    (alert,) = Receiver.alerts
    assert alert["text"].startswith("recsys_nightly.ingest failed (run ")


def test_refused_lists_fail_the_night(airflow: Any, stub: Any) -> None:
    stub.exit_codes = {"generate": 3}
    done = airflow.run("recsys_nightly", stub.environment(), logical_date="2025-03-14T03:00:00+00:00")
    assert done["state"] == "failed"
    assert done["tasks"] == {"ingest": "success", "generate": "failed"}


@pytest.mark.parametrize(
    "typed", ["2025-01-01; touch {mark}", "$(touch {mark})", "2025-01-01\n", "20250101", "2025-02-30", "٢٠٢٥-٠١-٠١"]
)
def test_no_text_but_a_date_is_accepted(airflow: Any, stub: Any, tmp_path: Path, typed: str) -> None:
    mark = tmp_path / "mark"
    done = airflow.run("recsys_nightly", stub.environment(), conf={"run_date": typed.format(mark=mark)})
    assert "ParamValidationError" in done["error"]
    assert stub.calls() == []
    assert not mark.exists()


def test_the_date_never_reaches_the_shell_as_text(airflow: Any, stub: Any, tmp_path: Path) -> None:
    """Even without the parameter's validation."""
    mark = tmp_path / "mark"
    typed = f'2025-01-01"; touch {mark}; "$(touch {mark})'
    airflow.run("recsys_nightly", stub.environment(), conf={"run_date": typed}, unchecked=True)
    assert stub.calls() == [call(stage, typed) for stage in ("ingest", "generate")]
    assert not mark.exists()


CONFIG = """
name: small
threads: 1
dataset:
  items:
    path: demo/items.jsonl.gz
    columns: {item_id: id, description: description, tags: tags, available: available, created_at: created_at}
  interactions:
    path: demo/interactions.csv.gz
    columns: {time: timestamp, event: event}
    event_weights: {view: 1.0, click: 2.0, like: 3.0, comment: 4.0, share: 4.0, purchase: 5.0}
windows: {test_days: 5}
text: {max_tokens: 16, fine_tune: {epochs: 0}, interest: {epochs: 1}}
collab: {als: {embedding_size: 8, epochs: 3}}
ranking: {max_trees: 10, fixed_trees: 10}
evaluation: {bootstrap_samples: 100}
registry: {gate: {accept_equal: always, max_loss: 1.0, max_total_loss: 1.0, min_users: 1}}
generation: {n: 5}
"""


def test_the_real_command_trains_promotes_and_publishes(airflow: Any, tmp_path: Path) -> None:
    command = str(Path(sys.executable).with_name("recsys"))
    size = ["--users", "120", "--items", "80", "--days", "30"]
    subprocess.run([command, "demo-data", *size, "--out", tmp_path / "demo"], check=True, capture_output=True)
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    places = {"RECSYS_HOME": tmp_path / "home", "RECSYS_DATA": tmp_path, "RECSYS_CONFIG": config}
    environment = {"RECSYS_COMMAND": command, **{name: os.fspath(place) for name, place in places.items()}}

    trained = airflow.run("recsys_train", environment, run_after="2025-01-31T06:00:00+00:00")
    assert trained["tasks"] == dict.fromkeys(CHAIN["recsys_train"], "success"), airflow.log()
    assert trained["asset_events"] == 1

    night = airflow.run("recsys_nightly", environment, logical_date="2025-01-31T03:00:00+00:00")
    assert night["tasks"] == dict.fromkeys(CHAIN["recsys_nightly"], "success"), airflow.log()
    published = tmp_path / "home" / "recommendations"
    assert (published / "CURRENT").read_text().strip() == "run_date=2025-01-31"
    lists = pl.read_parquet(published / "run_date=2025-01-31" / "*.parquet")
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [5]
    assert lists["user_id"].n_unique() == 120
