import pytest

from recsys.evaluation.formatting import format_interval, format_p_value
from recsys.progress import format_count


def test_interval() -> None:
    row = {"mean": 0.1234, "low": 0.1, "high": 0.15}
    assert format_interval(row, ("mean", "low", "high"), ".3f") == "0.123 [0.100, 0.150]"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1 / 1001, "p ≤ 0.001"),
        (1 / 10001, "p ≤ 0.001"),
        (0.001, "p ≤ 0.001"),
        (0.0011, "p = 0.002"),
        (0.032, "p = 0.032"),
        (1.0, "p = 1.000"),
    ],
)
def test_p_value_is_rounded_up_to_the_smallest_that_is_written(value: float, text: str) -> None:
    assert format_p_value(value) == text


def test_counts_have_a_singular() -> None:
    assert [format_count(count, "user") for count in (0, 1, 1234)] == ["0 users", "1 user", "1,234 users"]
