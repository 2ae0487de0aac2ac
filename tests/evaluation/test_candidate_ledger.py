"""The candidate ledger, by hand."""

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
# User 0 is offered 0 by als, 1 by both, 2 and 5 by text; user 1 is offered 0 by text.
PROPOSED = propose((0, 0, 1, None), (0, 1, 2, 2), (0, 2, None, 1), (0, 5, None, 7), (1, 0, None, 1))
# The union was cut above item 5; user 0's list of one is item 1, user 1's is item 0.
RANKED = rank((0, 1, 1), (0, 2, 2), (0, 0, 3), (1, 0, 1))
# User 0 took 0 (als alone), 1 (both), 3 (nobody), 4 (could not be shown) and 5 (cut); user 1 took 0 (text alone).
POSITIVES = pairs((0, 0), (0, 1), (0, 3), (0, 4), (0, 5), (1, 0))


def keep(proposed: pl.DataFrame, ranked: pl.DataFrame, positives: pl.DataFrame) -> Ledger:
    return build_candidate_ledger(proposed, ranked, positives, RECOMMENDABLE, DEPTHS, 1)


def test_by_hand() -> None:
    ledger = keep(PROPOSED, RANKED, POSITIVES)
    assert ledger.outcomes == dict(zip(OUTCOMES, (1, 1, 1, 1, 2), strict=True))
    assert ledger.union_recall == 4 / 6
    table = check(CandidateLedger, ledger.summarise(), "ledger", "mend the test")
    assert table.rows() == [("als", 2, 2, 2 / 6, 1 / 6, 1 / 2), ("text", 4, 3, 3 / 6, 2 / 6, 1.0)]


def test_every_positive_has_one_outcome_its_sources_and_its_rank() -> None:
    positives = keep(PROPOSED, RANKED, POSITIVES).positives
    assert positives.select("user_index", "item_index").equals(POSITIVES)
    assert positives.select("outcome", "sources", "rank").rows() == [
        ("ranked below n", ["als"], 3),
        ("listed", ["als", "text"], 1),
        ("found by no source", [], None),
        ("not recommendable", [], None),
        ("cut at merge", ["text"], None),
        ("listed", ["text"], 1),
    ]


def test_recall_by_depth() -> None:
    table = check(LedgerDepths, keep(PROPOSED, RANKED, POSITIVES).summarise_depths(), "depths", "mend the test")
    # als has its two finds at ranks 1 and 2; text at 2, 7 and 1; together all but the seventh within five.
    assert table.rows() == [
        ("als", 5, 2 / 6),
        ("als", 8, 2 / 6),
        ("text", 5, 2 / 6),
        ("text", 8, 3 / 6),
        (UNION, 5, 3 / 6),
        (UNION, 8, 4 / 6),
    ]


def test_overlap() -> None:
    table = check(LedgerOverlap, keep(PROPOSED, RANKED, POSITIVES).summarise_overlap(), "overlap", "mend the test")
    # Item 1 alone is proposed by both, and is a find: 1 of the 2 (finds: 2) of als, 1 of the 4 (finds: 3) of text.
    assert table.rows() == [("als", "text", 1 / 2, 1 / 2), ("text", "als", 1 / 4, 1 / 3)]


def test_ledgers_of_parts_add_up() -> None:
    def of(user: int) -> Ledger:
        mine = [frame.filter(pl.col("user_index") == user) for frame in (PROPOSED, RANKED, POSITIVES)]
        return keep(mine[0], mine[1], mine[2])

    whole, both = keep(PROPOSED, RANKED, POSITIVES), of(0) + of(1)
    assert (both.outcomes, both.rows) == (whole.outcomes, whole.rows)
    for name in ("summarise", "summarise_depths", "summarise_overlap"):
        assert getattr(both, name)().equals(getattr(whole, name)())


@pytest.mark.parametrize("positives", [pairs(), pairs((0, 3))])
def test_nothing_proposed(positives: pl.DataFrame) -> None:
    ledger = keep(propose(), rank(), positives)
    assert ledger.union_recall == 0
    assert ledger.summarise().select("recall", "recall_alone", "list_share").rows() == [(0.0, 0.0, 0.0)] * 2
    assert set(ledger.summarise_depths()["recall"]) == {0.0}
    assert set(ledger.summarise_overlap()["found_share"]) == {0.0}


def test_losses_add_up_to_the_perfect_list() -> None:
    # 3 positives, 2 of them candidates, 1 of them at the top of the list; then a user who lost nothing.
    found, n_positives = np.array([2, 1]), np.array([3, 1])
    retrieval, ranking = compute_losses(found, n_positives, np.array([1 / 3, 1.0]), "recall", 5)
    assert retrieval == pytest.approx([1 / 3, 0.0])
    assert ranking == pytest.approx([1 / 3, 0.0])
    # Of 3 positives a list of one can hold a third: that is nobody's loss.
    retrieval, ranking = compute_losses(found, n_positives, np.array([0.0, 1.0]), "recall", 1)
    assert (retrieval.tolist(), ranking == pytest.approx([1 / 3, 0.0])) == ([0.0, 0.0], True)


def test_losses_in_words() -> None:
    losses = {"metric": "ndcg", "n": 10, "retrieval": [0.5, 0.4, 0.6], "ranker": [0.25, 0.2, 0.3]}
    measured: dict[str, object] = {
        "positives": [("found by no source", 3), ("listed", 1)],
        "union_recall": 0.25,
        "losses": losses,
    }
    measured["churn"] = None
    assert describe_losses(measured) == [
        "of 4 positives: 3 found by no source (75.0%), 1 listed (25.0%); found by any source 25.0%",
        "ndcg@10 lost by retrieval 0.500 [0.400, 0.600], by the ranker 0.250 [0.200, 0.300]",
    ]
    measured["churn"] = {"run": "mini-1", "users": 1200, "mean": 0.125, "low": 0.1, "high": 0.15}
    assert describe_losses(measured)[2] == "new in the lists since run mini-1: 12.5% [10.0%, 15.0%] on 1,200 users"
