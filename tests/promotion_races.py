"""Homes that promote at the same time, each in a process of its own."""

import os
from collections.abc import Callable
from functools import partial
from pathlib import Path

from promotion_kills import World, leave_connections

from recsys.errors import RegistryError
from recsys.pipelines.promote import promote

HOMES = 2


def promote_at_once(new_home: Callable[[], Path], rounds: int) -> None:
    """Promote from two homes on the store of `MLFLOW_TRACKING_URI`, and check that one wins and the other is told."""
    homes = [new_home() for _ in range(HOMES)]
    for _ in range(rounds):
        world = World(homes[0], promoted=1)
        world.make_version()
        answers = _run_at_once([partial(_promote, world, home) for home in homes])
        # The second may come when the first is done: then it has nothing to do.
        assert answers.count("promoted") == 1, answers
        assert set(answers) <= {"promoted", "already", "told"}, answers
        assert world.aliases == ("2", None)
        assert world.changes == [("promote", "1"), ("promote", "2")]
        assert world.describe() is None


def _promote(world: World, home: Path) -> str:
    try:
        return "already" if promote(world.config, home).entry is None else "promoted"
    except RegistryError as error:
        expected = "version 2 was promoted meanwhile (entry 2, "
        return "told" if expected in str(error) and str(error).endswith("run again") else str(error)


def _run_at_once(calls: list[Callable[[], str]]) -> list[str]:
    """Run each call in a process of its own, all at the same time, and return their results."""
    start_read, start_write = os.pipe()
    pipes = []
    for call in calls:
        read, write = os.pipe()
        if os.fork() == 0:
            leave_connections()
            os.close(start_write)
            # Returns when the parent closes its end.
            os.read(start_read, 1)
            try:
                os.write(write, call().encode())
            except BaseException as error:
                os.write(write, repr(error).encode())
            finally:
                os._exit(0)
        os.close(write)
        pipes.append(read)
    os.close(start_read)
    os.close(start_write)
    answers = []
    for read in pipes:
        with os.fdopen(read, "rb") as stream:
            answers.append(stream.read().decode())
        os.wait()
    return answers
