"""The interface of engines, and the engine that a config names."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from recsys.config import EngineConfig
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import RayEngine

Result = TypeVar("Result")


class Engine(Protocol):
    """Runs tasks that do not depend on each other."""

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """Yield each number with what `work` returned for it, as the tasks finish.

        Args:
            work: can be pickled; runs twice for a number if a machine was lost meanwhile.
            numbers: of the tasks.

        Raises:
            Exception: what `work` raised; no further task is started.
        """


def make_engine(config: EngineConfig, threads: int) -> Engine:
    """Return the engine that the config names; each task may use as many threads as given."""
    if config.kind == "ray":
        return RayEngine(threads)
    return LocalEngine(config.workers, threads)
