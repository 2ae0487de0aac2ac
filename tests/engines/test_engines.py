"""What every engine promises, and what is special to each engine."""

import operator
import os
import socket
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from recsys.config import EngineConfig
from recsys.engines import FITTING, HERE, Engine, Shared, make_engine
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import RayEngine
from recsys.errors import EngineError

# Any process can import this by name.
TRIPLE = partial(operator.mul, 3)


@pytest.fixture(scope="module")
def cluster() -> Iterator[None]:
    """One Ray cluster for all tests; starting one takes seconds."""
    ray = pytest.importorskip("ray")
    with pytest.MonkeyPatch.context() as patch:
        # Tasks are functions of this module.
        patch.setenv("PYTHONPATH", str(Path(__file__).parent), prepend=os.pathsep)
        ray.init(address="local", num_cpus=2, log_to_driver=False, include_dashboard=False)
    yield
    ray.shutdown()


@pytest.fixture(params=["one process", "two processes", pytest.param("ray", marks=pytest.mark.ray)])
def engine(request: pytest.FixtureRequest) -> Engine:
    if request.param == "ray":
        request.getfixturevalue("cluster")
        return RayEngine(1)
    return LocalEngine(1 if request.param == "one process" else 2, 1)


@pytest.mark.ray
def test_a_cluster_that_does_not_answer(monkeypatch):
    # Before the fixture starts a cluster, which would be used instead.
    pytest.importorskip("ray")
    with socket.socket() as bound:
        # Bound and not listening: connections are refused.
        bound.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{bound.getsockname()[1]}"
        for url in (address, f"ray://{address}"):
            monkeypatch.setenv("RECSYS_RAY_ADDRESS", url)
            expected = rf"cannot connect to a cluster at RECSYS_RAY_ADDRESS={url} \(.*refused"
            with pytest.raises(EngineError, match=expected):
                list(RayEngine(1).run(TRIPLE, [1]))


@pytest.mark.ray
def test_a_cluster_that_refuses_the_token(monkeypatch):
    ray = pytest.importorskip("ray")

    def refuse(**options: object) -> None:
        raise ray.exceptions.AuthenticationError("no token")

    monkeypatch.setattr(ray, "init", refuse)
    monkeypatch.delenv("RECSYS_RAY_ADDRESS", raising=False)
    with pytest.raises(EngineError, match=r"\(no token.* correct the address or the token \(RAY_AUTH_TOKEN_PATH\)"):
        list(RayEngine(1).run(TRIPLE, [1]))


def test_every_task_runs_once(engine):
    assert sorted(engine.run(TRIPLE, range(7))) == [(number, 3 * number) for number in range(7)]
    assert list(engine.run(TRIPLE, [])) == []
    assert list(engine.run(TRIPLE, [5])) == [(5, 15)]


def test_an_error_comes_through_unchanged(engine):
    with pytest.raises(ZeroDivisionError, match="division by zero"):
        list(engine.run(partial(operator.truediv, 1), [2, 0]))


@pytest.mark.ray
def test_a_task_that_is_too_large_for_every_machine(cluster):
    with pytest.raises(EngineError, match="needs 3 processors, but the largest machine of the cluster has 2;"):
        list(RayEngine(3).run(TRIPLE, [1]))


def test_the_config_names_the_engine():
    assert isinstance(make_engine(EngineConfig(), 2), LocalEngine)
    assert isinstance(make_engine(EngineConfig(kind="ray"), 2), RayEngine)


def test_processes_have_their_own_number_of_threads(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    monkeypatch.delenv("MKL_NUM_THREADS", raising=False)
    seen = dict(LocalEngine(2, 3).run(partial(_read, ("OMP_NUM_THREADS", "MKL_NUM_THREADS")), range(2)))
    assert seen == {0: "3", 1: "3"}
    assert os.environ["OMP_NUM_THREADS"] == "7"
    assert "MKL_NUM_THREADS" not in os.environ


def _read(names: tuple[str, ...], index: int) -> str | None:
    return os.environ.get(names[index])


def test_a_worker_that_dies_stops_the_rest():
    with pytest.raises(EngineError, match=r"a worker process died .*finished shards are kept.*run again"):
        list(LocalEngine(2, 1).run(partial(_die_at, 3), range(50)))


def _die_at(last: int, number: int) -> int:
    if number == last:
        os._exit(9)
    return number


def test_tasks_after_an_error_are_not_started(tmp_path: Path):
    with pytest.raises(ZeroDivisionError):
        list(LocalEngine(2, 1).run(partial(_note, tmp_path), range(200)))
    assert len(list(tmp_path.iterdir())) < 50


def _note(folder: Path, number: int) -> None:
    (folder / str(number)).touch()
    if number == 3:
        raise ZeroDivisionError


@pytest.mark.ray
def test_a_task_that_kills_its_process_is_given_up(cluster):
    with pytest.raises(EngineError, match=r"ray engine: task 9 was lost 4 times .*finished shards are kept"):
        list(RayEngine(1).run(os._exit, [9]))


def test_without_ray(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "ray", None)
    message = r"ray is not installed; run pip install 'nightly-recsys\[ray\]', or use {}.engine.kind: local"
    with pytest.raises(EngineError, match=message.format("generation")):
        list(RayEngine(1).run(TRIPLE, [1]))
    with pytest.raises(EngineError, match=message.format("collab")), RayEngine(1, FITTING):
        pass


def test_arrays_are_shared_with_all_tasks(engine):
    arrays = {"numbers": np.arange(6.0).reshape(2, 3), "none": np.zeros(0, dtype=np.int32)}
    with engine, engine.share(arrays) as shared:
        found = dict(engine.run(partial(_add_shared, shared), range(4)))
        again = dict(engine.run(partial(_add_shared, shared), range(4, 6)))
    assert {**found, **again} == {number: 15.0 + number for number in range(6)}
    assert arrays["numbers"].sum() == 15.0


def _add_shared(shared: Shared, number: int) -> float:
    arrays = shared.read()
    assert (arrays["none"].shape, arrays["none"].dtype) == ((0,), np.int32)
    return float(arrays["numbers"].sum()) + number


def test_workers_are_kept_from_run_to_run():
    with LocalEngine(2, 1) as engine:
        first, again = (set(dict(engine.run(_name_process, range(8))).values()) for _ in range(2))
    assert len(first | again) <= 2
    assert os.getpid() not in first
    assert LocalEngine(2, 1).parallel == 2
    assert set(dict(HERE.run(_name_process, range(3))).values()) == {os.getpid()}


def _name_process(number: int) -> int:
    return os.getpid()


def test_files_of_shared_arrays_are_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with LocalEngine(2, 1) as engine, engine.share({"numbers": np.arange(3)}):
        assert len(list(tmp_path.rglob("numbers.npy"))) == 1
    assert list(tmp_path.iterdir()) == []


def test_errors_name_the_setting_of_the_purpose():
    with (
        pytest.raises(EngineError, match=r"died .*checkpoints are kept; run again, with fewer collab.engine.workers"),
        LocalEngine(2, 1, FITTING) as engine,
    ):
        list(engine.run(partial(_die_at, 3), range(50)))
