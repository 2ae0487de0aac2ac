"""The candidate ledger, by hand."""

import polars as pl
import pytest

from recsys.evaluation.ledger import Ledger, keep_ledger
from recsys.tables import CandidateLedger, check

U32 = {"user_index": pl.UInt32, "item_index": pl.UInt32}


def pairs(*rows: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(rows), schema=U32, orient="row")


def propose(*rows: tuple[int, int, int | None, int | None]) -> pl.DataFrame:
    schema = {**U32, "als_rank": pl.UInt16, "text_rank": pl.UInt16}
    return pl.DataFrame(list(rows), schema=schema, orient="row")


# Items 0..4; item 4 is not recommendable.
RECOMMENDABLE = pl.Series([True, True, True, True, False])
# User 0 is offered 0 by als, 1 by both, 2 by text; user 1 is offered 0 by text.
CANDIDATES = propose((0, 0, 1, None), (0, 1, 2, 2), (0, 2, None, 1), (1, 0, None, 1))
# User 0 took 0 (als alone), 1 (both), 3 (nobody) and 4 (could not be shown); user 1 took 0 (text alone).
POSITIVES = pairs((0, 0), (0, 1), (0, 3), (0, 4), (1, 0))
# Lists of one: user 0 sees 1, a hit; user 1 sees 0, a hit.
LISTS = pairs((0, 1), (1, 0))


def test_by_hand() -> None:
    ledger = keep_ledger(CANDIDATES, POSITIVES, LISTS, RECOMMENDABLE, ["als", "text"])
    assert ledger.sources.rows() == [("als", 2, 2, 1, 1), ("text", 3, 2, 1, 2)]
    assert ledger.fates == {"not recommendable": 1, "found by no source": 1, "ranked below n": 1, "listed": 2}
    assert ledger.union_recall == 3 / 5
    table = check(CandidateLedger, ledger.summarise(), "ledger", "mend the test")
    assert table.rows() == [("als", 2, 2, 2 / 5, 1 / 5, 1 / 2), ("text", 3, 2, 2 / 5, 1 / 5, 1.0)]


def test_every_positive_has_one_fate() -> None:
    ledger = keep_ledger(CANDIDATES, POSITIVES, LISTS, RECOMMENDABLE, ["als", "text"])
    assert sum(ledger.fates.values()) == POSITIVES.height


def test_ledgers_of_parts_add_up() -> None:
    def of(user: int) -> Ledger:
        mine = [frame.filter(pl.col("user_index") == user) for frame in (CANDIDATES, POSITIVES, LISTS)]
        return keep_ledger(mine[0], mine[1], mine[2], RECOMMENDABLE, ["als", "text"])

    whole = keep_ledger(CANDIDATES, POSITIVES, LISTS, RECOMMENDABLE, ["als", "text"])
    both = of(0) + of(1)
    assert (both.fates, both.rows) == (whole.fates, whole.rows)
    assert both.summarise().equals(whole.summarise())


@pytest.mark.parametrize("positives", [pairs(), pairs((0, 3))])
def test_nothing_proposed(positives: pl.DataFrame) -> None:
    ledger = keep_ledger(propose(), positives, pairs(), RECOMMENDABLE, ["als", "text"])
    assert ledger.union_recall == 0
    assert ledger.summarise().select("recall", "recall_alone", "list_share").rows() == [(0.0, 0.0, 0.0)] * 2
