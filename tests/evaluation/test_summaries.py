import polars as pl
import pytest

from recsys.evaluation.summaries import (
    describe_gain,
    describe_segments,
    describe_verdict,
    find_best_baseline,
    format_difference,
    format_mean,
    format_names,
    select_row,
)

ROW = {"model": "als", "users": 1234, "mean": 0.1234, "low": 0.1, "high": 0.15, "difference": 0.02}
ROW |= {"difference_low": 0.01, "difference_high": 0.03, "p_value": 0.0021}


def test_select_row() -> None:
    table = pl.DataFrame({"model": ["a", "a", "b"], "n": [5, 10, 10], "mean": [1.0, 2.0, 3.0]})
    assert select_row(table, model="a", n=10)["mean"] == 2.0


def test_numbers_come_with_their_intervals() -> None:
    assert format_mean(ROW) == "0.1234 [0.1000, 0.1500]"
    assert format_mean(ROW, ".1%") == "12.3% [10.0%, 15.0%]"
    assert format_difference(ROW) == "+0.0200 [+0.0100, +0.0300], p = 0.003, 1,234 users"


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [
        (0.01, 0.1, "ahead of"),
        (-0.2, -0.01, "behind"),
        (-0.1, 0.1, "not distinguishable from"),
        (0, 0, "not distinguishable from"),
    ],
)
def test_only_an_interval_without_zero_gives_a_verdict(low: float, high: float, verdict: str) -> None:
    assert describe_verdict({"difference_low": low, "difference_high": high}) == verdict


def make_metrics(low: float, high: float) -> pl.DataFrame:
    """A table of ours at 0.12 and two baselines at 0.10 and 0.08."""
    key = {"metric": "ndcg", "n": 10}
    ours = ROW | key | {"model": "ours", "mean": 0.12, "difference": None, "difference_low": None, "p_value": None}
    best = ROW | key | {"model": "blend", "mean": 0.1, "difference": 0.02, "difference_low": low}
    others = [ours | {"model": "ours_without_rules", "mean": 0.13}, best | {"model": "als", "mean": 0.08}]
    ends = {"ours": None, "blend": high}
    rows = [row | {"difference_high": ends.get(row["model"])} for row in (ours, *others, best)]
    return pl.DataFrame(rows, infer_schema_length=None)


@pytest.mark.parametrize(
    ("low", "high", "answer"),
    [
        (0.01, 0.03, "20% better than blend: nDCG@10 0.120 vs 0.100"),
        (-0.01, 0.03, "not distinguishable from blend: 20% better, within chance; nDCG@10 0.120 vs 0.100"),
        (-0.03, -0.01, "20% worse than blend: nDCG@10 0.120 vs 0.100"),
    ],
)
def test_the_gain_over_the_best_baseline_in_per_cent(low: float, high: float, answer: str) -> None:
    table = make_metrics(low, high)
    best = find_best_baseline(table, "ndcg", 10)
    assert best is not None
    ends = f"{low:+.3f} to {high:+.3f}".replace("-", "\N{MINUS SIGN}")
    difference = f", difference +0.020 (95% CI {ends}), p = 0.003, 1,234 users"
    assert describe_gain(table, best, 0.95) == answer + difference


def test_ours_alone_has_no_baseline() -> None:
    assert find_best_baseline(make_metrics(0, 0).filter(pl.col("model") == "ours"), "ndcg", 10) is None


def test_long_lists_of_names_are_cut_with_a_count() -> None:
    assert format_names(["a", "b"]) == "a, b"
    assert format_names([]) == ""
    assert format_names(list("abcd"), max_names=2) == "a, b and 2 more"


class TestSegments:
    def table(self, *rows: tuple[str, str, bool, float, float, float]) -> pl.DataFrame:
        names = ["dimension", "segment", "enough", "difference", "difference_low", "difference_high"]
        return pl.DataFrame(rows, schema=names, orient="row").with_columns(model=pl.lit("als"), metric=pl.lit("ndcg"))

    def test_are_grouped_by_verdict_worst_first(self) -> None:
        table = self.table(
            ("users", "new", True, 0.2, 0.1, 0.3),
            ("users", "heavy", True, -0.1, -0.15, -0.05),
            ("items", "cold", True, -0.3, -0.4, -0.2),
            ("items", "warm", True, 0.0, -0.1, 0.1),
            ("event", "buy", False, -0.9, -1.0, -0.8),
        )
        assert describe_segments(table, "ndcg", "ours", "als") == (
            "ours is ahead of als in 1 of 4 segments with enough users; "
            "behind in items: cold -0.300 [-0.400, -0.200], users: heavy -0.100 [-0.150, -0.050]; "
            "not distinguishable in items: warm +0.000 [-0.100, +0.100]"
        )

    def test_with_too_few_users_are_not_described(self) -> None:
        few = self.table(("event", "buy", False, -0.9, -1.0, -0.8))
        assert describe_segments(few, "ndcg", "ours", "als") == "no segment has enough users for a comparison"
