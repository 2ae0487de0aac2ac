import polars as pl
import pytest

from recsys.config import EvaluationConfig
from recsys.evaluation.candidate_ledger import LOST_TO_A_RULE, OUTCOMES
from recsys.evaluation.source_recall import compute_source_recall, count_outcomes

CONFIG = EvaluationConfig(bootstrap_samples=200)
COLD, WARM = "items: cold", "items: warm"


def positives() -> pl.DataFrame:
    """User a: two cold items (text proposes one) and a warm one; user b: a cold item that both sources propose."""
    return pl.DataFrame(
        {
            "user_id": ["a", "a", "a", "b"],
            "item_id": ["1", "2", "3", "1"],
            "outcome": ["listed", "not proposed", "ranked below n", "ranked below n"],
            "sources": [["text"], [], ["als", "text"], ["text", "als"]],
            "segments": [[COLD, "event: view"], [COLD], [WARM, "event: view"], [COLD]],
        }
    )


class TestOutcomes:
    def test_are_counted_by_segment(self) -> None:
        counts = count_outcomes(positives(), [COLD, WARM])
        assert counts["segment"].to_list() == [COLD] * 5 + [WARM] * 5
        assert counts["outcome"].to_list() == 2 * [outcome for outcome in OUTCOMES if outcome != LOST_TO_A_RULE]
        assert counts["positives"].to_list() == [0, 1, 0, 1, 1, 0, 0, 0, 1, 0]
        assert counts.filter(pl.col("segment") == COLD)["share"].sum() == pytest.approx(1)

    def test_a_loss_to_a_rule_is_counted_in_every_segment(self) -> None:
        lost = positives().with_columns(outcome=pl.lit(LOST_TO_A_RULE))
        counts = count_outcomes(lost.vstack(positives()), [COLD, WARM])
        assert counts["outcome"].to_list() == 2 * list(OUTCOMES)
        assert counts.filter(pl.col("outcome") == LOST_TO_A_RULE)["positives"].to_list() == [3, 1]

    def test_of_a_segment_without_positives_are_left_out(self) -> None:
        assert count_outcomes(positives(), ["items: old", WARM])["segment"].unique().to_list() == [WARM]
        none = count_outcomes(positives(), ["items: old"])
        assert none.is_empty()
        assert none.columns == ["segment", "outcome", "positives", "share"]


class TestSourceRecall:
    def test_each_user_has_the_same_weight(self) -> None:
        recall = compute_source_recall(positives(), [COLD], ["als", "text"], CONFIG, seed=0)
        # text proposes one of the two of a and the only one of b; als only that of b.
        assert recall.select("source", "users", "positives", "mean").rows() == [
            ("als", 2, 3, 0.5),
            ("text", 2, 3, 0.75),
            ("union", 2, 3, 0.75),
        ]
        assert (recall["low"] <= recall["mean"]).all()
        assert (recall["mean"] <= recall["high"]).all()
        assert recall.filter(pl.col("source") == "als").select("low", "high").row(0) == (0.0, 1.0)

    def test_a_segment_without_positives_is_left_out(self) -> None:
        assert compute_source_recall(positives(), ["items: old"], ["als"], CONFIG, seed=0).is_empty()

    def test_does_not_depend_on_the_order_of_rows(self) -> None:
        reversed_rows = compute_source_recall(positives().reverse(), [COLD, WARM], ["text"], CONFIG, seed=3)
        assert reversed_rows.equals(compute_source_recall(positives(), [COLD, WARM], ["text"], CONFIG, seed=3))
