"""A training, its promotion and a night against a real MLflow server, and what happens when it stops answering.

The night has pseudonyms and a table, so that it also shows that no id and no password is left anywhere.
"""

import logging
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import quote

import pytest
from fake_versions import FakeGate
from miniature import NOW, RUN_DATE, change, read_lists, settings
from mlflow_servers import PASSWORD, USER, MlflowServer, ask, need_authentication, run_mlflow
from postgres_server import run_server
from promotion_kills import World
from traces import find_holders, holds

from recsys.artifacts.postgres import URL
from recsys.config import Config, parse_config
from recsys.dataset.pseudonyms import KEY
from recsys.errors import RegistryError
from recsys.pipelines.doctor import examine
from recsys.pipelines.generate import generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.promote import promote
from recsys.pipelines.train import train
from recsys.registry.tracking import connect
from recsys.registry.versions import CHALLENGER, need_version


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    need_authentication()
    folder = tmp_path_factory.mktemp("mlflow")
    with run_server() as postgres, run_mlflow(folder, postgres, authentication=True) as started:
        yield started


@pytest.fixture
def config() -> Config:
    # Only the store is of interest here.
    changes = {"text": {"fine_tune": {"epochs": 0}}, "dataset": {"pseudonyms": True}}
    return change(parse_config(settings(), "test"), **changes)


@pytest.fixture
def credentials(mlflow_server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", PASSWORD)
    return mlflow_server.uri


def test_wrong_credentials(
    mlflow_server: MlflowServer, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ask(f"{mlflow_server.uri}/api/2.0/mlflow/experiments/search?max_results=1") == 401
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    expected = r"rejects the credentials \(401\); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
    with pytest.raises(RegistryError, match=expected):
        connect(tmp_path, config)
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter/22@x")
    with pytest.raises(RegistryError, match=expected) as caught:
        connect(tmp_path, config)
    assert "hunter" not in str(caught.value)


@pytest.mark.usefixtures("credentials")
def test_promotion_and_rollback(new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch) -> None:
    FakeGate.install(monkeypatch)
    world = World(new_home(), promoted=2)
    assert world.rollback() == "1"
    assert (world.aliases, world.describe()) == (("1", None), None)
    assert world.changes == [("promote", "1"), ("promote", "2"), ("rollback", "1")]


# It trains.
@pytest.mark.timeout(900)
@pytest.mark.usefixtures("raw_in_place")
def test_from_raw_files_to_lists(
    mlflow_server: MlflowServer,
    config: Config,
    tmp_path: Path,
    database: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    capfd: pytest.CaptureFixture[str],
) -> None:
    caplog.set_level(logging.DEBUG, logger="recsys")
    home, key = tmp_path / "home ?#%41 家", "a key of thirty-two characters or more"
    address = mlflow_server.uri.replace("://", f"://{USER}:{quote(PASSWORD, safe='')}@")
    password = "hunter/22@lists"
    # The server on a socket asks nobody for a password.
    lists = database.replace("://lists@", f"://lists:{quote(password, safe='')}@")
    for name, value in (("MLFLOW_TRACKING_URI", address), (KEY, key), (URL, lists)):
        monkeypatch.setenv(name, value)
    config = change(config, generation={"postgres_table": "lists"})
    run_ingest(config, home, NOW)
    train(config, home, RUN_DATE)

    # A server that hangs from the middle of a command on.
    store = connect(home, config)
    mlflow_server.freeze()
    started = time.monotonic()
    with pytest.raises(RegistryError, match="no answer"):
        need_version(store, config.model_name, CHALLENGER, "")
    assert time.monotonic() - started < 30
    mlflow_server.thaw()

    version = need_version(store, config.model_name, CHALLENGER, "")
    assert version.number == "1"
    logged = store.client.get_run(version.run_id)
    assert (logged.info.status, logged.info.artifact_uri.split(":")[0]) == ("FINISHED", "mlflow-artifacts")
    assert any(mlflow_server.artifacts.rglob("served_model.py"))
    assert not (home / "mlflow.db").exists()
    assert not (home / "mlartifacts").exists()

    promote(config, home)
    generate(config, home, RUN_DATE, NOW)
    assert read_lists(home, RUN_DATE)["model_version"].unique().to_list() == ["1"]

    findings = "\n".join(f"{finding.name} {finding.found}" for finding in examine(config, home))
    assert mlflow_server.uri in findings
    printed = capfd.readouterr()
    shown = "\n".join([findings, caplog.text, printed.out, printed.err]).encode()
    secrets = {spelt for secret in (PASSWORD, password) for spelt in (secret, quote(secret), quote(secret, safe=""))}
    for texts in ((key, *secrets), ("u0000000", "u0000001", "u0000002")):
        assert not holds(shown, *texts)
        assert find_holders(home, *texts) == []
        assert find_holders(mlflow_server.artifacts, *texts) == []
