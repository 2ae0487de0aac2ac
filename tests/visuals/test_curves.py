"""Learning curves are split where a training ends, and labels keep their distance."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recsys.visuals.curve_plots import plot_curves
from recsys.visuals.curves import space_labels, split_curve


def test_trainings_are_lines_of_their_own() -> None:
    curve = split_curve("interest_loss", [3.0, 2.0, 1.0, 1.5, 1.4], {"interest_loss": [3, 1, 1]})
    assert curve.parts == {
        "training": [(1, 3.0), (2, 2.0), (3, 1.0)],
        "refresh 1": [(4, 1.5)],
        "refresh 2": [(5, 1.4)],
    }
    assert (curve.unit, curve.joined) == ("epoch", True)
    axes = plot_curves({"interest_loss": [3.0, 2.0, 1.0, 1.5, 1.4]}, {"interest_loss": [3, 1, 1]}).axes[0]
    drawn = [list(line.get_xdata()) for line in axes.lines if line.get_color() != "#868d99"]
    assert drawn == [[1, 2, 3], [4], [5]]
    assert axes.get_xlabel() == "epoch"


@pytest.mark.parametrize("parts", [None, {}, {"interest_loss": [3, 3]}])
def test_values_of_trainings_of_unknown_length_are_not_joined(parts: dict[str, list[int]] | None) -> None:
    curve = split_curve("interest_loss", [3.0, 2.0, 2.5], parts)
    assert not curve.joined
    (line,) = plot_curves({"interest_loss": [3.0, 2.0, 2.5]}, parts).axes[0].lines
    assert line.get_linestyle() == "None"


@pytest.mark.parametrize(
    ("name", "unit", "first"),
    [
        ("fine_tuning_loss", "step", 1),
        ("validation_recall", "epoch", 0),
        ("ranker_validation_ndcg", "trees", 1),
        ("loss_of_a_plugin", "step", 1),
    ],
)
def test_the_axis_names_what_is_counted(name: str, unit: str, first: int) -> None:
    curve = split_curve(name, [0.5, 0.6])
    assert (curve.unit, curve.joined, curve.parts["training"][0][0]) == (unit, True, first)


def test_an_untrained_curve_is_empty() -> None:
    assert split_curve("interest_loss", [], {"interest_loss": [0, 0]}).values == []


@given(st.lists(st.floats(0, 1), max_size=12))
def test_labels_keep_their_distance_and_their_order(values: list[float]) -> None:
    placed = space_labels(values, 0.05)
    order = sorted(range(len(values)), key=lambda index: values[index])
    assert all(placed[after] - placed[before] > 0.0499 for before, after in pairwise(order))
    far = all(abs(values[after] - values[before]) >= 0.05 for before, after in pairwise(order))
    assert not far or placed == pytest.approx(values)
