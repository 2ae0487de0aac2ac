"""The interface of engines, and the engine that a config names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from operator import itemgetter
from typing import Any, Protocol, Self, TypeVar

from numpy.typing import NDArray

from recsys.config import EngineConfig
from recsys.engines.local import LocalEngine
from recsys.engines.purpose import NIGHT, Purpose
from recsys.engines.ray_cluster import RayEngine

Result = TypeVar("Result")


class Shared(Protocol):
    """Arrays that all tasks read: small enough to be sent with each task, because it only says where they are."""

    def read(self) -> Mapping[str, NDArray[Any]]:
        """Return the arrays by name; they may be read-only, and nobody may change them."""


class Engine(Protocol):
    """Runs tasks that do not depend on each other.

    As a context manager it keeps its workers from one `run` to the next; without, each `run` has its own.
    """

    def __enter__(self) -> Self:
        """Start the workers, or connect to them."""

    def __exit__(self, *error: object) -> None:
        """Release the workers."""

    @property
    def parallel(self) -> int:
        """Number of tasks that run at the same time; asked for inside `with`."""

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """Yield each number with what `work` returned for it, as the tasks finish.

        Args:
            work: can be pickled; runs twice for a number if a machine was lost meanwhile.
            numbers: of the tasks.

        Raises:
            Exception: what `work` raised; no further task is started.
        """

    def share(self, arrays: Mapping[str, NDArray[Any]]) -> AbstractContextManager[Shared]:
        """Hold arrays for tasks until the context ends; each machine receives them once, not each task.

        Used inside `with`.
        """


# Runs tasks one after the other in this process.
HERE: Engine = LocalEngine(1, 1)


def gather(engine: Engine, work: Callable[[int], Result], count: int) -> list[Result]:
    """Return what `work` returned for 0, 1, … in this order."""
    return [result for _, result in sorted(engine.run(work, range(count)), key=itemgetter(0))]


def make_engine(config: EngineConfig, threads: int, purpose: Purpose = NIGHT) -> Engine:
    """Return the engine that the config names; each task may use as many threads as given."""
    if config.kind == "ray":
        return RayEngine(threads, purpose)
    return LocalEngine(config.workers, threads, purpose)
