import numpy as np
import polars as pl
import pytest
from worlds import at, make_interactions, make_items

from recsys.candidates.statistics import ItemStatistics, SegmentStatistics, count_statistics, decay_by_age
from recsys.config import CandidatesConfig
from recsys.dataset.histories import build_histories
from recsys.errors import DataError

ITEMS = make_items("a", "b", "c")
ROWS = make_interactions(("u", "a", 0), ("u", "a", 8), ("u", "b", 9), ("v", "a", 6), ("w", "b", 2))
SMALL = build_histories(ROWS, ITEMS, at(10))


def test_statistics_by_hand():
    statistics = ItemStatistics.count(SMALL, half_life_days=2.0)
    assert statistics.users.tolist() == [2, 2, 0]
    # u's last touch of a was 2 days ago, v's 4; u's of b 1 day ago, w's 8.
    assert statistics.recent == pytest.approx([0.5 + 0.25, 0.5**0.5 + 1 / 16, 0])
    assert statistics.first_age == pytest.approx([10, 8, np.nan], nan_ok=True)
    assert {one.dtype for one in statistics.to_arrays().values()} == {np.dtype(np.float32)}


@pytest.mark.parametrize("half_life", [None, 2.0])
def test_statistics_without_times_count_every_touch_fully(half_life):
    timeless = build_histories(make_interactions(("u", "a"), ("v", "a"), ("v", "b")), ITEMS, None)
    statistics = ItemStatistics.count(timeless, half_life)
    assert statistics.recent.tolist() == statistics.users.tolist() == [2, 1, 0]
    assert np.isnan(statistics.first_age).all()


def test_statistics_of_nobody():
    statistics = ItemStatistics.count(SMALL.select(slice(0, 0)), 2.0)
    assert statistics.users.tolist() == statistics.recent.tolist() == [0, 0, 0]
    assert np.isnan(statistics.first_age).all()


def test_decay_halves():
    ages = np.array([0, 2, 4, np.nan], dtype=np.float32)
    assert decay_by_age(ages, 2.0).tolist() == [1, 0.5, 0.25, 1]
    assert decay_by_age(ages, None).tolist() == [1, 1, 1, 1]
    assert decay_by_age(ages, 2.0).dtype == decay_by_age(ages, None).dtype == np.float32


# --- segments ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        # u has a and b, v a, w b.
        (["x", "y", None], [0, 0, 1]),
        (["y", "x", "w"], [1, 2, 1]),
        (["y", "y", "x"], [1, 1, 1]),
        (["", None, "x"], [-1, -1, -1]),
        ([None, "猫", "é"], [1, -1, 1]),
        # A text is as many values as ingest joined.
        (["x, y", "y", None], [1, 0, 1]),
        ([["x", "y"], ["y"], []], [1, 0, 1]),
        # A tag given twice counts once.
        ([["y", "y", ""], ["x", None], None], [0, 1, 0]),
        ([None, None, None], [-1, -1, -1]),
    ],
)
def test_a_user_belongs_to_the_most_frequent_value_and_the_smallest_of_a_tie(values, expected):
    dtype = pl.List(pl.String) if any(isinstance(value, list) for value in values) else pl.String
    segments = SegmentStatistics.count(SMALL, None, pl.Series(values, dtype=dtype))
    assert segments.assign(SMALL).tolist() == expected


def test_old_and_new_items_count_the_same_for_the_segment():
    rows = make_interactions(("u", "a", 0), ("u", "b", 1), *(("u", "c", day) for day in range(2, 9)))
    histories = build_histories(rows, ITEMS, at(10))
    assert SegmentStatistics.count(histories, 1.0, pl.Series(["y", "y", "x"])).assign(histories).tolist() == [1]


def test_weights_of_segments_by_hand():
    segments = SegmentStatistics.count(SMALL, 2.0, pl.Series(["y", "x", "w"]))
    # x (the second): u by a tie, and w; y: v.
    expected = [[0, 0, 0], [0.5, 0.5**0.5 + 1 / 16, 0], [0.25, 0, 0]]
    assert segments.weights.toarray() == pytest.approx(np.array(expected))
    assert segments.weights.dtype == segments.members.dtype == np.float32
    assert segments.members.toarray().tolist() == [[0, 0, 1], [0, 1, 0], [1, 0, 0]]


def test_segments_together_hold_what_everybody_takes():
    statistics = ItemStatistics.count(SMALL, 2.0, pl.Series([["x"], ["x", "y"], ["y"]]))
    assert statistics.segments.weights.sum(axis=0) == pytest.approx(statistics.recent)


def test_users_come_and_go_but_the_segments_stay():
    segments = SegmentStatistics.count(SMALL, None, pl.Series(["y", "x", "w"]))
    shard = SMALL.take(pl.Series(["nobody", "v"]))
    assert segments.assign(shard).tolist() == [-1, 2]
    assert segments.assign(shard.select(slice(0, 0))).tolist() == []


def test_segments_of_nobody():
    segments = SegmentStatistics.count(SMALL.select(slice(0, 0)), None, pl.Series(["y", "x", "w"]))
    assert (segments.weights.shape, segments.weights.nnz) == ((3, 3), 0)


@pytest.mark.parametrize("values", [None, pl.Series(["y", "x", None]), pl.Series([None] * 3, dtype=pl.String)])
def test_through_arrays_and_back(values):
    statistics = ItemStatistics.count(SMALL, 2.0, values)
    again = ItemStatistics.from_arrays({**statistics.to_arrays(), "embeddings": np.zeros((3, 2))})
    assert (again.segments is None) == (values is None)
    one, two = ({name: array.tobytes() for name, array in part.to_arrays().items()} for part in (statistics, again))
    assert one == two
    if values is not None:
        assert again.segments.assign(SMALL).tolist() == statistics.segments.assign(SMALL).tolist()
        assert again.segments.weights.shape == statistics.segments.weights.shape


def test_segments_are_counted_where_the_source_is_on():
    off = CandidatesConfig(segment_column="genre")
    on = CandidatesConfig(segment_column="tags", depths={"segment_popular": 5})
    assert count_statistics(SMALL, ITEMS, off).segments is None
    assert count_statistics(SMALL, ITEMS, on).segments is not None
    with pytest.raises(
        DataError, match=r"no column 'genre', which is set as candidates\.segment_column; found 'item_id'"
    ):
        count_statistics(SMALL, ITEMS, off.model_copy(update={"depths": {"segment_popular": 5}}))
