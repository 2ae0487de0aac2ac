"""The candidate ledger, worked by hand."""

from typing import Any, ClassVar

import numpy as np
import polars as pl
import pytest

from recsys.evaluation.candidate_ledger import (
    OUTCOMES,
    UNION,
    Ledger,
    build_candidate_ledger,
    compute_losses,
    describe_losses,
    select_outcomes,
)
from recsys.tables import CandidateLedger, LedgerDepths, LedgerOverlap, check

U32 = {"user_index": pl.UInt32, "item_index": pl.UInt32}
DEPTHS = {"als": 5, "text": 8}


def pairs(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=U32, orient="row")


def propose(*rows: tuple[int, int, int | None, int | None]) -> pl.DataFrame:
    schema = {**U32, "als_rank": pl.UInt16, "text_rank": pl.UInt16}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


def rank(*rows: tuple[int, int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema={**U32, "rank": pl.UInt16}, orient="row")


# Items 0..5; item 4 is not recommendable.
RECOMMENDABLE = pl.Series([True, True, True, True, False, True])
# For user 0, als proposes 0, both propose 1, text proposes 2 and 5; for user 1, text proposes 0.
PROPOSED = propose((0, 0, 1, None), (0, 1, 2, 2), (0, 2, None, 1), (0, 5, None, 7), (1, 0, None, 1))
# The merge cut item 5; the list of one item is item 1 for user 0 and item 0 for user 1.
RANKED = rank((0, 1, 1), (0, 2, 2), (0, 0, 3), (1, 0, 1))
# The positives of user 0: 0 (als alone), 1 (both), 3 (no source), 4 (not recommendable) and 5 (cut); of user 1: 0.
POSITIVES = pairs((0, 0), (0, 1), (0, 3), (0, 4), (0, 5), (1, 0))


def build(
    proposed: pl.DataFrame, ranked: pl.DataFrame, positives: pl.DataFrame, removed: list[bool] | None = None
) -> Ledger:
    removed_by_rule = None if removed is None else np.array(removed, dtype=bool)
    return build_candidate_ledger(proposed, ranked, positives, RECOMMENDABLE, DEPTHS, 1, removed_by_rule)


def test_by_hand() -> None:
    ledger = build(PROPOSED, RANKED, POSITIVES)
    assert ledger.outcomes == dict(zip(OUTCOMES, (1, 1, 1, 1, 0, 2), strict=True))
    assert ledger.union_recall == 4 / 6
    table = check(CandidateLedger, ledger.summarise(), "ledger", "fix the test")
    assert table.rows() == [("als", 2, 2, 2 / 6, 1 / 6, 1 / 2), ("text", 4, 3, 3 / 6, 2 / 6, 1.0)]


def test_every_positive_has_one_outcome_its_sources_and_its_rank() -> None:
    positives = build(PROPOSED, RANKED, POSITIVES).positives
    assert positives.select("user_index", "item_index").equals(POSITIVES)
    assert positives.select("outcome", "sources", "rank").rows() == [
        ("ranked below n", ["als"], 3),
        ("listed", ["als", "text"], 1),
        ("not proposed", [], None),
        ("not recommendable", [], None),
        ("cut at merge", ["text"], None),
        ("listed", ["text"], 1),
    ]


def test_recall_by_depth() -> None:
    table = check(LedgerDepths, build(PROPOSED, RANKED, POSITIVES).summarise_depths(), "depths", "fix the test")
    # The positives of als have ranks 1 and 2, those of text 2, 7 and 1; the union has all but rank 7 in its first 5.
    assert table.rows() == [
        ("als", 5, 2 / 6),
        ("als", 8, 2 / 6),
        ("text", 5, 2 / 6),
        ("text", 8, 3 / 6),
        (UNION, 5, 3 / 6),
        (UNION, 8, 4 / 6),
    ]


def test_overlap() -> None:
    table = check(LedgerOverlap, build(PROPOSED, RANKED, POSITIVES).summarise_overlap(), "overlap", "fix the test")
    # Both propose item 1, a positive: 1 of 2 items (2 positives) of als, 1 of 4 items (3 positives) of text.
    assert table.rows() == [("als", "text", 1 / 2, 1 / 2), ("text", "als", 1 / 4, 1 / 3)]


def test_ledgers_of_shards_add_up() -> None:
    def build_shard(user: int) -> Ledger:
        mine = [frame.filter(pl.col("user_index") == user) for frame in (PROPOSED, RANKED, POSITIVES)]
        return build(mine[0], mine[1], mine[2])

    whole, both = build(PROPOSED, RANKED, POSITIVES), build_shard(0) + build_shard(1)
    assert (both.outcomes, both.rows) == (whole.outcomes, whole.rows)
    for name in ("summarise", "summarise_depths", "summarise_overlap"):
        assert getattr(both, name)().equals(getattr(whole, name)())


@pytest.mark.parametrize("positives", [pairs(), pairs((0, 3))])
def test_nothing_proposed(positives: pl.DataFrame) -> None:
    ledger = build(propose(), rank(), positives)
    assert ledger.union_recall == 0
    assert ledger.summarise().select("recall", "recall_alone", "list_share").rows() == [(0.0, 0.0, 0.0)] * 2
    assert set(ledger.summarise_depths()["recall"]) == {0.0}
    assert set(ledger.summarise_overlap()["found_share"]) == {0.0}


def test_a_rank_equal_to_the_depth_is_within_the_depth() -> None:
    # als proposes the positive at rank 5, its only depth below 8 is 5.
    ledger = build(propose((0, 0, 5, None)), rank((0, 0, 1)), pairs((0, 0)))
    assert ledger.summarise_depths().filter(pl.col("source") == "als")["recall"].to_list() == [1.0, 1.0]


class TestRules:
    # In the order of POSITIVES: a rule removes item 1 from the list, an exclusion keeps sources from proposing item 3.
    REMOVED = (False, True, True, False, False, False)

    def test_a_removed_positive_is_lost_to_a_rule(self) -> None:
        # After the rules item 1 is out of the ranking and item 2 has moved up.
        ranked = rank((0, 2, 1), (0, 0, 2), (1, 0, 1))
        ledger = build(PROPOSED, ranked, POSITIVES, list(self.REMOVED))
        assert ledger.outcomes == dict(zip(OUTCOMES, (1, 0, 1, 1, 2, 1), strict=True))
        lost = ledger.positives.filter(pl.col("outcome") == "lost to a rule")
        assert lost.select("item_index", "sources", "rank").rows() == [(1, ["als", "text"], None), (3, [], None)]

    def test_no_flag_set_is_the_same_as_no_flags(self) -> None:
        without, unset = build(PROPOSED, RANKED, POSITIVES), build(PROPOSED, RANKED, POSITIVES, [False] * 6)
        assert unset.positives.equals(without.positives)
        assert unset.summarise().equals(without.summarise())

    def test_is_shown_only_where_it_occurs(self) -> None:
        counts = [(outcome, 0) for outcome in OUTCOMES]
        assert [outcome for outcome, _ in select_outcomes(counts)] == [name for name in OUTCOMES if "rule" not in name]
        lost = [(outcome, int(outcome == "lost to a rule")) for outcome in OUTCOMES]
        assert select_outcomes(lost) == lost

    def test_has_a_loss_of_its_own(self) -> None:
        # Both positives are candidates; the ranker lists both, a rule removes one.
        losses = compute_losses(
            np.array([2]), np.array([2]), np.array([0.5]), "recall", 5, before_rules=np.array([1.0])
        )
        assert {stage: values.tolist() for stage, values in losses.items()} == {
            "retrieval": [0.0],
            "ranker": [0.0],
            "rules": [0.5],
        }


def test_losses_add_up_to_the_perfect_list() -> None:
    # 3 positives, 2 of them candidates, 1 of them at the top of the list; then a user who lost nothing.
    n_candidates, n_positives = np.array([2, 1]), np.array([3, 1])
    losses = compute_losses(n_candidates, n_positives, np.array([1 / 3, 1.0]), "recall", 5)
    assert list(losses) == ["retrieval", "ranker"]
    assert losses["retrieval"] == pytest.approx([1 / 3, 0.0])
    assert losses["ranker"] == pytest.approx([1 / 3, 0.0])
    # A list of one item can contain a third of 3 positives: no stage is charged for the rest.
    losses = compute_losses(n_candidates, n_positives, np.array([0.0, 1.0]), "recall", 1)
    assert losses["retrieval"].tolist() == [0.0, 0.0]
    assert losses["ranker"] == pytest.approx([1 / 3, 0.0])


class TestText:
    MEASURED: ClassVar[dict[str, Any]] = {
        "positives": [("not proposed", 3), ("lost to a rule", 0), ("listed", 1)],
        "union_recall": 0.25,
        "losses": {"metric": "ndcg", "n": 10, "retrieval": [0.5, 0.4, 0.6], "ranker": [0.25, 0.2, 0.3]},
        "churn": None,
    }

    def test_losses(self) -> None:
        assert describe_losses(self.MEASURED) == [
            "of 4 positives: 3 not proposed (75.0%), 1 listed (25.0%); 25.0% proposed by any source",
            "ndcg@10 lost: 0.500 [0.400, 0.600] because no source proposed the item; "
            "0.250 [0.200, 0.300] because it was proposed but ranked too low",
        ]

    def test_churn(self) -> None:
        churn = {"run": "mini-1", "users": 1200, "mean": 0.125, "low": 0.1, "high": 0.15}
        expected = "list items replaced since run mini-1: 12.5% [10.0%, 15.0%] on 1,200 users"
        assert describe_losses({**self.MEASURED, "churn": churn})[2] == expected

    def test_rules_are_named_where_they_cost_something(self) -> None:
        losses = {**self.MEASURED["losses"], "rules": [0.01, -0.01, 0.03]}
        positives = [("lost to a rule", 1)]
        outcomes, lost = describe_losses({**self.MEASURED, "positives": positives, "losses": losses})
        assert outcomes.startswith("of 1 positive: 1 lost to a rule (100.0%);")
        assert lost.endswith("; 0.010 [-0.010, 0.030] because a rule or an exclusion removed it")
