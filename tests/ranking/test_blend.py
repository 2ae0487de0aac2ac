import numpy as np
import polars as pl
import pytest

from recsys.ranking.blend import Blend
from recsys.ranking.groups import Groups

SOURCES = ("als", "text", "popular")


def make_rows(groups: int = 80, size: int = 12, informative: tuple[str, ...] = ("text",), seed: int = 0):
    """Two positives a group; z-scores of informative sources are high there, those of others are noise."""
    rng = np.random.default_rng(seed)
    label = np.zeros((groups, size), dtype=np.uint8)
    for row in label:
        row[rng.choice(size, 2, replace=False)] = 1
    count = groups * size
    columns = {
        "window": np.zeros(count, dtype=np.uint8),
        "user_index": np.repeat(np.arange(groups, dtype=np.uint32), size),
        "item_index": np.tile(np.arange(size, dtype=np.uint32), groups),
        "label": label.ravel(),
    }
    for source in SOURCES:
        signal = 1.5 * label.ravel() if source in informative else 0.0
        columns[f"{source}_z"] = (rng.normal(size=count) + signal).astype(np.float32)
    return pl.DataFrame(columns)


def test_score_is_the_weighted_sum():
    features = pl.DataFrame({"user_index": [0, 0], "als_z": [1.0, -1.0], "text_z": [0.5, 2.0]})
    scores = Blend({"als": 0.25, "text": 0.75}).score_rows(features)
    assert scores.dtype == np.float32
    assert scores.tolist() == [0.625, 1.25]


def test_silence_of_a_source_counts_as_its_worst_for_that_user():
    features = pl.DataFrame(
        {
            "user_index": [0, 0, 0, 1, 1, 2],
            "als_z": [2.0, None, -1.5, None, -9.0, None],
            "text_z": [None, None, 1.0, 4.0, 5.0, 3.0],
        }
    )
    assert Blend({"als": 1.0, "text": 0.0}).score_rows(features).tolist() == [2.0, -1.5, -1.5, -9.0, -9.0, 0.0]
    assert Blend({"als": 0.0, "text": 1.0}).score_rows(features).tolist() == [1.0, 1.0, 1.0, 4.0, 5.0, 3.0]


def test_worst_is_of_the_same_window():
    features = pl.DataFrame({"window": [0, 0, 1, 1], "user_index": [0] * 4, "als_z": [-1.0, None, -2.0, None]})
    assert Blend({"als": 1.0}).score_rows(features).tolist() == [-1.0, -1.0, -2.0, -2.0]


def test_no_rows_no_scores():
    features = pl.DataFrame(schema={"user_index": pl.UInt32, "als_z": pl.Float32, "text_z": pl.Float32})
    assert Blend({"als": 0.5, "text": 0.5}).score_rows(features).shape == (0,)


@pytest.mark.parametrize("source", SOURCES)
def test_tuning_picks_the_one_source_that_knows(source):
    weights = Blend.tune(make_rows(informative=(source,)), SOURCES, 5).weights
    assert list(weights) == list(SOURCES)
    assert weights[source] > 0.75


def test_tuning_joins_two_sources_that_both_know():
    rows = make_rows(informative=("als", "popular"))
    weights = Blend.tune(rows, SOURCES, 5).weights
    assert min(weights["als"], weights["popular"]) > 0.25
    assert min(weights.values()) >= 0.0
    assert sum(weights.values()) == pytest.approx(1.0, abs=1e-5)


def test_tuning_beats_each_source_and_their_plain_mean():
    rows = make_rows(informative=("als", "text"))
    groups, blend = Groups(rows), Blend.tune(rows, SOURCES, 5)
    assert blend.weights == Blend.tune(rows, SOURCES, 5).weights
    single = max(groups.measure(rows[f"{source}_z"].to_numpy(), 5).mean() for source in SOURCES)
    plain = groups.measure(Blend(dict.fromkeys(SOURCES, 1 / 3)).score_rows(rows), 5).mean()
    assert groups.measure(blend.score_rows(rows), 5).mean() > max(single, plain)


def test_small_steps_find_what_whole_ones_miss():
    # At equal weights text spoils the second user, at half weight the rival is level and comes first.
    rows = pl.DataFrame(
        {
            "window": [0] * 4,
            "user_index": [0, 0, 1, 1],
            "label": pl.Series([0, 1, 0, 1], dtype=pl.UInt8),
            "als_z": pl.Series([0.1, 0.0, 0.0, 1.0], dtype=pl.Float32),
            "text_z": pl.Series([-0.4, 0.4, 1.0, -1.0], dtype=pl.Float32),
        }
    )
    blend = Blend.tune(rows, ("als", "text"), 1)
    assert blend.weights == {"als": 0.8, "text": 0.2}
    assert Groups(rows).measure(blend.score_rows(rows), 1).tolist() == [1.0, 1.0]


def test_equal_sources_leave_the_weight_to_the_first():
    rows = make_rows().with_columns(als_z="text_z")
    weights = Blend.tune(rows, SOURCES, 5).weights
    assert weights["als"] > 0.75
    assert weights["text"] == 0.0


def test_one_source_has_all_the_weight():
    assert Blend.tune(make_rows(groups=3), ("als",), 5).weights == {"als": 1.0}


def test_a_source_that_says_nothing_at_all_does_no_harm():
    rows = make_rows().with_columns(als_z=pl.lit(None, dtype=pl.Float32))
    blend = Blend.tune(rows, ("als", "text"), 5)
    assert np.isfinite(blend.score_rows(rows)).all()
    assert blend.weights["text"] > 0


def test_description_names_the_weighty_first():
    assert Blend({"als": 0.38, "text": 0.62, "popular": 0.0}).describe() == "0.62 text, 0.38 als"


def test_groups_by_hand():
    # Group 0: places of its two positives 1 and 3; 1, a window later: its one positive is third; 2 has none.
    scores = np.array([3.0, 2.0, 1.0, 0.3, 0.2, 0.1, 5.0], dtype=np.float32)
    rows = pl.DataFrame({"window": [0, 0, 0, 1, 1, 1, 1], "user_index": [4, 4, 4, 4, 4, 4, 5]}).with_columns(
        label=pl.Series([1, 0, 1, 0, 0, 1, 0], dtype=pl.UInt8)
    )
    first = (1 + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    assert Groups(rows).measure(scores, 3) == pytest.approx([first, 0.5, 0])
    assert Groups(rows).measure(scores, 2) == pytest.approx([1 / (1 + 1 / np.log2(3)), 0, 0])
    assert Groups(rows).measure(scores, 1) == pytest.approx([1, 0, 0])
    # Positives that are not among the rows count as misses.
    two, three = 1 + 1 / np.log2(3), 1.5 + 1 / np.log2(3)
    assert Groups(rows).totals.tolist() == [2, 1, 0]
    assert Groups(rows).measure(scores, 3, np.array([3, 2, 2])) == pytest.approx([1.5 / three, 0.5 / two, 0])
    # Equal scores stand in row order.
    assert Groups(rows).measure(np.zeros(7, dtype=np.float32), 1) == pytest.approx([1, 0, 0])
