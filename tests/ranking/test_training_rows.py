import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recsys.ranking.training_rows import find_starts, label_rows, share_negatives, thin_negatives
from recsys.tables import TrainingRows, check

PAIR = {"user_index": pl.UInt32, "item_index": pl.UInt32}


def make_pairs(*pairs: tuple[int, int]) -> pl.DataFrame:
    return pl.DataFrame(list(pairs), schema=PAIR, orient="row")


NOTHING = make_pairs().with_columns(position=pl.lit(None, dtype=pl.UInt16))


def make_features(users: int, items: int) -> pl.DataFrame:
    pairs = make_pairs(*((user, item) for user in range(users) for item in range(items)))
    return pairs.with_columns(value=(pl.col("user_index") * 100 + pl.col("item_index")).cast(pl.Float32))


def test_labels_mark_what_was_taken_and_groups_without_a_find_are_dropped():
    # User 0 took 1; user 1 took only what was no candidate; user 2 took 0 and 2; user 3 took nothing.
    positives = make_pairs((0, 1), (1, 9), (2, 0), (2, 2))
    rows = label_rows(make_features(4, 3), positives, NOTHING, window=5)
    assert rows.columns == ["window", "user_index", "item_index", "label", "position", "value"]
    assert rows["position"].null_count() == rows.height
    assert rows.drop("position").rows() == [
        (5, 0, 0, 0, 0.0),
        (5, 0, 1, 1, 1.0),
        (5, 0, 2, 0, 2.0),
        (5, 2, 0, 1, 200.0),
        (5, 2, 1, 0, 201.0),
        (5, 2, 2, 1, 202.0),
    ]
    check(TrainingRows, rows, "test rows", "mend the test")


def test_rows_know_where_the_item_was_shown():
    positives = make_pairs((0, 1), (1, 0))
    # The last two are no candidates, or of nobody's list.
    shown = make_pairs((0, 0), (0, 1), (1, 2), (1, 9), (7, 0)).with_columns(
        position=pl.Series([2, 1, 300, 4, 5], dtype=pl.UInt16)
    )
    rows = label_rows(make_features(2, 3), positives, shown, window=0)
    assert rows["position"].to_list() == [2, 1, None, None, None, 300]
    check(TrainingRows, rows, "test rows", "mend the test")


@pytest.mark.parametrize("positives", [make_pairs(), make_pairs((0, 9), (7, 0))])
def test_nothing_found_leaves_no_rows(positives):
    rows = label_rows(make_features(2, 3), positives, NOTHING, window=0)
    assert rows.is_empty()
    check(TrainingRows, rows, "test rows", "mend the test")
    assert find_starts(rows).tolist() == [0]
    empty = label_rows(make_features(0, 0), positives, NOTHING, window=0)
    assert empty.schema == rows.schema


@settings(deadline=None)
@given(st.integers(1, 70), st.integers(0, 5))
def test_thinning_keeps_every_positive_and_the_order(max_rows, seed):
    positives = make_pairs(*((user, item) for user in range(6) for item in (user, 2 * user)))
    positives = positives.unique(maintain_order=True)
    whole = label_rows(make_features(8, 12), positives, NOTHING, window=0)
    share = share_negatives(whole, max_rows)
    thin = thin_negatives(whole, share, seed)
    taken = pl.col("label") == 1
    assert thin.filter(taken).equals(whole.filter(taken))
    assert thin.equals(whole.join(thin.select(list(PAIR)), on=list(PAIR), how="semi"))
    assert thin.equals(thin_negatives(whole, share, seed))
    assert (share == 1.0) is (whole.height <= max_rows)


def test_thinning_leaves_about_so_many_rows():
    positives = make_pairs(*((user, 0) for user in range(100)))
    whole = label_rows(make_features(100, 51), positives, NOTHING, window=0)
    rows = thin_negatives(whole, share_negatives(whole, 1600), 1)
    assert rows["label"].sum() == 100
    # 5,000 negatives, 1,500 expected, standard deviation 32.
    assert rows.height - 100 == pytest.approx(1500, abs=130)


def test_groups_line_up_with_the_rows():
    first = label_rows(make_features(3, 4), make_pairs((0, 0), (2, 1)), NOTHING, window=0)
    second = label_rows(make_features(3, 2), make_pairs((2, 1), (1, 0)), NOTHING, window=1)
    rows = pl.concat([first, second])
    # User 2 is in both windows: two groups, although they touch in no other way.
    assert find_starts(rows).tolist() == [0, 4, 8, 10, 12]
    assert find_starts(rows.filter(pl.col("user_index") == 2)).tolist() == [0, 4, 6]
