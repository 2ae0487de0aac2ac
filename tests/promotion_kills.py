"""SIGKILL at every step of promote and rollback that writes to the store: before it, and right after it.

For tests on different stores; the gate must be a `FakeGate`.
"""

import os
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from fake_versions import CONFIG, challenger, champion, make_version, open_log
from miniature import change
from mlflow import MlflowClient
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore as RegistryStore
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

from recsys.config import Config
from recsys.pipelines.promote import promote
from recsys.pipelines.rollback import rollback
from recsys.registry.champion import compare_with_alias
from recsys.registry.tracking import Store, connect

WRITES = (
    "create_experiment",
    "create_run",
    "set_terminated",
    "rename_experiment",
    "log_artifact",
    "log_param",
    "set_registered_model_alias",
    "delete_registered_model_alias",
    "set_model_version_tag",
)


class Steps:
    """Counts the writes of a process, and ends it at one of them."""

    def __init__(self, patch: pytest.MonkeyPatch, fatal: int | None = None, *, after: bool = False) -> None:
        self.names: list[str] = []
        for name in WRITES:
            patch.setattr(MlflowClient, name, self.wrap(name, getattr(MlflowClient, name), fatal, after))

    def wrap(self, name: str, write: Callable[..., Any], fatal: int | None, after: bool) -> Callable[..., Any]:
        def counted(*arguments: Any, **named: Any) -> Any:
            self.names.append(name)
            last = fatal == len(self.names) - 1
            if last and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = write(*arguments, **named)
            if last:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return counted


class World:
    """A model in a store, with versions; each has its own log."""

    numbers = count(1)

    def __init__(self, home: Path, *, promoted: int) -> None:
        self.home = home
        self.name = f"model {next(self.numbers)}"
        self.config: Config = change(CONFIG, registry={"model_name": self.name})
        self.store: Store = connect(home, self.config)
        for _ in range(promoted):
            self.make_version()
            self.promote()

    def make_version(self) -> str:
        return make_version(self.store, name=self.name)

    def promote(self) -> None:
        promote(self.config, self.home)

    def rollback(self) -> str:
        return rollback(self.config, self.home).version

    @property
    def aliases(self) -> tuple[str | None, str | None]:
        """The versions of champion and challenger."""
        return champion(self.store, self.name), challenger(self.store, self.name)

    @property
    def changes(self) -> list[tuple[str, str | None]]:
        """The log: actions and their versions."""
        return [(entry.action, entry.to_version) for entry in open_log(self.home, self.name).entries]

    def describe(self) -> str | None:
        """What `doctor` and `history` say."""
        return compare_with_alias(self.store, open_log(self.home, self.name)).describe()


def leave_connections() -> None:
    """After a fork: leave the connections of the parent alone."""
    for store in (TrackingStore, RegistryStore):
        for engine in store._engine_map.values():
            engine.dispose(close=False)


def run_killed(action: Callable[[], object], step: int, *, after: bool) -> None:
    """Run an action in a process that is killed at a step."""
    child = os.fork()
    if child == 0:
        leave_connections()
        Steps(pytest.MonkeyPatch(), step, after=after)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was not killed"


def list_kills(action: Callable[[], object]) -> Iterator[tuple[int, bool, bool]]:
    """Give each step of an action, whether the kill comes after it, and whether it is the end.

    A kill before a step leaves what a kill after the step before it leaves.
    """
    with pytest.MonkeyPatch.context() as patch:
        counter = Steps(patch)
        action()
    steps = len(counter.names)
    assert steps >= 5
    yield 0, False, False
    for step in range(steps):
        yield step, True, step == steps - 1


def check_promote(home: Path, promoted: int) -> None:
    """Kill `promote` at every step, with a number of earlier champions."""
    old, new = str(promoted) if promoted else None, str(promoted + 1)
    before = [("promote", str(number + 1)) for number in range(promoted)]

    def make_world() -> World:
        world = World(home, promoted=promoted)
        assert world.make_version() == new
        return world

    outcomes = set()
    for step, after, _ in list_kills(make_world().promote):
        world = make_world()
        run_killed(world.promote, step, after=after)
        serving, problem = world.aliases[0], world.describe()
        claimed = world.changes[len(before) :] == [("promote", new)]
        outcomes.add((serving == new, claimed))
        if serving == new:
            assert claimed
            assert problem is None or "was interrupted" in problem
        else:
            assert serving == old
            assert problem is None if not claimed else f"unfinished promotion of version {new}" in str(problem)
        # The next command finishes it.
        world.promote()
        assert (world.aliases, world.describe()) == ((new, None), None)
        assert world.changes == [*before, ("promote", new)]
    # Nothing done, claimed, moved.
    assert outcomes == {(False, False), (False, True), (True, True)}


def check_rollback(home: Path) -> None:
    """Kill `rollback` at every step."""

    def make_world() -> World:
        world = World(home, promoted=3)
        world.store.client.set_registered_model_alias(world.name, "challenger", "3")
        return world

    for step, after, is_end in list_kills(make_world().rollback):
        world = make_world()
        run_killed(world.rollback, step, after=after)
        serving, problem = world.aliases[0], world.describe()
        assert serving in ("3", "2")
        if serving == "3" and len(world.changes) > 3:
            assert "unfinished rollback to version 2" in str(problem)
        if is_end:
            assert problem is None
        else:
            # It is finished, and not taken one version further.
            assert world.rollback() == "2"
        assert (world.aliases, world.describe()) == (("2", None), None)
        assert world.changes[3:] == [("rollback", "2")]
