import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.features.shift import measure_shift

COLUMNS = ["feature", "shift", "distance", "missing_training", "missing_night"]


def test_by_hand():
    training = pl.DataFrame(
        {
            "same": [1.0, 2.0, 3.0, 4.0],
            "moved": [1.0, 2.0, 3.0, 4.0],
            "thinner": [1.0, 1.0, 1.0, 1.0],
            "gone": [1.0, None, None, None],
            "a_tie": [0.0, 0.0, 0.0, 1.0],
            "never": [None] * 4,
        }
    )
    night = pl.DataFrame(
        {
            "same": [4.0, 1.0, 3.0, 2.0, 1.0, 2.0, 3.0, 4.0],
            "moved": [3.5, 4.5, 9.0, 4.0, 3.5, 4.5, 9.0, 4.0],
            "thinner": [1.0, None] * 4,
            "gone": [None] * 8,
            "a_tie": [0.0, 1.0] * 4,
            "never": [None] * 8,
        }
    )
    rows = [
        # Of training three in four are at most 3, of the night none.
        ("moved", 0.75, 0.75, 0.0, 0.0),
        ("thinner", 0.5, 0.0, 0.0, 0.5),
        ("a_tie", 0.25, 0.25, 0.0, 0.0),
        ("gone", 0.25, 0.0, 0.75, 1.0),
        ("never", 0.0, 0.0, 1.0, 1.0),
        ("same", 0.0, 0.0, 0.0, 0.0),
    ]
    types = [pl.Float32() for _ in training.columns]
    tables = [frame.cast(dict(zip(frame.columns, types, strict=True))) for frame in (training, night)]
    shifted = measure_shift(*tables, training.columns)
    assert shifted.columns == COLUMNS
    assert shifted.rows() == rows
    swapped = measure_shift(*reversed(tables), training.columns)
    assert swapped.select("feature", "shift", "distance").equals(shifted.select("feature", "shift", "distance"))


def test_apart_and_missing_add_up():
    training = pl.DataFrame({"x": [1.0, 1.0]})
    night = pl.DataFrame({"x": [2.0, None]})
    assert measure_shift(training, night, ["x"]).row(0) == ("x", 1.5, 1.0, 0.0, 0.5)


@pytest.mark.parametrize("features", [[], ["x"]])
def test_nothing_to_compare(features):
    nothing = pl.DataFrame({"x": []}, schema={"x": pl.Float32()})
    table = measure_shift(nothing, nothing, features)
    assert table.columns == COLUMNS
    assert table.rows() == [("x", 0.0, 0.0, 0.0, 0.0)] * len(features)


_SIDE = st.lists(st.integers(0, 6), min_size=1, max_size=12)


@given(_SIDE, _SIDE, st.integers(0, 9))
def test_distance_is_the_largest_gap_between_the_shares_at_or_below_a_value(one, other, seed):
    gaps = [abs(np.mean(np.array(one) <= value) - np.mean(np.array(other) <= value)) for value in range(7)]
    training, night = (pl.DataFrame({"x": pl.Series(side, dtype=pl.Float32)}) for side in (one, other))
    table = measure_shift(training, night, ["x"])
    assert table["distance"].item() == pytest.approx(max(gaps), abs=1e-12)
    mixed = training.sample(fraction=1.0, shuffle=True, seed=seed)
    assert measure_shift(mixed, night, ["x"]).equals(table)
