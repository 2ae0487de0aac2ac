"""A real MLflow server is killed at a request of `register`, `promote` and `rollback`; the next command completes them.

`--every-step` kills it at every request, before it is carried out and after; otherwise a few requests are tried.
"""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import nullcontext, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from fake_versions import FakeGate
from kept_training import check_registered, keep
from miniature import Trained, change
from mlflow_servers import MlflowServer, run_mlflow
from postgres_server import run_server
from promotion_kills import World

from recsys.config import Config
from recsys.errors import RegistryError
from recsys.pipelines.doctor import examine
from recsys.pipelines.registration import register_training
from recsys.registry.client import StoreClient
from recsys.registry.tracking import connect

# Seconds in which a command must end whose server is dead.
_LIMIT = 30


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    folder = tmp_path_factory.mktemp("mlflow")
    with run_server() as postgres, run_mlflow(folder, postgres, authentication=False) as started:
        yield started


@pytest.fixture(autouse=True)
def without_waiting(server: MlflowServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    # The server is not started again before the command has ended.
    monkeypatch.setattr("recsys.registry.client._PATIENCE", 0.5)
    # No thread makes requests of its own.
    monkeypatch.setattr("recsys.registry.training_run.log_system_metrics", lambda *_: nullcontext())


@dataclass
class Requests:
    """Counts the requests of this process, and kills the server at one of them.

    Attributes:
        names: of the requests so far.
        fatal: number of the request at which the server is killed; None: it lives.
        after: whether it is killed after it has carried out the request, so that only the reply is lost.
    """

    server: MlflowServer
    fatal: int | None = None
    after: bool = False
    names: list[str] = field(default_factory=list)

    def install(self, patch: pytest.MonkeyPatch) -> None:
        answer = StoreClient._answer

        def counted(client: StoreClient, name: str, call: Callable[[], Any]) -> Any:
            self.names.append(name)
            if self.fatal != len(self.names) - 1:
                return answer(client, name, call)
            if self.after:
                # The reply may also be an error, such as that there is no champion yet.
                with suppress(Exception):
                    answer(client, name, call)
            self.server.kill()
            # What a client that waits for the reply sees.
            return answer(client, name, call)

        patch.setattr(StoreClient, "_answer", counted)


def count_requests(server: MlflowServer, action: Callable[[], object]) -> list[str]:
    requests = Requests(server)
    with pytest.MonkeyPatch.context() as patch:
        requests.install(patch)
        action()
    return requests.names


def run_with_kill(server: MlflowServer, fatal: int, after: bool, action: Callable[[], object]) -> bool:
    """Run an action, start the server again, and return whether the action failed, with a clear error in time."""
    started = time.monotonic()
    with pytest.MonkeyPatch.context() as patch:
        Requests(server, fatal, after).install(patch)
        message = None
        try:
            action()
        except RegistryError as error:
            message = str(error)
    assert message is None or server.uri in message
    assert time.monotonic() - started < _LIMIT
    server.start()
    return message is not None


def choose_steps(request: pytest.FixtureRequest, names: list[str], *wanted: str) -> list[tuple[int, bool]]:
    """Return the requests to kill at: number, and whether after it; the last of each wanted name by default."""
    if request.config.getoption("every_step"):
        return [(number, after) for number in range(len(names)) for after in (False, True)]
    last = {name: number for number, name in enumerate(names)}
    return [(last[name], True) for name in wanted]


def show(action: str, name: str, after: bool, failed: bool, left: str) -> None:
    """Print a row of the table of kills, for `-s`."""
    moment = "after" if after else "before"
    print(f"{action:<9}| {moment:<6} {name:<29}| {'error' if failed else 'done':<6}| {left}")


def test_register(
    request: pytest.FixtureRequest, server: MlflowServer, trained: Trained, new_home: Callable[[], Path]
) -> None:
    home = new_home()
    shutil.copytree(trained.home / "runs", home / "runs")
    run = next(path.name for path in (home / "runs").iterdir() if path.is_dir())

    def make(number: int) -> tuple[Config, str]:
        config = change(trained.config, registry={"model_name": f"register {number}"})
        return config, keep(config, home, run, connect(home, config), finish=False)

    def put_away(config: Config, run_id: str) -> None:
        # The next training starts in an experiment without runs.
        client = connect(home, config).client
        client.rename_experiment(client.get_run(run_id).info.experiment_id, f"experiment of {config.model_name}")

    config, run_id = make(0)
    names = count_requests(server, partial(register_training, config, home))
    check_registered(config, home, run, run_id)
    put_away(config, run_id)
    steps = choose_steps(request, names, "log_model_artifacts", "create_model_version")
    for number, (step, after) in enumerate(steps, start=1):
        config, run_id = make(number)
        failed = run_with_kill(server, step, after, partial(register_training, config, home))
        finding = next(finding for finding in examine(config, home) if finding.name == "registry")
        show("register", names[step], after, failed, finding.found)
        # The training is kept until everything else is done, and doctor shows the command that completes it.
        assert failed
        assert (finding.state, "'recsys register'" in finding.found) == ("problem", True)
        assert [each.run for each in register_training(config, home)] == [run]
        check_registered(config, home, run, run_id)
        assert register_training(config, home) == []
        put_away(config, run_id)


def test_promote(request: pytest.FixtureRequest, server: MlflowServer, new_home: Callable[[], Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        FakeGate.install(patch)
        home = new_home()

        def make() -> World:
            world = World(home, promoted=1)
            world.make_version()
            return world

        names = count_requests(server, make().promote)
        for step, after in choose_steps(request, names, "log_param"):
            world = make()
            failed = run_with_kill(server, step, after, world.promote)
            serving, problem = world.aliases[0], world.describe()
            show("promote", names[step], after, failed, f"version {serving} serves; {problem}")
            assert serving in ("1", "2")
            if serving == "1" and len(world.changes) > 1:
                assert "unfinished promotion of version 2" in str(problem)
            world.promote()
            assert (world.aliases, world.describe()) == (("2", None), None)
            assert world.changes == [("promote", "1"), ("promote", "2")]


def test_rollback(request: pytest.FixtureRequest, server: MlflowServer, new_home: Callable[[], Path]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        FakeGate.install(patch)
        home = new_home()
        names = count_requests(server, World(home, promoted=3).rollback)
        for step, after in choose_steps(request, names, "set_registered_model_alias"):
            world = World(home, promoted=3)
            failed = run_with_kill(server, step, after, world.rollback)
            serving, problem = world.aliases[0], world.describe()
            show("rollback", names[step], after, failed, f"version {serving} serves; {problem}")
            assert serving in ("3", "2")
            if serving == "3" and len(world.changes) > 3:
                assert "unfinished rollback to version 2" in str(problem)
            if serving == "3" or problem is not None:
                # It is finished, and not taken one version further.
                assert world.rollback() == "2"
            assert (world.aliases[0], world.describe()) == ("2", None)
            assert world.changes[3:] == [("rollback", "2")]
