"""Forests that are grown at once: in order, told about one after the other, and stopped together."""

import threading
import time

import pytest

from recsys.ranking.growing import grow_side_by_side


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_are_in_the_order_of_the_growers(threads):
    busy, most, told = [], [], []

    def progress(count):
        busy.append(count)
        most.append(len(busy))
        time.sleep(0.001)
        busy.pop()
        told.append(count)

    def make(number):
        def grow(advance):
            for _ in range(5):
                advance(1)
            return number

        return grow

    assert grow_side_by_side([make(number) for number in range(6)], threads, progress) == list(range(6))
    assert sum(told) == 30
    assert max(most) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_failure_stops_the_others_at_their_next_tree(error):
    started, trees = threading.Event(), []

    def fail(advance):
        started.wait()
        raise error

    def grow(advance):
        for tree in range(10_000):
            started.set()
            advance(1)
            trees.append(tree)
            time.sleep(0.001)

    with pytest.raises(error):
        grow_side_by_side([fail, grow, grow], 2)
    assert len(trees) < 5_000
