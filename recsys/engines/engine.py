"""What every engine promises, and which one a config asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Protocol, TypeVar

from recsys.config import EngineConfig
from recsys.engines.local import LocalEngine
from recsys.engines.ray_cluster import RayEngine

Result = TypeVar("Result")


class Engine(Protocol):
    """Runs pieces of work that know nothing of each other."""

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """Yield each number with what `work` made of it, as they finish.

        Args:
            work: can be pickled, and may run twice for one number where a machine was lost on the way.
            numbers: of the pieces.

        Raises:
            Exception: what `work` raised; no further piece is begun.
        """


def make_engine(config: EngineConfig, threads: int) -> Engine:
    """Return the engine that the config names; each piece of work may use as many threads."""
    if config.kind == "ray":
        return RayEngine(threads)
    return LocalEngine(config.workers, threads)
