"""Runs tasks on this machine, in one process or several."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import TypeVar

from recsys.errors import EngineError

Result = TypeVar("Result")
# Libraries read their number of threads from these when they are loaded.
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


class LocalEngine:
    """Runs tasks one after the other in this process, or in several worker processes.

    Args:
        workers: number of worker processes; 1 runs the tasks in this process.
        threads: number of threads of each worker.
    """

    def __init__(self, workers: int, threads: int) -> None:
        self._workers = workers
        self._threads = threads

    def run(self, work: Callable[[int], Result], numbers: Sequence[int]) -> Iterator[tuple[int, Result]]:
        """See `Engine`."""
        if self._workers == 1:
            for number in numbers:
                yield number, work(number)
            return
        # Spawned, not forked: a process that has threads cannot be forked safely.
        context = multiprocessing.get_context("spawn")
        previous = {name: os.environ.get(name) for name in _THREADS}
        os.environ.update(dict.fromkeys(_THREADS, str(self._threads)))
        try:
            workers = min(self._workers, max(1, len(numbers)))
            with ProcessPoolExecutor(workers, context, initializer=_ignore_interrupts) as pool:
                try:
                    yield from _collect(pool, work, numbers, 2 * self._workers)
                except KeyboardInterrupt:
                    # Tasks that run are finished and kept, no others start.
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        except BrokenProcessPool as error:
            raise EngineError(
                "local engine: a worker process died (killed or out of memory); finished shards are kept; "
                "run again, with fewer generation.engine.workers or a smaller generation.shard_size if memory ran out"
            ) from error
        finally:
            for name, value in previous.items():
                if value is None:
                    os.environ.pop(name, None)
                else:
                    os.environ[name] = value


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
