"""Promote and rollback on `mlflow server` with PostgreSQL: kills, and two homes at the same time."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fake_versions import CONFIG, NAME, FakeGate, make_version, open_log
from mlflow_servers import run_mlflow
from postgres_server import run_server
from promotion_kills import check_promote, check_rollback
from promotion_races import promote_at_once

from recsys.registry.tracking import connect


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("mlflow")
    with run_server() as postgres, run_mlflow(folder, postgres, authentication=False) as started:
        yield started.uri


@pytest.fixture
def server(address: str, monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", address)
    return FakeGate.install(monkeypatch)


def test_kills_of_promote(server: FakeGate, new_home: Callable[[], Path]) -> None:
    check_promote(new_home(), 1)


def test_kills_of_rollback(server: FakeGate, new_home: Callable[[], Path]) -> None:
    check_rollback(new_home())


def test_one_of_two_homes_wins(server: FakeGate, new_home: Callable[[], Path]) -> None:
    promote_at_once(new_home, rounds=5)


def test_both_homes_have_one_log(server: FakeGate, new_home: Callable[[], Path]) -> None:
    first, second = new_home(), new_home()
    make_version(connect(first, CONFIG))
    log = open_log(first)
    log.append("refuse", to_version="1", reason="好")
    assert open_log(second).entries == log.entries
    assert (first / "promotion_log.jsonl").read_bytes() == (second / "promotion_log.jsonl").read_bytes()
    assert open_log(second).model == NAME
