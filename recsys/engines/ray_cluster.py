"""Runs tasks on a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

from recsys.errors import EngineError
from recsys.extras import needs_extra
from recsys.progress import format_count

Result = TypeVar("Result")
ADDRESS = "RECSYS_RAY_ADDRESS"
# How often a task is started again when its machine was lost.
_RETRIES = 3
_CONNECT_SECONDS = 5.0


class RayEngine:
    """Runs tasks on the cluster of `RECSYS_RAY_ADDRESS`, or on a cluster started on this machine.

    All machines have to see RECSYS_HOME and the bundle under the same path.

    Args:
        threads: processors per task.
    """

    def __init__(self, threads: int) -> None:
        self._threads = threads

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """See `Engine`."""
        ray = _import_ray()
        starts_ray = not ray.is_initialized()
        if starts_ray:
            self._connect(ray)

        def run_task(number: int) -> Result:
            return work(number)

        try:
            self._check_room(ray)
            task = ray.remote(num_cpus=self._threads, max_retries=_RETRIES)(run_task)
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
                        f"ray engine: task {number} was lost {1 + _RETRIES} times ({type(error).__name__}); finished "
                        "shards are kept; check the machines of the cluster, then run again"
                    ) from error
        finally:
            if starts_ray:
                ray.shutdown()

    def _connect(self, ray: Any) -> None:
        """Connect to the cluster, or start one, without waiting for a machine that does not answer."""
        # Never without an address: Ray would follow the marker of a killed driver to a dead cluster.
        address = os.environ.get(ADDRESS, "local")
        options: dict[str, Any] = {"num_cpus": max(self._threads, os.cpu_count() or 1)} if address == "local" else {}
        host, _, port = address.removeprefix("ray://").rpartition(":")
        try:
            if port.isdigit():
                socket.create_connection((host.strip("[]"), int(port)), timeout=_CONNECT_SECONDS).close()
            ray.init(address=address, log_to_driver=False, logging_level="warning", **options)
        # A RayError: there is no token. With a wrong one, Ray gives up after 20 s with a ConnectionError.
        except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
            raise EngineError(
                f"ray engine: cannot connect to a cluster at {ADDRESS}={address} ({error}); start one there "
                "('ray start --head'), correct the address or the token (RAY_AUTH_TOKEN_PATH), or use "
                "generation.engine.kind: local"
            ) from error

    def _check_room(self, ray: Any) -> None:
        """Refuse tasks that need more processors than any machine has: they would wait forever."""
        largest = max((node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]), default=0.0)
        if largest < self._threads:
            raise EngineError(
                f"ray engine: a task needs {format_count(self._threads, 'processor')}, but the largest machine of the "
                f"cluster has {largest:g}; lower `threads` in the config, or add a larger machine"
            )


def _import_ray() -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs_extra("ray", "ray engine", EngineError, "use engine: local"):
        import ray
    return ray
