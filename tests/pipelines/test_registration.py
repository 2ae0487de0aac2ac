"""A fitted training is never lost: whatever fails while it is registered, the next command completes it."""

import shutil
from collections.abc import Callable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
from kept_training import check_registered, keep
from miniature import Trained
from mlflow.exceptions import MlflowException

from recsys.errors import ArtifactError, RegistryError
from recsys.pipelines.doctor import examine
from recsys.pipelines.registration import find_kept, register_training
from recsys.registry.client import StoreClient
from recsys.registry.tracking import connect
from recsys.registry.versions import CHALLENGER, find_version
from recsys.storage.home import kept_training_folder

MODEL = "recsys"


@pytest.fixture
def home(trained: Trained, new_home: Callable[[], Path]) -> Path:
    """A home with a run, as a training leaves it before it is registered."""
    home = new_home()
    shutil.copytree(trained.home / "runs", home / "runs")
    return home


@pytest.fixture(autouse=True)
def without_samples(monkeypatch: pytest.MonkeyPatch) -> None:
    """No thread makes requests of its own, which would take the failure of a test."""
    monkeypatch.setattr("recsys.registry.training_run.log_system_metrics", lambda *_: nullcontext())


@pytest.fixture
def run(home: Path) -> str:
    return next(path.name for path in (home / "runs").iterdir() if path.is_dir())


# Every kind of request that registering a training makes, in order.
STEPS = (
    "get_experiment_by_name",
    "get_run",
    "log_batch",
    "search_runs",
    "create_run",
    "set_terminated",
    "log_artifacts",
    "search_logged_models",
    "create_logged_model",
    "log_model_artifacts",
    "log_outputs",
    "finalize_logged_model",
    "search_registered_models",
    "create_registered_model",
    "search_model_versions",
    "create_model_version",
    "set_model_version_tag",
    "get_model_version_by_alias",
    "set_registered_model_alias",
    # This time of the training's own run: the nested one has ended.
    "set_terminated",
)


class Failures:
    """Lets the first request of a name fail, before it is carried out or after, when its reply is lost."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *, after: bool) -> None:
        self.name = ""
        answer = StoreClient._answer

        def fail(client: StoreClient, name: str, call: Callable[[], Any]) -> Any:
            if name != self.name:
                return answer(client, name, call)
            self.name = ""
            if after:
                # The reply may also be an error, such as that there is no challenger yet.
                with suppress(MlflowException):
                    answer(client, name, call)
            raise MlflowException("API request failed with exception Connection refused")

        monkeypatch.setattr(StoreClient, "_answer", fail)


@pytest.mark.parametrize("after", [False, True], ids=["the request is lost", "the reply is lost"])
def test_each_request_may_fail(
    after: bool, home: Path, run: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained.config
    run_id = keep(config, home, run, connect(home, config), finish=False)
    failures = Failures(monkeypatch, after=after)
    for name in STEPS:
        failures.name = name
        with pytest.raises(RegistryError, match="Connection refused") as caught:
            register_training(config, home)
        assert failures.name == "", f"no request {name}"
        # Without the store nothing was begun.
        assert name == STEPS[0] or "'recsys register' registers it without training again" in str(caught.value)
        assert kept_training_folder(home, run).is_dir()
    assert [each.run for each in register_training(config, home)] == [run]
    check_registered(config, home, run, run_id)
    assert register_training(config, home) == []


def test_a_training_that_cannot_be_registered_is_kept_and_shown(
    home: Path, run: str, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = trained.config

    def fail(*_: object) -> None:
        raise RegistryError("MLflow store x: no answer")

    with monkeypatch.context() as patch:
        patch.setattr("recsys.pipelines.registration.register", fail)
        with pytest.raises(RegistryError, match=rf"no answer; run {run} is trained and kept in .*'recsys register'"):
            keep(config, home, run, connect(home, config), finish=True)
    store = connect(home, config)
    (run_id,) = find_kept(home).values()
    failed = store.client.get_run(run_id)
    assert failed.info.status == "FAILED"
    assert "recsys register" in failed.data.tags["failure"]
    found = next(finding for finding in examine(config, home) if finding.name == "registry")
    assert (found.state, run in found.found, "recsys register" in found.found) == ("problem", True, True)

    with pytest.raises(ArtifactError, match=f"run 'other': has no unfinished registration .*found {run}"):
        register_training(config, home, "other")
    assert [each.run for each in register_training(config, home, run)] == [run]
    check_registered(config, home, run, run_id)


def test_an_older_training_does_not_take_the_alias(home: Path, run: str, trained: Trained) -> None:
    config, store = trained.config, connect(home, trained.config)
    older = keep(config, home, run, store, finish=False)
    kept = kept_training_folder(home, run)
    aside = kept.rename(home / "aside")
    newer = keep(config, home, run, store, finish=True)
    aside.rename(kept)
    (registered,) = register_training(config, home)
    assert registered.version.run_id == older
    challenger = find_version(store, MODEL, CHALLENGER)
    assert challenger is not None
    assert challenger.run_id == newer


def test_another_store_is_named(
    home: Path, run: str, trained: Trained, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keep(trained.config, home, run, connect(home, trained.config), finish=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{tmp_path}/other.db")
    with pytest.raises(RegistryError, match=r"has no run .*which was started in .*mlflow\.db; set MLFLOW_TRACKING_URI"):
        register_training(trained.config, home)
    assert list(find_kept(home)) == [run]


def test_changed_files_are_not_registered(home: Path, run: str, trained: Trained) -> None:
    keep(trained.config, home, run, connect(home, trained.config), finish=False)
    (kept_training_folder(home, run) / "bundle" / "家.txt").write_text("changed")
    with pytest.raises(ArtifactError, match="is changed; delete this folder and run 'recsys train'"):
        register_training(trained.config, home)
