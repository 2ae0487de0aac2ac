"""The run of a training: opened first, ended always, and nobody else's."""

import json
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import mlflow
import pytest
from miniature import change, settings
from mlflow_runs import DATA, HOME_ID, log_run, make_results

from recsys.config import Config, parse_config
from recsys.errors import RegistryError
from recsys.registry.names import encode_name
from recsys.registry.tracking import Store, connect
from recsys.registry.training_run import finish_run, log_results, open_training
from recsys.storage.code_version import find_code_version, find_commit
from recsys.storage.files import sqlite_url


@pytest.fixture
def config() -> Config:
    return parse_config(settings(), "test")


@pytest.fixture
def home(new_home: Callable[[], Path]) -> Path:
    return new_home()


@pytest.fixture
def store(home: Path, config: Config) -> Store:
    return connect(home, config)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.txt").write_text("1")
    return tmp_path / "run"


def open_run(store: Store, config: Config, name: str = "x", **details: object) -> object:
    return open_training(store, name, config, {"snapshot": "abc123"}, DATA, HOME_ID, **details)


def list_runs(store: Store) -> dict[str, str]:
    experiment = store.client.get_experiment_by_name(store.experiment)
    return {run.info.run_name: run.info.status for run in store.client.search_runs([experiment.experiment_id])}


class TestOpening:
    def test_everything_is_logged_before_the_block(self, store: Store, config: Config) -> None:
        odd = change(config, dataset={"interactions": {"event_weights": {"buy (web)/家%": 9.0}}})
        with open_run(store, odd) as run_id:
            run = store.client.get_run(run_id)
            assert run.info.status == "RUNNING"
            assert run.data.tags["snapshot"] == "abc123"
            path = "dataset.interactions.event_weights.buy (web)/家%"
            assert run.data.params[encode_name(path)] == "9.0"
            dataset = run.inputs.dataset_inputs[0].dataset
            assert (dataset.name, dataset.digest) == ("mini", "abc123")
            assert json.loads(dataset.profile) == {"num_rows": 3}
            assert run.data.tags["recsys"] == find_code_version()
            assert run.data.tags.get("mlflow.source.git.commit", "") == find_commit()
            assert "buy (web)/家%" in mlflow.artifacts.load_text(f"{run.info.artifact_uri}/config.yaml")
            log_results(store, run_id, odd, make_results(), Path(__file__).parent)
            finish_run(store, run_id)
        run = store.client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert len(run.data.params) == len(odd.flatten())
        assert any(name.startswith("system/") for name in run.data.metrics)

    def test_the_experiment_is_described_unless_a_person_did(self, store: Store, config: Config, folder: Path) -> None:
        log_run(store, config, folder)
        experiment = store.client.get_experiment_by_name(store.experiment)
        assert "`vs_blend/" in experiment.tags["mlflow.note.content"]
        store.client.set_experiment_tag(experiment.experiment_id, "mlflow.note.content", "ask Ana")
        log_run(store, config, folder)
        experiment = store.client.get_experiment_by_name(store.experiment)
        assert experiment.tags["mlflow.note.content"] == "ask Ana"

    def test_a_deleted_experiment(self, store: Store, config: Config, folder: Path) -> None:
        log_run(store, config, folder)
        experiment = store.client.get_experiment_by_name(store.experiment).experiment_id
        store.client.delete_experiment(experiment)
        expected = rf"experiment recsys is deleted; restore it with 'mlflow experiments restore -x {experiment}'"
        with pytest.raises(RegistryError, match=expected), open_run(store, config):
            pass

    def test_a_store_that_cannot_be_written(self, home: Path, store: Store, config: Config, folder: Path) -> None:
        log_run(store, config, folder)
        with sqlite3.connect(home / "mlflow.db") as database:
            # Unlike a file without the permission, this stops the superuser too.
            database.execute("CREATE TRIGGER readonly BEFORE INSERT ON runs BEGIN SELECT RAISE(ABORT, 'readonly'); END")
        expected = r"the run was not created .*readonly.* nothing was trained"
        with pytest.raises(RegistryError, match=expected), open_run(store, config):
            pytest.fail("the block was entered")

    def test_foreign_runs_are_not_touched(
        self, store: Store, config: Config, folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("MLFLOW_RUN_ID", "0123456789abcdef0123456789abcdef")
        monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "another team")
        before = dict(os.environ)
        own = log_run(store, config, folder)
        monkeypatch.delenv("MLFLOW_RUN_ID")
        assert own != "0123456789abcdef0123456789abcdef"
        # A notebook with a run of its own, in a store of its own.
        uri = mlflow.get_tracking_uri()
        mlflow.set_tracking_uri(sqlite_url(tmp_path / "notebook.db"))
        try:
            experiment = mlflow.create_experiment("notebook", (tmp_path / "files").as_uri())
            with mlflow.start_run(experiment_id=experiment) as active:
                log_run(store, config, folder, "second")
                assert mlflow.active_run().info.run_id == active.info.run_id
            assert mlflow.get_run(active.info.run_id).data.params == {}
            assert mlflow.get_tracking_uri() == sqlite_url(tmp_path / "notebook.db")
        finally:
            mlflow.set_tracking_uri(uri)
        monkeypatch.setenv("MLFLOW_RUN_ID", before["MLFLOW_RUN_ID"])
        os.environ.pop("MLFLOW_TRACKING_URI", None)
        assert dict(os.environ) == before
        assert list_runs(store) == {"x": "FINISHED", "second": "FINISHED"}


class TestEnding:
    def test_a_failure_is_recorded_without_credentials(
        self, store: Store, config: Config, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("PGPASSWORD", "hunter22")
        with pytest.raises(ValueError, match="no such table"), open_run(store, config) as run_id:
            raise ValueError("no such table at postgresql://ana:hunter22@host/db")
        run = store.client.get_run(run_id)
        assert run.info.status == "FAILED"
        assert run.data.tags["failure"] == "no such table at postgresql://host/db"
        assert run.data.tags["mlflow.note.content"] == "**Failed:** no such table at postgresql&#58;//host/db"

    def test_an_interrupt_ends_it_as_killed(self, store: Store, config: Config) -> None:
        with pytest.raises(KeyboardInterrupt), open_run(store, config) as run_id:
            raise KeyboardInterrupt
        assert store.client.get_run(run_id).info.status == "KILLED"

    def test_finishing_removes_the_reason_of_an_earlier_failure(
        self, store: Store, config: Config, folder: Path
    ) -> None:
        with pytest.raises(ValueError, match="first"), open_run(store, config) as run_id:
            raise ValueError("first")
        log_results(store, run_id, config, make_results(), folder)
        finish_run(store, run_id, "**Good**")
        run = store.client.get_run(run_id)
        assert run.info.status == "FINISHED"
        assert "failure" not in run.data.tags
        assert run.data.tags["mlflow.note.content"] == "**Good**"

    def test_runs_of_killed_trainings_of_this_home_are_ended(self, store: Store, config: Config) -> None:
        experiment = store.client.create_experiment(store.experiment, store.artifacts)
        for name, home, kind in (
            ("dead", HOME_ID, "training"),
            ("waiting", HOME_ID, "training"),
            ("another home's", "1" * 32, "training"),
            ("a search", HOME_ID, "search"),
        ):
            made = store.client.create_run(experiment, tags={"home": home, "kind": kind}, run_name=name)
            if name == "waiting":
                waiting = made.info.run_id
        with open_run(store, config, kept=[waiting]) as run_id:
            finish_run(store, run_id)
        assert list_runs(store) == {
            "dead": "FAILED",
            "waiting": "RUNNING",
            "another home's": "RUNNING",
            "a search": "RUNNING",
            "x": "FINISHED",
        }


def test_results_logged_twice_are_logged_once(store: Store, config: Config, folder: Path) -> None:
    results = make_results({"popular": {"ndcg_at_10": 0.1}, "a model/家 (v2)": {"ndcg_at_10": 0.2}})
    with open_run(store, config) as run_id:
        for _ in range(2):
            log_results(store, run_id, config, results, folder)
        finish_run(store, run_id)
    history = store.client.get_metric_history(run_id, "loss")
    assert sorted((point.step, point.value) for point in history) == [(0, 3.0), (1, 2.0)]
    assert list_runs(store) == {"x": "FINISHED", "popular": "FINISHED", "a model/家 (v2)": "FINISHED"}
