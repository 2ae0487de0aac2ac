"""Promote and rollback killed at every step, on sqlite; `test_promotion_servers.py` has the server."""

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_versions import FakeGate
from promotion_kills import World, check_promote, check_rollback, run_killed


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    return FakeGate.install(monkeypatch)


@pytest.mark.parametrize("promoted", [0, 1], ids=["first champion", "second champion"])
def test_promote(promoted: int, new_home: Callable[[], Path], gate: FakeGate) -> None:
    check_promote(new_home(), promoted)


def test_rollback(new_home: Callable[[], Path], gate: FakeGate) -> None:
    check_rollback(new_home())


def test_an_unfinished_promotion_is_finished_before_a_rollback(new_home: Callable[[], Path], gate: FakeGate) -> None:
    world = World(new_home(), promoted=1)
    world.make_version()
    # Step 0 is the decision table, step 1 the entry.
    run_killed(world.promote, 1, after=True)
    assert world.aliases == ("1", "2")
    assert world.rollback() == "1"
    assert world.changes == [("promote", "1"), ("promote", "2"), ("rollback", "1")]
