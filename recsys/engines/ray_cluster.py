"""A Ray cluster: the same work as plain tasks, wherever there is room."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from recsys.errors import EngineError

Result = TypeVar("Result")
ADDRESS = "RECSYS_RAY_ADDRESS"
# A piece is begun again where its machine was lost, so many times.
_RETRIES = 3
# Seconds in which a cluster has to answer.
_PATIENCE = 5.0


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
            self._connect(ray)

        def do_piece(number: int) -> Result:
            return work(number)

        try:
            self._check_room(ray)
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

    def _connect(self, ray: Any) -> None:
        """Join the cluster, or make one; nothing waits for a machine that does not answer."""
        # Never without an address: a marker of a driver that was killed would be followed to a dead cluster.
        address = os.environ.get(ADDRESS, "local")
        options: dict[str, Any] = {"num_cpus": max(self._threads, os.cpu_count() or 1)} if address == "local" else {}
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdigit():
                socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
            ray.init(address=address, log_to_driver=False, logging_level="warning", **options)
        except (OSError, RuntimeError, ValueError) as error:
            raise EngineError(
                f"ray engine: no cluster to be had at {ADDRESS}={address} ({error}); start one there "
                "('ray start --head'), mend the address, or use generation.engine.kind: local"
            ) from error

    def _check_room(self, ray: Any) -> None:
        """Refuse pieces that no machine has room for: they would wait for ever."""
        most = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if most < self._threads:
            raise EngineError(
                f"ray engine: a piece asks for {self._threads} processors, and the largest machine of the cluster has "
                f"{most:g}; lower threads in the config, or add a larger machine"
            )


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    try:
        import ray
    except ImportError as error:
        raise EngineError(
            "ray engine: the package ray is not installed; pip install 'recsys[ray]' or use engine: local"
        ) from error
    return ray
