"""Each sanity check: what it refuses, what it accepts, and what it does not look at."""

import re

import numpy as np
import polars as pl
import pytest

from recsys.config import SanityConfig
from recsys.serving.sanity import VariantLists, find_faults

USERS = [f"u{number:03d}" for number in range(40)]
ANYTHING = SanityConfig(
    max_fallback_share=1.0, max_empty_share=1.0, max_churn=1.0, min_coverage_left=0.0, max_score_shift=1.0
)
COUNTS = {"users": 100, "rows": 1000, "fallback_rows": 0, "short_lists": 0, "empty_lists": 0}


def make_lists(
    items: list[str], scores: list[float], sources: list[str] | None = None, version: str = "1"
) -> pl.LazyFrame:
    """Give every user the same list."""
    n = len(items)
    row = pl.DataFrame(
        {
            "rank": pl.Series(range(1, n + 1), dtype=pl.UInt16),
            "item_id": items,
            "score": pl.Series(scores, dtype=pl.Float32),
            "sources": [[source] for source in sources or ["als"] * n],
            "model_version": [version] * n,
        }
    )
    return pl.DataFrame({"user_id": USERS}).join(row, how="cross").lazy()


def check(
    lists: pl.LazyFrame,
    previous: pl.LazyFrame | None = None,
    counts: dict[str, int] | None = None,
    *,
    same_settings: bool = True,
    variants: tuple[VariantLists, ...] = (),
    **limits: float,
) -> list[str]:
    config = ANYTHING.model_copy(update=limits)
    return find_faults(
        lists,
        {**COUNTS, **(counts or {})},
        previous,
        same_settings=same_settings,
        config=config,
        variants=variants,
    )


TONIGHT = make_lists(["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0])


@pytest.mark.parametrize(
    ("limit", "counts", "sentence"),
    [
        ("max_fallback_share", {"fallback_rows": 525}, r"52\.5% of rows are fallback items \(limit 52%, generation\."),
        ("max_empty_share", {"empty_lists": 53}, r"53\.0% of users have an empty list \(limit 52%, generation\.sanity"),
    ],
)
def test_a_share_above_its_limit_is_refused(limit: str, counts: dict[str, int], sentence: str) -> None:
    (fault,) = check(TONIGHT, counts=counts, **{limit: 0.52})
    assert re.match(sentence, fault)
    # The limit itself is allowed.
    exactly = {name: 520 if name == "fallback_rows" else 52 for name in counts}
    assert check(TONIGHT, counts=exactly, **{limit: 0.52}) == []


def test_no_row_at_all_is_refused() -> None:
    assert check(TONIGHT.head(0), counts={"rows": 0}) == ["all lists are empty"]


def test_lost_coverage_is_refused() -> None:
    few = make_lists(["a", "a"], [2.0, 1.0])
    (fault,) = check(few, TONIGHT, same_settings=False, min_coverage_left=0.5)
    assert fault.startswith(
        "only 25.0% as many distinct items are recommended as in the last lists (limit 50%, generation."
    )
    assert check(few, TONIGHT, same_settings=False, min_coverage_left=0.25) == []


class TestChurn:
    def test_new_items_are_refused_under_the_same_settings_only(self) -> None:
        other = make_lists(["e", "f", "g", "d"], [4.0, 3.0, 2.0, 1.0])
        (fault,) = check(other, TONIGHT, max_churn=0.7)
        assert fault.startswith(
            "75.0% of list items are new since the last lists (limit 70%, generation.sanity.max_chu"
        )
        assert check(other, TONIGHT, max_churn=0.75) == []
        assert check(other, TONIGHT, max_churn=0.7, same_settings=False) == []

    def test_it_is_counted_over_the_length_of_the_last_lists(self) -> None:
        # Longer lists keep all four items; over tonight's length four of eight would be new.
        longer = make_lists(["a", "b", "c", "d", "e", "f", "g", "h"], list(np.arange(8.0, 0.0, -1.0)))
        assert check(longer, TONIGHT, max_churn=0.1) == []
        # Shorter lists that keep one of four items of each user.
        (fault,) = check(make_lists(["a", "x"], [2.0, 1.0]), TONIGHT, max_churn=0.4)
        assert fault.startswith("50.0% of list items are new")


class TestScoreShift:
    def test_other_scores_by_the_same_model_are_refused(self) -> None:
        other = make_lists(["a", "b", "c", "d"], [14.0, 13.0, 2.0, 1.0])
        (fault,) = check(other, TONIGHT, max_score_shift=0.4)
        assert fault.startswith("the score distribution shifted by 0.50 (KS distance)")
        assert fault.endswith("(limit 0.4, generation.sanity.max_score_shift)")
        before = make_lists(["a", "b", "c", "d"], [4.0, 3.0, 2.0, 1.0], version="2")
        assert check(other, before, max_score_shift=0.4) == []

    def test_fallback_rows_do_not_count(self) -> None:
        # Their scores continue the list downwards and belong to no model.
        sources = ["als", "als", "fallback", "fallback"]
        filled = make_lists(["a", "b", "c", "d"], [4.0, 3.0, -50.0, -51.0], sources)
        before = make_lists(["a", "b", "c", "d"], [4.0, 3.0, 2.9, 2.8], sources)
        assert check(filled, before, max_score_shift=0.1) == []
        assert len(check(filled.with_columns(sources=pl.lit(["als"])), before, max_score_shift=0.1)) == 1

    def test_only_ranks_of_both_nights_count(self) -> None:
        longer = make_lists([*"abcdefgh"], [4.0, 3.0, 2.0, 1.0, -1.0, -2.0, -3.0, -4.0])
        assert check(longer, TONIGHT, max_score_shift=0.1) == []
        assert check(TONIGHT, longer, max_score_shift=0.1) == []

    def test_of_a_night_with_a_canary_only_the_lists_of_the_same_version_count(self) -> None:
        high = make_lists(["a", "b", "c", "d"], [90.0, 80.0, 70.0, 60.0], version="2")
        drawn = pl.col("user_id") >= "u020"
        before = pl.concat([TONIGHT.filter(~drawn), high.filter(drawn)])
        assert check(TONIGHT, before, max_score_shift=0.1) == []


class TestVariants:
    """Users are split: version 1 makes the lists of the first 20, version 2 those of the other 20."""

    def split(self, first: pl.LazyFrame, second: pl.LazyFrame) -> pl.LazyFrame:
        drawn = pl.col("user_id") >= "u020"
        return pl.concat([first.filter(~drawn), second.with_columns(model_version=pl.lit("2")).filter(drawn)])

    def describe(self, **counts: int) -> tuple[VariantLists, ...]:
        return (
            VariantLists("champion version 1", "1", {**COUNTS, "users": 900, "rows": 9000}),
            VariantLists("challenger version 2", "2", {**COUNTS, **counts}),
        )

    @pytest.mark.parametrize(
        ("limit", "counts", "sentence"),
        [
            ("max_fallback_share", {"fallback_rows": 525}, r"challenger version 2: 52\.5% of rows are fallback items"),
            ("max_empty_share", {"empty_lists": 53}, r"challenger version 2: 53\.0% of users have an empty list"),
        ],
    )
    def test_a_share_that_is_high_in_one_variant_only_is_refused(
        self, limit: str, counts: dict[str, int], sentence: str
    ) -> None:
        (fault,) = check(TONIGHT, variants=self.describe(**counts), **{limit: 0.52})
        assert re.match(sentence, fault)
        # Of so few users two strange ones are many.
        few = {"users": 49, "rows": 490, "fallback_rows": 400, "empty_lists": 40}
        assert check(TONIGHT, variants=self.describe(**few), **{limit: 0.52}) == []

    def test_a_variant_without_any_item_is_refused_however_small(self) -> None:
        (fault,) = check(TONIGHT, variants=self.describe(users=2, rows=0, empty_lists=2))
        assert fault == "challenger version 2: all lists are empty"

    def test_churn_and_scores_are_compared_for_each_version(self) -> None:
        before = self.split(TONIGHT, TONIGHT)
        assert check(before, before, variants=self.describe(), max_churn=0.0, max_score_shift=0.0) == []
        other = self.split(TONIGHT, make_lists([*"efgh"], [40.0, 30.0, 20.0, 10.0]))
        # Over all users half of the items and of the scores are other ones.
        faults = check(other, before, variants=self.describe(), max_churn=0.5, max_score_shift=0.9)
        assert [fault[:47] for fault in faults] == [
            "challenger version 2: 100.0% of list items are ",
            "challenger version 2: the score distribution sh",
        ]

    def test_in_the_first_night_of_a_canary_its_users_are_expected_to_get_other_lists(self) -> None:
        other = self.split(TONIGHT, make_lists([*"efgh"], [40.0, 30.0, 20.0, 10.0]))
        assert check(other, TONIGHT, variants=self.describe(), max_churn=0.5, max_score_shift=0.0) == []
