"""Forests grown at once: results in order, progress from one thread at a time, and a failure stops them all."""

import threading
import time

import pytest

from recsys.ranking.growing import grow_side_by_side


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_results_are_in_the_order_of_the_growers(threads):
    busy, most, counts = [], [], []

    def progress(count):
        busy.append(count)
        most.append(len(busy))
        time.sleep(0.001)
        busy.pop()
        counts.append(count)

    def make(number):
        def grow(advance):
            for _ in range(5):
                advance(1)
            return number

        return grow

    assert grow_side_by_side([make(number) for number in range(6)], threads, progress) == list(range(6))
    assert sum(counts) == 30
    assert max(most) == 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
@pytest.mark.parametrize("place", [0, 1])
def test_a_failure_stops_the_others_at_their_next_tree(error, place):
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

    growers = [grow, grow]
    growers.insert(place, fail)
    with pytest.raises(error):
        grow_side_by_side(growers, 2)
    assert len(trees) < 5_000
