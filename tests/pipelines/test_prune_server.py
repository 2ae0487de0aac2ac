"""Pruning on a server that stores the files itself: two homes on one MLflow server over PostgreSQL."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from fake_versions import FakeGate, decide
from miniature import settings
from mlflow_servers import MlflowServer, run_mlflow
from postgres_server import run_server
from simulated_home import SimulatedHome, measure

from recsys.config import parse_config
from recsys.errors import RegistryError
from recsys.pipelines.canary import start_canary
from recsys.pipelines.promote import promote
from recsys.pipelines.prune import prune
from recsys.pipelines.rollback import rollback
from recsys.registry.pruned import PRUNED
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, EVALUATION_MODEL, find_number, need_number, open_bundle
from recsys.storage.folders import verify_folder

NAME = "recsys"


@pytest.fixture(scope="module")
def mlflow_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("prune")
    with run_server() as postgres, run_mlflow(folder, postgres, authentication=False) as started:
        yield started


def test_only_what_no_home_needs_is_deleted(
    mlflow_server: MlflowServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.uri)
    gate = FakeGate.install(monkeypatch)
    gate.decision = decide(new_anchor=False)
    keep = {"versions": 1, "former_champions": 1}
    config = parse_config({**settings(), "retention": keep}, "test")
    here, there = (SimulatedHome(config, tmp_path / name, tuned=False) for name in ("here", "there"))
    for _ in range(6):
        here.train()
        promote(config, here.home)
        here.day += 1
    # Another home gives version 3 to a canary.
    monkeypatch.setattr("recsys.pipelines.canary.load_bundle", lambda *_: None)
    start_canary(config, there.home, 0.1, "3")
    before = measure(mlflow_server.artifacts)
    done = prune(config, here.home, here.now)
    assert [(item.name, item.error) for item in done.items if item.kind == "version"] == [
        ("recsys version 2", ""),
        ("recsys version 4", ""),
    ]
    freed = sum(item.bytes for item in done.items if item.kind == "version")
    # The encoder of each is stored once on the server: here it is that of both bundles.
    assert freed == before - measure(mlflow_server.artifacts) > 2 * here.encoder_bytes
    store = connect(there.home, config)
    for number in "1356":
        for part in (BUNDLE, EVALUATION_MODEL):
            with open_bundle(store, need_number(store, NAME, number, ""), part) as folder:
                verify_folder(folder, "")
    pruned = find_number(store, NAME, "2")
    assert pruned is not None
    assert pruned.tags[PRUNED] == here.run_date
    assert store.client.get_run(pruned.run_id).data.metrics["ndcg_at_10"] == 0.5
    with pytest.raises(RegistryError, match=r"version 2: its files were pruned on .*; kept: 1, 3, 5, 6"):
        rollback(config, there.home, "2")
    # The other home comes to the same answer.
    assert not [item for item in prune(config, there.home, here.now).items if item.kind == "version"]
