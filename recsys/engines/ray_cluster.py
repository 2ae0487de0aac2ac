"""A Ray cluster: the same work as plain tasks, wherever there is room."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from recsys.errors import EngineError

Result = TypeVar("Result")
ADDRESS = "RECSYS_RAY_ADDRESS"
# A piece is begun again where its machine was lost, so many times.
_RETRIES = 3


class RayEngine:
    """Runs every piece as a task of the cluster that `RECSYS_RAY_ADDRESS` names, or of one made on this machine.

    All machines have to see RECSYS_HOME and the bundle under the same path.

    Args:
        threads: processors that a piece is given.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """See `Engine`."""
        ray = _import_ray()
        mine = not ray.is_initialized()
        if mine:
            # Never without an address: a marker of a driver that was killed would be followed to a dead cluster.
            ray.init(address=os.environ.get(ADDRESS, "local"), log_to_driver=False, logging_level="warning")

        def do_piece(number: int) -> Result:
            return work(number)

        try:
            task = ray.remote(num_cpus=self._threads, max_retries=_RETRIES)(do_piece)
            running = {task.remote(number): number for number in numbers}
            while running:
                (first, *_), _ = ray.wait(list(running), num_returns=1)
                number = running.pop(first)
                try:
                    yield number, ray.get(first)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, Exception) else error from None
                except ray.exceptions.RayError as error:
                    raise EngineError(
                        f"ray engine: piece {number} was lost {1 + _RETRIES} times ({type(error).__name__}); what was "
                        "finished is kept; look at the cluster's machines, then run again"
                    ) from error
        finally:
            if mine:
                ray.shutdown()


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise EngineError(
            "ray engine: the package ray is not installed; pip install 'recsys[ray]' or use engine: local"
        ) from error
    return ray
