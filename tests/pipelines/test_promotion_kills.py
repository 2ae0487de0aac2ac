"""SIGKILL at every step of promote and rollback that writes to the store: before it, and right after it."""

import os
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fake_versions import CONFIG, NAME, FakeGate, challenger, champion, make_version, open_log
from mlflow import MlflowClient
from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

from recsys.pipelines.promote import promote
from recsys.pipelines.rollback import rollback
from recsys.registry.champion import compare_with_alias
from recsys.registry.tracking import connect

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


def run_killed(action: Callable[[], object], step: int, *, after: bool) -> None:
    """Run an action in a process that is killed at a step."""
    child = os.fork()
    if child == 0:
        # The connections belong to the parent.
        SqlAlchemyStore._engine_map.clear()
        Steps(pytest.MonkeyPatch(), step, after=after)
        try:
            action()
        finally:
            os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status), "the process was not killed"


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    return FakeGate.install(monkeypatch)


@pytest.fixture
def copies(new_home: Callable[[], Path], tmp_path: Path) -> Iterator[Callable[[Path], Path]]:
    """Make copies of a home."""

    def copy(home: Path) -> Path:
        target = tmp_path / f"copy {len(list(tmp_path.iterdir()))}"
        shutil.copytree(home, target)
        return target

    yield copy
    shutil.rmtree(tmp_path)


def count_steps(action: Callable[[], object]) -> int:
    with pytest.MonkeyPatch.context() as patch:
        counter = Steps(patch)
        action()
    return len(counter.names)


def describe(home: Path) -> str | None:
    """What `doctor` and `history` say."""
    return compare_with_alias(connect(home, CONFIG), open_log(home)).describe()


@pytest.mark.parametrize("versions", [1, 2], ids=["first champion", "second champion"])
def test_promote(versions: int, new_home: Callable[[], Path], gate: FakeGate, copies: Callable[[Path], Path]) -> None:
    start = new_home()
    store = connect(start, CONFIG)
    old = None
    for _ in range(versions - 1):
        old = make_version(store)
        promote(CONFIG, start)
    new = make_version(store)
    trial = copies(start)
    steps = count_steps(lambda: promote(CONFIG, trial))
    assert steps >= 6
    outcomes = set()
    for step in range(steps):
        for after in (False, True):
            home = copies(start)
            run_killed(lambda home=home: promote(CONFIG, home), step, after=after)
            store = connect(home, CONFIG)
            serving, problem = champion(store), describe(home)
            claimed = open_log(home).champion
            outcomes.add((serving == new, claimed == new))
            assert serving in (old, new)
            if serving == new:
                assert claimed == new
                assert problem is None or "was interrupted" in problem
            elif claimed == new:
                assert problem
                assert f"unfinished promotion of version {new}" in problem
            else:
                assert problem is None
            # The next command finishes it.
            promote(CONFIG, home)
            assert (champion(store), challenger(store), describe(home)) == (new, None, None)
            entries = open_log(home).entries
            assert [entry.to_version for entry in entries if entry.action == "promote"] == list(
                filter(None, [old, new])
            )
            shutil.rmtree(home)
    # Old, claimed, new.
    assert outcomes == {(False, False), (False, True), (True, True)}


def test_rollback(new_home: Callable[[], Path], gate: FakeGate, copies: Callable[[Path], Path]) -> None:
    start = new_home()
    store = connect(start, CONFIG)
    for _ in range(3):
        make_version(store)
        promote(CONFIG, start)
    store.client.set_registered_model_alias(NAME, "challenger", "3")
    trial = copies(start)
    steps = count_steps(lambda: rollback(CONFIG, trial))
    for step in range(steps):
        for after in (False, True):
            home = copies(start)
            run_killed(lambda home=home: rollback(CONFIG, home), step, after=after)
            store = connect(home, CONFIG)
            serving, problem = champion(store), describe(home)
            assert serving in ("3", "2")
            if serving == "3" and open_log(home).champion == "2":
                assert problem
                assert "unfinished rollback to version 2" in problem
            if step == steps - 1 and after:
                # Nothing was left to do.
                assert problem is None
            else:
                # It is finished, and not taken one version further.
                assert rollback(CONFIG, home).version == "2"
            assert (champion(store), challenger(store), describe(home)) == ("2", None, None)
            assert [entry.action for entry in open_log(home).entries][3:] == ["rollback"]
            shutil.rmtree(home)


def test_an_unfinished_promotion_is_finished_before_a_rollback(new_home: Callable[[], Path], gate: FakeGate) -> None:
    home = new_home()
    store = connect(home, CONFIG)
    make_version(store)
    promote(CONFIG, home)
    make_version(store)
    # Step 1 is the decision table, step 2 the entry.
    run_killed(lambda: promote(CONFIG, home), 1, after=True)
    assert champion(store) == "1"
    done = rollback(CONFIG, home)
    assert (done.replaced, done.version) == ("2", "1")
    assert [(entry.action, entry.to_version) for entry in open_log(home).entries] == [
        ("promote", "1"),
        ("promote", "2"),
        ("rollback", "1"),
    ]
