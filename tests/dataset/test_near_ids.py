import polars as pl
import pytest

from recsys.dataset.near_ids import NearId, find_near_ids


@pytest.mark.parametrize(
    ("unknown", "known", "difference"),
    [
        ("007", "7", "leading zeros"),
        ("7", "007", "leading zeros"),
        ("B00ABC", "b00abc", "letter case"),
        ("cafe\u0301", "café", "the Unicode form of accents (NFC)"),
        ("a\u200b1", "a1", "invisible characters or spaces"),
        ("a 1", "a1", "invisible characters or spaces"),
        ("007A", "7a", "spelling"),
    ],
)
def test_near_forms_are_found_and_explained(unknown, known, difference):
    assert find_near_ids(pl.Series([unknown]), pl.Series(["x", known])) == [NearId(unknown, known, difference)]


def test_other_ids_are_not_near():
    assert find_near_ids(pl.Series(["10", "0", "ab"]), pl.Series(["1", "00x", "abc"])) == []
    assert find_near_ids(pl.Series(dtype=pl.String), pl.Series(["1"])) == []
    assert find_near_ids(pl.Series(["1"]), pl.Series(dtype=pl.String)) == []
