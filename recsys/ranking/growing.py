"""Growing trees: one forest on all threads, or several at once on one thread each."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from threading import Event, Lock
from typing import TYPE_CHECKING, TypeVar

from recsys.ranking.averaging import average_over_growth

if TYPE_CHECKING:
    import lightgbm as lgb

Result = TypeVar("Result")
Progress = Callable[[int], None]


class _StoppedError(Exception):
    """Another forest failed, or the program ends."""


def grow_mean(
    parameters: dict[str, object], data: lgb.Dataset, trees: int, progress: Progress = lambda _: None
) -> lgb.Booster:
    """Return a forest whose score is the mean over its growth; see `average_over_growth`.

    Args:
        parameters: of LightGBM.
        data: what it learns from.
        trees: how many.
        progress: called with 1 after each tree.
    """
    import lightgbm as lgb

    booster = lgb.train(parameters, data, trees, callbacks=[lambda _: progress(1)])
    average_over_growth(booster, trees)
    return booster


def grow_side_by_side(
    growers: Sequence[Callable[[Progress], Result]], threads: int, progress: Progress = lambda _: None
) -> list[Result]:
    """Grow several forests at once, and return what each grower returns, in their order.

    Two forests on one thread each are grown in less time than one after the other on two threads, and their trees do
    not depend on the number of threads. If one fails or the program is interrupted, the others stop at their next tree.

    Args:
        growers: each grows a forest with LightGBM's `num_threads` at 1, and calls its argument after each tree.
        threads: most forests at once.
        progress: called with the number of trees after each, by one thread at a time.
    """
    stop, one_at_a_time = Event(), Lock()

    def advance(count: int) -> None:
        if stop.is_set():
            raise _StoppedError
        with one_at_a_time:
            progress(count)

    with ThreadPoolExecutor(max(1, min(threads, len(growers)))) as pool:
        futures = [pool.submit(grower, advance) for grower in growers]
        try:
            done, _ = wait(futures, return_when=FIRST_EXCEPTION)
            for future in done:
                # Raises what made it fail.
                future.result()
            return [future.result() for future in futures]
        finally:
            # Without effect where all are done.
            stop.set()
            for future in futures:
                future.cancel()
