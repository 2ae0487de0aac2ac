import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.dataset.ingestion.returns import Returns, take_back

FIELDS = [("user", "<u4"), ("item", "<u4"), ("value", "<f8")]
NONE = float("nan")


def left(*events: tuple[int, int, float]) -> tuple[list[tuple[int, int, float]], Returns]:
    records, returns = take_back(np.array(list(events), dtype=FIELDS))
    return records.tolist(), returns


@pytest.mark.parametrize(
    ("values", "expected", "returns"),
    [
        ([1, 1], [1, 1], (0, 0, 0)),
        ([1, -1], [], (1, 1, 0)),
        ([1, 2, -2], [1], (1, 1, 0)),
        # The latest goes first, and a part of one may stay.
        ([5, 3, -4], [4], (1, 1, 0)),
        ([5, -2], [3], (1, 0, 0)),
        ([0.3, -0.1, -0.1, -0.1], [], (3, 1, 0)),
        # A return takes nothing that comes later.
        ([-1, 2], [2], (1, 0, 1)),
        ([1, -3, 2, -1], [1], (2, 1, 0)),
        ([1, -1, -1], [], (2, 1, 1)),
        ([2, -1, 4, -3], [1, 1], (2, 0, 0)),
        ([0, -1], [0], (1, 0, 1)),
    ],
)
def test_returns_take_the_latest_events_back(values, expected, returns):
    events, found = left(*((7, 3, value) for value in values))
    assert [value for _, _, value in events] == pytest.approx(expected)
    assert found == Returns(*returns)


def test_returns_concern_one_user_and_one_item_and_events_with_a_value():
    events, found = left((0, 1, 1), (0, 1, NONE), (0, 2, 1), (1, 1, 1), (0, 1, -1), (1, 1, 4))
    assert [event[:2] for event in events] == [(0, 1), (0, 2), (1, 1), (1, 1)]
    assert np.isnan(events[0][2])
    assert found == Returns(1, 1, 0)


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 2), st.integers(-3, 3)), max_size=30))
def test_same_as_taking_units_from_a_stack(events):
    stacks: dict[tuple[int, int], list[int]] = {}
    for row, (user, item, value) in enumerate(events):
        stack = stacks.setdefault((user, item), [])
        if value > 0:
            stack += [row] * value
        else:
            del stack[max(0, len(stack) + value) :]
    units = [row for stack in stacks.values() for row in stack]
    kept = [
        (user, item, float(units.count(row)) if value > 0 else 0.0)
        for row, (user, item, value) in enumerate(events)
        if value == 0 or row in units
    ]
    assert left(*events)[0] == kept
