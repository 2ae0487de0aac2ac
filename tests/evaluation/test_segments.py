"""Segments of the positives, worked by hand, and the comparison within them."""

import numpy as np
import polars as pl
import pytest

from recsys.config import EvaluationConfig, SegmentsConfig
from recsys.evaluation.metrics import METRICS
from recsys.evaluation.segments import (
    Segment,
    compute_segments,
    cut_segments,
    label_positives,
    parse_segments,
)
from recsys.evaluation.tied_ranks import TiedRanks, rank_positives
from recsys.tables import SegmentTable, check

# Users 0, 1, 2 with 2, 5 and 9 items in their histories.
POSITIVES = pl.DataFrame(
    {
        "user_index": [0, 0, 1, 2, 2],
        "item_index": [0, 4, 1, 2, 3],
        "events": [["view"], ["buy", "view"], ["view"], ["buy"], []],
    },
    schema_overrides={"user_index": pl.UInt32, "item_index": pl.UInt32, "events": pl.List(pl.String)},
)
USER_ITEMS = np.array([2, 5, 9])
# 12 user-item pairs: item 0 has more than the first third, 1 reaches into the second, 2 and 3 are the tail, 4 is cold.
ITEM_USERS = np.array([5, 3, 3, 1, 0], dtype=np.float32)
ITEMS = pl.DataFrame({"tags": [["a", "猫"], ["a"], [], ["猫"], ["b"]], "genre": [["$x$"], [], [], ["y"], ["y"]]})
CONFIG = SegmentsConfig(new_user_items=2, heavy_user_items=5, item_columns=("tags", "genre"), min_users=2)


def cut(config: SegmentsConfig = CONFIG) -> dict[tuple[str, str], list[int]]:
    segments = cut_segments(POSITIVES, USER_ITEMS, ITEM_USERS, ITEMS, config)
    return {(segment.dimension, segment.name): np.flatnonzero(segment.kept).tolist() for segment in segments}


def test_by_hand() -> None:
    assert cut() == {
        ("users", "new"): [0, 1],
        ("users", "light"): [2],
        ("users", "heavy"): [3, 4],
        ("items", "cold"): [1],
        ("items", "warm"): [0, 2, 3, 4],
        ("popularity", "head"): [0],
        ("popularity", "torso"): [2],
        ("popularity", "tail"): [3, 4],
        ("event", "buy"): [1, 3],
        ("event", "view"): [0, 1, 2],
        ("tags", "a"): [0, 2],
        ("tags", "猫"): [0, 4],
        ("tags", "b"): [1],
        ("genre", "y"): [1, 4],
        ("genre", "$x$"): [0],
    }


def test_only_the_most_frequent_values_have_a_segment() -> None:
    names = [name for dimension, name in cut(CONFIG.model_copy(update={"max_values": 1})) if dimension == "tags"]
    assert names == ["a"]


def test_a_segment_with_every_positive_is_left_out() -> None:
    one_kind = POSITIVES.with_columns(events=pl.lit(["view"]))
    segments = cut_segments(one_kind, USER_ITEMS, np.ones(5, dtype=np.float32), ITEMS, CONFIG)
    assert {segment.dimension for segment in segments} == {"users", "popularity", "tags", "genre"}


def test_user_and_item_segments_partition_the_positives() -> None:
    for dimension in ("users", "items"):
        rows = [row for (by, _), kept in cut().items() if by == dimension for row in kept]
        assert sorted(rows) == [0, 1, 2, 3, 4]


def test_labels_read_back() -> None:
    segments = cut_segments(POSITIVES, USER_ITEMS, ITEM_USERS, ITEMS, CONFIG)
    labels = label_positives(segments, POSITIVES.height)
    assert labels[4].to_list() == ["users: heavy", "items: warm", "popularity: tail", "tags: 猫", "genre: y"]
    parsed = parse_segments(labels)
    assert {(segment.dimension, segment.name): np.flatnonzero(segment.kept).tolist() for segment in parsed} == cut()
    assert label_positives([], 2).to_list() == [[], []]


def rank(*lists: list[int]) -> TiedRanks:
    rows = [
        {"user_index": user, "item_index": item, "score": -float(number), "rank": number + 1}
        for user, items in enumerate(lists)
        for number, item in enumerate(items)
    ]
    schema = {"user_index": pl.UInt32, "item_index": pl.UInt32, "score": pl.Float32, "rank": pl.UInt16}
    return rank_positives(pl.DataFrame(rows, schema=schema), POSITIVES, 3, 3)


# Ours: the list of user 0 starts with two hits; that of user 1 has no hit; that of user 2 has a hit at rank 2.
RANKS = {"ours": rank([0, 4, 1], [2, 3, 0], [0, 3, 1]), "rival": rank([1, 0, 4], [1, 0, 2], [2, 3, 0])}
EVALUATION = EvaluationConfig(n_values=(2,), n=2, metric="mrr", bootstrap_samples=100, segments=CONFIG)


def measure(*segments: Segment) -> pl.DataFrame:
    table = compute_segments(segments, RANKS, "ours", EVALUATION, 0)
    return check(SegmentTable, table, "segments", "fix the test")


def test_only_positives_of_the_segment_count() -> None:
    table = measure(Segment("items", "late", np.array([False, True, True, False, True])))
    rows = {(row["model"], row["metric"]): row for row in table.iter_rows(named=True)}
    assert {(row["users"], row["positives"], row["n"], row["enough"]) for row in rows.values()} == {(3, 3, 2, True)}
    # Item 4 of user 0 has rank 2 in ours and is below n = 2 in the rival's list; the item of user 1 has rank 1, in the
    # rival's list only; that of user 2 has rank 2 in both.
    assert rows["ours", "mrr"]["mean"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)
    assert rows["rival", "mrr"]["mean"] == pytest.approx((0 + 1 + 1 / 2) / 3)
    assert rows["rival", "mrr"]["difference"] == pytest.approx(-1 / 6)
    assert rows["ours", "mrr"]["p_value"] is None
    assert rows["ours", "recall"]["mean"] == pytest.approx(2 / 3)


@pytest.mark.parametrize(("min_users", "enough"), [(2, True), (3, True), (4, False)])
def test_a_segment_of_exactly_min_users_is_enough(min_users: int, enough: bool) -> None:
    segments = EVALUATION.segments.model_copy(update={"min_users": min_users})
    config = EVALUATION.model_copy(update={"segments": segments})
    # One positive of each of the three users.
    table = compute_segments(
        [Segment("items", "late", np.array([1, 0, 1, 1, 0], dtype=bool))], RANKS, "ours", config, 0
    )
    assert set(table["users"]) == {3}
    assert set(table["enough"]) == {enough}


def test_a_segment_of_all_positives_has_the_overall_metric() -> None:
    table = measure(Segment("all", "all", np.ones(5, dtype=bool)))
    overall = METRICS["mrr"](RANKS["ours"].find_hits(), RANKS["ours"].count_positives(), 2)
    row = table.row(by_predicate=(pl.col("model") == "ours") & (pl.col("metric") == "mrr"), named=True)
    assert row["mean"] == pytest.approx(overall.mean())


def test_too_few_users_are_marked() -> None:
    few = Segment("tags", "[b]猫", np.array([True, True, False, False, False]))
    table = measure(few, Segment("items", "all", np.ones(5, dtype=bool)))
    assert table.filter(pl.col("segment") == "[b]猫")["enough"].any() is False
    assert table.filter(pl.col("segment") == "all")["enough"].all()
