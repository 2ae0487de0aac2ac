import polars as pl
import pytest

from recsys.config import EvaluationConfig
from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.evaluation.source_recall import compute_source_recall, count_outcomes

CONFIG = EvaluationConfig(bootstrap_samples=200)
COLD, WARM = "items: cold", "items: warm"


def positives() -> pl.DataFrame:
    """User a: two cold (text finds one) and a warm one; user b: one cold, found by text and als."""
    return pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b"],
            "item_id": ["1", "2", "3", "1"],
            "outcome": ["listed", "found by no source", "ranked below n", "ranked below n"],
            "sources": [["text"], [], ["als", "text"], ["text", "als"]],
            "segments": [[COLD, "event: view"], [COLD], [WARM, "event: view"], [COLD]],
        }
    )


class TestFates:
    def test_are_counted_by_segment(self) -> None:
        counts = count_outcomes(positives(), [COLD, WARM])
        assert counts["segment"].to_list() == [COLD] * 5 + [WARM] * 5
        assert counts["outcome"].to_list() == [*OUTCOMES, *OUTCOMES]
        assert counts["positives"].to_list() == [0, 1, 0, 1, 1, 0, 0, 0, 1, 0]
        assert counts.filter(pl.col("segment") == COLD)["share"].sum() == pytest.approx(1)

    def test_of_a_segment_without_positives_are_left_out(self) -> None:
        assert count_outcomes(positives(), ["items: old", WARM])["segment"].unique().to_list() == [WARM]
        none = count_outcomes(positives(), ["items: old"])
        assert none.is_empty()
        assert none.columns == ["segment", "outcome", "positives", "share"]


class TestFound:
    def test_each_user_counts_the_same(self) -> None:
        found = compute_source_recall(positives(), [COLD], ["als", "text"], CONFIG, seed=0)
        # a has half of the two by text, b all of the one; als has b's alone.
        assert found.select("source", "users", "positives", "mean").rows() == [
            ("als", 2, 3, 0.5),
            ("text", 2, 3, 0.75),
            ("union", 2, 3, 0.75),
        ]
        assert (found["low"] <= found["mean"]).all()
        assert (found["mean"] <= found["high"]).all()
        assert found.filter(pl.col("source") == "als").select("low", "high").row(0) == (0.0, 1.0)

    def test_a_segment_without_positives_is_left_out(self) -> None:
        assert compute_source_recall(positives(), ["items: old"], ["als"], CONFIG, seed=0).is_empty()

    def test_the_order_of_rows_changes_nothing(self) -> None:
        turned = compute_source_recall(positives().reverse(), [COLD, WARM], ["text"], CONFIG, seed=3)
        assert turned.equals(compute_source_recall(positives(), [COLD, WARM], ["text"], CONFIG, seed=3))
