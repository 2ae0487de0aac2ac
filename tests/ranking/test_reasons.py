import numpy as np
import pytest
from worlds import at, make_interactions, make_items

from recsys.config import SOURCES
from recsys.dataset.histories import build_histories
from recsys.features.features import declare_features
from recsys.ranking.reasons import find_nearest, group_features


@pytest.mark.parametrize(
    ("feature", "group"),
    [
        ("als_rank", "als"),
        ("als_recent_max", "als"),
        ("popular_all_time_z", "popular_all_time"),
        ("popular_gap", "popular"),
        ("item_users", "popular"),
        ("item_to_item_count", "item_to_item"),
        ("transitions_z", "transitions"),
        ("text_max", "text"),
        ("age_fit", "new_items"),
        ("had_days", "repeat"),
        ("match_tags", "match tags"),
        ("recent_match_author", "match author"),
        ("user_items", ""),
        ("blend", ""),
        ("n_sources", ""),
    ],
)
def test_what_a_feature_speaks_for(feature, group):
    assert group_features([feature], SOURCES) == [group]


def test_sources_that_do_not_propose_are_no_reason():
    features = list(declare_features(["als"], ["author"]))
    assert set(group_features(features, ["als"])) == {"als", "match tags", "match author", ""}


def test_the_nearest_item_that_the_user_has():
    items = make_items(*"abcd")
    texts = np.array([[1, 0], [0.8, 0.6], [0, 1], [-1, 0]], dtype=np.float32)
    histories = build_histories(make_interactions(("u", "b", 1), ("u", "c", 2), ("v", "d", 1)), items, at(5))
    users, wanted = np.array([0, 0, 0, 1]), np.array([0, 1, 3, 0], dtype=np.int32)
    # a is near b; b itself does not count, and c is nearest to it; d is near nothing; v has only what is far.
    assert find_nearest(users, wanted, histories, texts, 0.3).tolist() == [1, 2, -1, -1]
    assert find_nearest(users[:2], wanted[:2], histories, texts, 0.7).tolist() == [1, -1]


def test_items_that_the_user_only_looked_at_are_not_named():
    items = make_items(*"abc")
    texts = np.array([[1, 0], [0.9, np.sqrt(0.19)], [0.6, 0.8]], dtype=np.float32)
    seen = {"user": "u", "item": "b", "day": 1, "consumed": False}
    histories = build_histories(make_interactions(seen, ("u", "c", 2)), items, at(5))
    assert find_nearest(np.array([0]), np.array([0], dtype=np.int32), histories, texts, 0.3).tolist() == [2]
    only_seen = build_histories(make_interactions(seen), items, at(5))
    assert find_nearest(np.array([0]), np.array([0], dtype=np.int32), only_seen, texts, 0.3).tolist() == [-1]


@pytest.mark.parametrize("order", ["bcd", "dcb", "cdb"])
def test_of_several_near_items_the_nearest_is_named(order):
    items = make_items(*"abcd")
    cosines = np.array([1.0, 0.5, 0.9, 0.7])
    texts = np.column_stack([cosines, np.sqrt(1 - cosines**2)]).astype(np.float32)
    rows = [("u", item, day) for day, item in enumerate(order)]
    histories = build_histories(make_interactions(*rows), items, at(5))
    assert find_nearest(np.array([0]), np.array([0], dtype=np.int32), histories, texts, 0.3).tolist() == [2]
