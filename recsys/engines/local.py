"""Runs tasks on this machine, in one process or several."""

from __future__ import annotations

import multiprocessing
import os
import signal
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self, TypeVar

import numpy as np
from numpy.typing import NDArray

from recsys.engines.purpose import NIGHT, Purpose
from recsys.errors import EngineError

Result = TypeVar("Result")
# Libraries read their number of threads from these when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


class LocalEngine:
    """Runs tasks one after the other in this process, or in several worker processes.

    Args:
        workers: number of worker processes; 1 runs the tasks in this process.
        threads: number of threads of each worker.
        purpose: what the tasks are part of, for errors.
    """

    def __init__(self, workers: int, threads: int, purpose: Purpose = NIGHT) -> None:
        self._workers = workers
        self._threads = threads
        self._purpose = purpose
        self._session = ExitStack()
        self._pool: ProcessPoolExecutor | None = None

    def __enter__(self) -> Self:
        """See `Engine`."""
        if self._workers > 1:
            self._pool = self._session.enter_context(self._start(self._workers))
        return self

    def __exit__(self, *error: object) -> None:
        """See `Engine`."""
        self._pool = None
        self._session.close()

    @property
    def parallel(self) -> int:
        """See `Engine`."""
        return self._workers

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """See `Engine`."""
        if self._workers == 1:
            for number in numbers:
                yield number, work(number)
            return
        workers = min(self._workers, max(1, len(numbers)))
        try:
            with nullcontext(self._pool) if self._pool else self._start(workers) as pool:
                try:
                    yield from _collect(pool, work, numbers, 2 * self._workers)
                except KeyboardInterrupt:
                    # Tasks that run are finished and kept, no others start.
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        except BrokenProcessPool as error:
            raise EngineError(
                f"local engine: a worker process died (killed or out of memory); {self._purpose.kept}; "
                f"run again, with {self._purpose.advice} if memory ran out"
            ) from error

    @contextmanager
    def share(self, arrays: Mapping[str, NDArray[Any]]) -> Iterator[_InMemory | _InFiles]:
        """See `Engine`; worker processes map files, so that they hold the arrays in memory once for all of them."""
        if self._workers == 1:
            yield _InMemory(arrays)
            return
        with tempfile.TemporaryDirectory(prefix="recsys-shared-") as folder:
            for name, array in arrays.items():
                np.save(Path(folder) / f"{name}.npy", array, allow_pickle=False)
            yield _InFiles(Path(folder), tuple(arrays))

    @contextmanager
    def _start(self, workers: int) -> Iterator[ProcessPoolExecutor]:
        # Spawned, not forked: a process that has threads cannot be forked safely.
        context = multiprocessing.get_context("spawn")
        previous = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, str(self._threads)))
        try:
            with ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts) as pool:
                yield pool
        finally:
            for name, value in previous.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


@dataclass(frozen=True)
class _InMemory:
    """Arrays of this process."""

    arrays: Mapping[str, NDArray[Any]]

    def read(self) -> Mapping[str, NDArray[Any]]:
        """See `Shared`."""
        return self.arrays


@dataclass(frozen=True)
class _InFiles:
    """Arrays in a folder that lasts as long as they are shared."""

    folder: Path
    names: tuple[str, ...]

    def read(self) -> Mapping[str, NDArray[Any]]:
        """See `Shared`."""
        files = {name: self.folder / f"{name}.npy" for name in self.names}
        # As plain arrays: compiled loops do not know the subclass.
        return {name: np.asarray(np.load(file, "r", allow_pickle=False)) for name, file in files.items()}


def _ignore_interrupts() -> None:
    """Leave Ctrl-C, which the terminal sends to every process, to the main process."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _collect(
    pool: ProcessPoolExecutor, work: Callable[[int], Result], numbers: Sequence[int], at_once: int
) -> Iterator[tuple[int, Result]]:
    """Yield results as tasks finish; only a few tasks wait in the pool, so an error stops the rest."""
    waiting = iter(numbers)
    running: dict[Future[Result], int] = {}
    while True:
        while len(running) < at_once and (number := next(waiting, None)) is not None:
            running[pool.submit(work, number)] = number
        if not running:
            return
        finished, _ = wait(running, return_when=FIRST_COMPLETED)
        for future in sorted(finished, key=running.__getitem__):
            number = running.pop(future)
            try:
                yield number, future.result()
            except BaseException:
                pool.shutdown(wait=False, cancel_futures=True)
                raise
