"""Runs tasks on a Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

from numpy.typing import NDArray

from recsys.engines.purpose import NIGHT, Purpose
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

    For a night all machines have to see RECSYS_HOME and the bundle under the same path.

    Args:
        threads: processors per task.
        purpose: what the tasks are part of, for errors.
    """

    def __init__(self, threads: int, purpose: Purpose = NIGHT) -> None:
        self._threads = threads
        self._purpose = purpose
        self._session = ExitStack()

    def __enter__(self) -> Self:
        """See `Engine`."""
        self._session.enter_context(self._connected())
        return self

    def __exit__(self, *error: object) -> None:
        """See `Engine`."""
        self._session.close()

    @property
    def parallel(self) -> int:
        """See `Engine`."""
        return sum(int(size // self._threads) for size in _measure_machines(_import_ray(self._purpose)))

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """See `Engine`."""
        with self._connected() as ray:
            task = ray.remote(num_cpus=self._threads, max_retries=_RETRIES)(_run)
            running = {task.remote(work, number): number for number in numbers}
            while running:
                (first, *_), _ = ray.wait(list(running), num_returns=1)
                number = running.pop(first)
                try:
                    yield number, ray.get(first)
                except ray.exceptions.RayTaskError as error:
                    raise error.cause if isinstance(error.cause, Exception) else error from None
                except ray.exceptions.RayError as error:
                    raise EngineError(
                        f"ray engine: task {number} was lost {1 + _RETRIES} times ({type(error).__name__}); "
                        f"{self._purpose.kept}; check the machines of the cluster, then run again"
                    ) from error

    @contextmanager
    def share(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[_InStore]:
        """See `Engine`; the arrays are in the object store, from which tasks read them without a copy."""
        yield _InStore(_import_ray(self._purpose).put(dict(arrays)))

    @contextmanager
    def _connected(self) -> Iterator[Any]:
        """Give the module of Ray, connected; who has connected it disconnects it."""
        ray = _import_ray(self._purpose)
        starts_ray = not ray.is_initialized()
        try:
            if starts_ray:
                self._connect(ray)
            self._check_room(ray)
            yield ray
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
                f"{self._purpose.section}.kind: local"
            ) from error

    def _check_room(self, ray: Any) -> None:
        """Refuse tasks that need more processors than any machine has: they would wait forever."""
        largest = max(_measure_machines(ray), default=0.0)
        if largest < self._threads:
            raise EngineError(
                f"ray engine: a task needs {format_count(self._threads, 'processor')}, but the largest machine of the "
                f"cluster has {largest:g}; lower `threads` in the config, or add a larger machine"
            )


@dataclass(frozen=True)
class _InStore:
    """Arrays in the object store of the cluster, for as long as this reference to them lives."""

    reference: Any

    def read(self) -> Mapping[str, NDArray[Any]]:
        """See `Shared`."""
        import ray

        arrays: Mapping[str, NDArray[Any]] = ray.get(self.reference)
        return arrays


def _run(work: Callable[[int], Result], number: int) -> Result:
    return work(number)


def _measure_machines(ray: Any) -> list[float]:
    """Return the number of processors of each machine."""
    return [node["Resources"].get("CPU", 0.0) for node in ray.nodes() if node["Alive"]]


def _import_ray(purpose: Purpose) -> Any:
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    with needs_extra("ray", "ray engine", EngineError, f"use {purpose.section}.kind: local"):
        import ray
    return ray
