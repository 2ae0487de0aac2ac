import json
import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import polars as pl
import pytest

pytestmark = pytest.mark.airflow

CHECKOUT = Path(__file__).parents[2]
# Each task with those that follow it directly.
DAGS = {
    "recsys_train": {
        "ingest": ["train"],
        "train": ["evaluate"],
        "evaluate": ["report"],
        "report": ["promote"],
        "promote": [],
    },
    "recsys_nightly": {
        "wait_for_data": ["ingest"],
        "ingest": ["generate", "plan_parts"],
        "plan_parts": ["make_part"],
        "make_part": ["generate"],
        "generate": ["monitor", "prune"],
        "monitor": ["prune", "request_training"],
        "prune": [],
        "request_training": [],
    },
    "recsys_backfill": {"ingest": ["generate"], "generate": []},
}
NIGHT = ["freshness", "ingest", "generate", "monitor", "prune"]
TRAINING = ["ingest", "train", "evaluate", "report", "promote"]
# What a night without parts, and without a wish for a training, skips.
UNUSED = {"make_part": "skipped", "request_training": "skipped"}
DATED = {"freshness", "train", "generate", "monitor"}
REFUSED = {"code": 3, "err": "refused: 52.5% of rows are fallback items (limit 50%)"}
LATE = {"code": 3, "err": "refused: data for 2025-03-01: not yet", "out": {"fresh": False, "lists": "2025-02-27"}}


def call(stage: str, run_date: str, config: str = "configs/demo.yaml", *more: str) -> list[str]:
    """Return the arguments of one command and the folder it starts in."""
    dated = ["--run-date", run_date] if stage in DATED else []
    dated += ["--from="] if stage == "train" and not more else []
    return [stage, "--config", config, *dated, *more, *(["--json"] if stage != "evaluate" else []), str(CHECKOUT)]


def green(dag_id: str, **others: str) -> dict[str, str]:
    """Return the states of a run in which everything succeeded, except for others."""
    return dict.fromkeys(DAGS[dag_id], "success") | (UNUSED if dag_id == "recsys_nightly" else {}) | others


def test_files_load_without_the_machine_learning_stack(airflow: Any) -> None:
    found = airflow.describe()
    assert found["import_errors"] == {}
    assert found["heavy_imports"] == []
    assert sorted(found["dags"]) == sorted(DAGS)


@pytest.mark.parametrize("dag_id", DAGS)
def test_shape(airflow: Any, dag_id: str) -> None:
    dag = airflow.describe()["dags"][dag_id]
    assert (dag["max_active_runs"], dag["catchup"]) == (1, False)
    assert "| you see | it means | do |" in dag["doc"]
    assert "**What serves meanwhile**" in dag["doc"]
    tasks = dag["tasks"]
    assert {name: task["downstream"] for name, task in tasks.items()} == DAGS[dag_id]
    assert all(task["timeout"] for name, task in tasks.items() if name not in ("plan_parts", "request_training"))
    assert {(task["owner"], task["retries"]) for task in tasks.values()} == {("recommendations", 2)}
    # Every task's documentation explains its failure.
    assert all("**Failed" in task["doc"] for task in tasks.values())
    # What writes snapshots, lists or the champion takes turns; what waits, reads or trains does not.
    writers = {"ingest", "generate", "monitor", "prune", "promote"} & set(tasks)
    assert {name for name, task in tasks.items() if task["pool"] == "recsys"} == writers
    outlets = {"promote": ["recsys://champion"], "request_training": ["recsys://retraining"]}
    assert {name: task["outlets"] for name, task in tasks.items() if task["outlets"]} == {
        name: assets for name, assets in outlets.items() if name in tasks
    }


def test_a_promotion_starts_the_nightly_lists(airflow: Any, stub: Any) -> None:
    stub.scripts["report"] = [{"out": {"file": "/home/reports/a.html"}}]
    stub.scripts["train"] = [{"out": {"run": "demo-1", "version": "2", "metrics": [1] * 9}}]
    environment = stub.environment(MLFLOW_TRACKING_URI="https://user:SECRET@mlflow.example/a")
    done = airflow.run("recsys_train", environment, logical_date="2025-03-02T06:00:00+00:00")
    assert (done["state"], done["tasks"]) == ("success", green("recsys_train"))
    assert stub.calls() == [call(stage, "2025-03-02") for stage in TRAINING]
    assert done["asset_events"] == 1
    assert "recsys_nightly" in done["waiting_for_asset"]
    # Links, without the password.
    assert done["xcoms"]["report"]["file"] == "/home/reports/a.html"
    assert done["xcoms"]["train"] == {"run": "demo-1", "version": "2", "mlflow": "https://mlflow.example/a"}
    assert done["xcoms"]["promote"] == {"promoted": True, "champion": "2"}


def test_a_variable_makes_trainings_continue(airflow: Any, stub: Any) -> None:
    environment = stub.environment(AIRFLOW_VAR_RECSYS_TRAIN_FROM="champion")
    airflow.run("recsys_train", environment, logical_date="2025-03-09T06:00:00+00:00")
    assert stub.calls()[1] == call("train", "2025-03-09", "configs/demo.yaml", "--from=champion")


def test_a_promotion_that_changes_nothing_starts_nothing(airflow: Any, stub: Any) -> None:
    unchanged = {"promoted": False, "champion": "2", "reason": "version 2 is already the champion"}
    stub.scripts["promote"] = [{"out": unchanged}]
    done = airflow.run("recsys_train", stub.environment(), logical_date="2025-03-03T06:00:00+00:00")
    assert (done["state"], done["tasks"]) == ("success", green("recsys_train", promote="skipped"))
    assert done["asset_events"] == 0
    assert "version 2 is already the champion" in airflow.log()


def test_a_run_without_logical_date_uses_the_day_from_which_it_may_run(airflow: Any, stub: Any) -> None:
    done = airflow.run("recsys_nightly", stub.environment(), run_after="2025-03-04T23:30:00+00:00")
    assert (done["state"], done["tasks"]) == ("success", green("recsys_nightly"))
    assert stub.calls() == [call(stage, "2025-03-04") for stage in NIGHT]


def test_the_parameter_overrides_the_date(airflow: Any, stub: Any) -> None:
    environment = stub.environment(RECSYS_CONFIG="/etc/a b/my.yaml")
    logical_date = "2025-03-05T03:00:00+00:00"
    airflow.run("recsys_nightly", environment, logical_date=logical_date, conf={"run_date": "2024-12-31"})
    assert stub.calls() == [call(stage, "2024-12-31", "/etc/a b/my.yaml") for stage in NIGHT]


def test_the_command_may_be_a_command_line(airflow: Any, stub: Any, tmp_path: Path) -> None:
    environment = stub.environment()
    environment["RECSYS_COMMAND"] = f"env 'NAME=a b $(touch mark) ; *' {environment['RECSYS_COMMAND']} --quiet"
    airflow.run("recsys_nightly", environment, logical_date="2025-03-05T04:00:00+00:00")
    assert stub.calls()[1] == ["--quiet", *call("ingest", "")]
    assert not (CHECKOUT / "mark").exists()


@pytest.mark.parametrize(
    ("command", "message"),
    [("/no/such/recsys --x", "'/no/such/recsys' cannot be started (No such file"), ("'recsys", "close the quotes")],
)
def test_a_command_that_cannot_be_started_is_named(airflow: Any, stub: Any, command: str, message: str) -> None:
    done = airflow.run("recsys_backfill", stub.environment(RECSYS_COMMAND=command), conf=RANGE)
    assert done["tasks"] == {"ingest": "failed", "generate": "upstream_failed"}
    assert message in airflow.log()


@pytest.mark.parametrize("exit_code", [2, 3])
def test_an_error_stops_what_follows(airflow: Any, stub: Any, exit_code: int) -> None:
    stub.scripts["train"] = [{"code": exit_code, "err": "error: no space"}]
    done = airflow.run("recsys_train", stub.environment(), logical_date=f"2025-03-1{exit_code}T06:00:00+00:00")
    assert done["state"] == "failed"
    later = dict.fromkeys(("evaluate", "report", "promote"), "upstream_failed")
    assert done["tasks"] == {"ingest": "success", "train": "failed", **later}
    assert done["asset_events"] == 0
    assert done["xcoms"]["train"] == {"reason": "error: no space"}
    assert stub.stages() == ["ingest", "train"]


class TestRefusals:
    def run(self, airflow: Any, stub: Any, receiver: Any, minute: int, **variables: str) -> dict[str, Any]:
        stub.scripts["generate"] = [REFUSED]
        environment = stub.environment(AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url, **variables)
        done = airflow.run("recsys_nightly", environment, logical_date=f"2025-03-14T03:0{minute}:00+00:00")
        assert done["xcoms"]["generate"] == {"reason": REFUSED["err"]}
        # The monitor names the cause.
        assert "monitor" in stub.stages()
        return done

    def test_they_fail_the_night_and_page_nobody(self, airflow: Any, stub: Any, receiver: Any) -> None:
        done = self.run(airflow, stub, receiver, 1)
        assert done["state"] == "failed"
        assert done["tasks"] == green("recsys_nightly", generate="failed", prune="upstream_failed")
        assert receiver.take() == []
        assert REFUSED["err"] in airflow.log()

    def test_they_skip_the_task_and_alert_if_chosen(self, airflow: Any, stub: Any, receiver: Any) -> None:
        chosen = {"AIRFLOW_VAR_RECSYS_ON_REFUSAL": "skip", "AIRFLOW_VAR_RECSYS_ALERT_ON": "failure, refusal"}
        done = self.run(airflow, stub, receiver, 2, **chosen)
        assert (done["state"], done["tasks"]) == ("success", green("recsys_nightly", generate="skipped"))
        (alert,) = receiver.take()
        assert alert.startswith("recsys_nightly.generate (run ")
        assert f"{REFUSED['err']}; http" in alert

    def test_of_a_promotion_they_skip_and_trigger_nothing(self, airflow: Any, stub: Any) -> None:
        stub.scripts["promote"] = [{**REFUSED, "out": {"promoted": False, "reason": "no"}}]
        done = airflow.run("recsys_train", stub.environment(), logical_date="2025-03-09T06:00:00+00:00")
        assert (done["state"], done["tasks"]) == ("success", green("recsys_train", promote="skipped"))
        assert done["asset_events"] == 0
        # The Variable decides about a promotion too.
        environment = stub.environment(AIRFLOW_VAR_RECSYS_ON_REFUSAL="fail")
        done = airflow.run("recsys_train", environment, logical_date="2025-03-10T06:00:00+00:00")
        assert done["tasks"] == green("recsys_train", promote="failed")


class TestAlerts:
    def fail(self, airflow: Any, stub: Any, **variables: str) -> None:
        stub.scripts["ingest"] = [{"code": 2, "err": "error: items.csv: no such file"}]
        done = airflow.run("recsys_backfill", stub.environment(**variables), conf=RANGE)
        assert done["tasks"] == {"ingest": "failed", "generate": "upstream_failed"}

    def test_a_failed_task_sends_one_alert(self, airflow: Any, stub: Any, receiver: Any) -> None:
        self.fail(airflow, stub, AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url)
        (alert,) = receiver.take()
        assert alert.startswith("recsys_backfill.ingest (run ")
        assert "failed: exit code 2: error: items.csv: no such file; http" in alert

    def test_without_an_address_or_a_wish_none_is_sent(self, airflow: Any, stub: Any, receiver: Any) -> None:
        self.fail(airflow, stub)
        self.fail(airflow, stub, AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url, AIRFLOW_VAR_RECSYS_ALERT_ON="late")
        assert receiver.take() == []

    def test_an_address_that_cannot_be_reached_is_not_shown(self, airflow: Any, stub: Any, receiver: Any) -> None:
        bad = "http://127.0.0.1:1/SECRET-A http://[SECRET-B tgram://SECRET-C/1"
        self.fail(airflow, stub, AIRFLOW_VAR_RECSYS_ALERT_URL=f"{bad} {receiver.url}")
        # The last address is still tried.
        assert len(receiver.take()) == 1
        log = airflow.whole_log()
        assert log.count("alert was not sent to address") == 3
        assert "SECRET" not in log

    def test_the_address_may_be_in_a_connection(self, airflow: Any, stub: Any, receiver: Any) -> None:
        for secret in ({"password": receiver.url}, {"extra": {"config": {"path": receiver.url}}}):
            connection = json.dumps({"conn_type": "generic", **secret})
            named = {"AIRFLOW_CONN_PAGER": connection, "AIRFLOW_VAR_RECSYS_ALERT_CONNECTION": "pager"}
            self.fail(airflow, stub, **named)
            assert len(receiver.take()) == 1

    @pytest.mark.skipif(not find_spec("apprise"), reason="needs apprise, of the [airflow] extra")
    def test_other_addresses_are_those_of_apprise(self, airflow: Any, stub: Any, receiver: Any) -> None:
        self.fail(airflow, stub, AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url.replace("http:", "json:"))
        (alert,) = receiver.take()
        assert "failed: exit code 2: error: items.csv: no such file; http" in alert

    def test_a_monitor_alert_is_sent_and_the_night_goes_on(self, airflow: Any, stub: Any, receiver: Any) -> None:
        out = {"verdict": "alert", "retrain": True, "page": "/home/monitoring/demo/page.html", "figures": {}}
        stub.scripts["monitor"] = [{"code": 4, "err": "alert: 2025-03-21: the feed is frozen", "out": out}]
        environment = stub.environment(AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url)
        done = airflow.run("recsys_nightly", environment, logical_date="2025-03-21T03:00:00+00:00")
        assert (done["state"], done["tasks"]) == ("success", green("recsys_nightly", request_training="success"))
        (alert,) = receiver.take()
        assert "alert: 2025-03-21: the feed is frozen; http" in alert
        assert done["xcoms"]["monitor"]["page"] == out["page"]
        # It asked for a training.
        assert done["asset_events"] == 1
        assert "recsys_train" in done["waiting_for_asset"]

    def test_a_failed_pruning_does_not_fail_the_night(self, airflow: Any, stub: Any, receiver: Any) -> None:
        stub.scripts["prune"] = [{"code": 2, "err": "error: read-only"}]
        environment = stub.environment(AIRFLOW_VAR_RECSYS_ALERT_URL=receiver.url)
        done = airflow.run("recsys_nightly", environment, logical_date="2025-03-22T03:00:00+00:00")
        assert (done["state"], done["tasks"]) == ("success", green("recsys_nightly", prune="skipped"))
        (alert,) = receiver.take()
        assert "recsys_nightly.prune" in alert
        assert "exit code 2: error: read-only" in alert


class TestWaitingForData:
    def wait(self, airflow: Any, stub: Any, receiver: Any, minute: int, **variables: str) -> dict[str, Any]:
        fast = {"AIRFLOW_VAR_RECSYS_DATA_POLL_MINUTES": "0.005", "AIRFLOW_VAR_RECSYS_ALERT_URL": receiver.url}
        date = f"2025-03-01T03:0{minute}:00+00:00"
        return airflow.run("recsys_nightly", stub.environment(**fast, **variables), logical_date=date)

    def test_it_looks_until_the_data_has_arrived(self, airflow: Any, stub: Any, receiver: Any) -> None:
        stub.scripts["freshness"] = [LATE, LATE, {"out": {"fresh": True, "newest": "2025-02-28T23:00:00+00:00"}}]
        done = self.wait(airflow, stub, receiver, 0, AIRFLOW_VAR_RECSYS_DATA_TOLERANCE_HOURS="3")
        assert done["tasks"] == green("recsys_nightly")
        tolerant = call("freshness", "2025-03-01", "configs/demo.yaml", "--tolerance-hours", "3")
        assert stub.calls()[:4] == [tolerant, tolerant, tolerant, call("ingest", "")]
        assert done["xcoms"]["wait_for_data"]["newest"] == "2025-02-28T23:00:00+00:00"
        assert receiver.take() == []

    @pytest.mark.parametrize("choice", ["fail", "continue"])
    def test_the_deadline(self, airflow: Any, stub: Any, receiver: Any, choice: str) -> None:
        stub.scripts["freshness"] = [LATE]
        limits = {"AIRFLOW_VAR_RECSYS_DATA_DEADLINE_MINUTES": "0.01", "AIRFLOW_VAR_RECSYS_ON_LATE_DATA": choice}
        done = self.wait(airflow, stub, receiver, 1 + len(choice), **limits)
        later = dict.fromkeys(DAGS["recsys_nightly"], "upstream_failed")
        # The monitor says for how long the feed has been frozen.
        later |= {"wait_for_data": "failed", "monitor": "success", "request_training": "skipped"}
        assert done["tasks"] == (green("recsys_nightly") if choice == "continue" else later)
        (alert,) = receiver.take()
        assert "data for 2025-03-01: not yet; the deadline has passed; lists are " in alert
        assert "h old, last good night 2025-02-27, which remain published; restart the feed, then clear" in alert

    def test_the_deadline_before_the_first_lists(self, airflow: Any, stub: Any, receiver: Any) -> None:
        stub.scripts["freshness"] = [{**LATE, "out": {"fresh": False, "lists": None}}]
        self.wait(airflow, stub, receiver, 2, AIRFLOW_VAR_RECSYS_DATA_DEADLINE_MINUTES="0.01")
        (alert,) = receiver.take()
        assert "the deadline has passed; no lists are published yet; restart the feed" in alert

    def test_an_error_is_not_waited_for(self, airflow: Any, stub: Any, receiver: Any) -> None:
        stub.scripts["freshness"] = [{"code": 2, "err": "error: config x.yaml: no such file"}]
        done = self.wait(airflow, stub, receiver, 9)
        assert done["tasks"]["wait_for_data"] == "failed"
        assert stub.stages() == ["freshness", "monitor"]
        assert len(receiver.take()) == 1


def test_parts_of_a_night_are_tasks(airflow: Any, stub: Any) -> None:
    environment = stub.environment(AIRFLOW_VAR_RECSYS_SHARD_TASKS="3")
    done = airflow.run("recsys_nightly", environment, logical_date="2025-03-06T03:00:00+00:00")
    parts = {f"make_part[{number}]": "success" for number in range(3)}
    expected = {name: state for name, state in green("recsys_nightly").items() if name != "make_part"} | parts
    assert (done["state"], done["tasks"]) == ("success", expected)
    made = [found for found in stub.calls() if found[0] == "generate"]
    assert made[3:] == [call("generate", "2025-03-06")]
    assert sorted(made[:3]) == [
        *(call("generate", "2025-03-06", "configs/demo.yaml", "--shards", f"{number}/3") for number in (1, 2, 3)),
    ]


RANGE = {"first": "2025-02-03", "last": "2025-02-05"}


def test_a_range_is_one_command(airflow: Any, stub: Any) -> None:
    done = airflow.run("recsys_backfill", stub.environment(), conf=RANGE)
    assert done["state"] == "success"
    dates = ["--run-date", "2025-02-03", "--until", "2025-02-05", "--keep-pointer"]
    made = ["generate", "--config", "configs/demo.yaml", *dates, "--json", str(CHECKOUT)]
    assert stub.calls() == [call("ingest", ""), made]


@pytest.mark.parametrize("given", [{}, {"first": "2025-02-03"}, {**RANGE, "last": "tomorrow"}])
def test_a_range_needs_two_dates(airflow: Any, stub: Any, given: dict[str, str]) -> None:
    assert "ParamValidationError" in airflow.run("recsys_backfill", stub.environment(), conf=given)["error"]
    assert stub.calls() == []


@pytest.mark.parametrize(
    "typed", ["2025-01-01; touch {mark}", "$(touch {mark})", "2025-01-01\n", "20250101", "2025-02-30", "٢٠٢٥-٠١-٠١"]
)
def test_no_text_but_a_date_is_accepted(airflow: Any, stub: Any, tmp_path: Path, typed: str) -> None:
    mark = tmp_path / "mark"
    done = airflow.run("recsys_nightly", stub.environment(), conf={"run_date": typed.format(mark=mark)})
    assert "ParamValidationError" in done["error"]
    assert stub.calls() == []
    assert not mark.exists()


def test_no_shell_ever_sees_the_date(airflow: Any, stub: Any, tmp_path: Path) -> None:
    """Even without the parameter's validation."""
    mark = tmp_path / "mark"
    typed = f'2025-01-01"; touch {mark}; "$(touch {mark})'
    airflow.run("recsys_nightly", stub.environment(), conf={"run_date": typed}, unchecked=True)
    assert stub.calls() == [call(stage, typed) for stage in NIGHT]
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
    environment = {
        "RECSYS_COMMAND": f"'{command}' --quiet",
        **{name: os.fspath(place) for name, place in places.items()},
    }

    trained = airflow.run("recsys_train", environment, run_after="2025-01-31T06:00:00+00:00")
    assert trained["tasks"] == green("recsys_train"), airflow.log()
    assert trained["asset_events"] == 1

    # Made by two tasks.
    environment["AIRFLOW_VAR_RECSYS_SHARD_TASKS"] = "2"
    night = airflow.run("recsys_nightly", environment, logical_date="2025-01-31T03:00:00+00:00")
    assert night["state"] == "success", airflow.log()
    assert {night["tasks"][name] for name in ("wait_for_data", "make_part[1]", "generate", "monitor")} == {"success"}
    published = tmp_path / "home" / "recommendations"
    assert (published / "CURRENT").read_text().strip() == "run_date=2025-01-31"
    lists = pl.read_parquet(published / "run_date=2025-01-31" / "*.parquet")
    assert lists.group_by("user_id").len()["len"].unique().to_list() == [5]
    assert lists["user_id"].n_unique() == 120
