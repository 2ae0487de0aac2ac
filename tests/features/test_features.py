from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from worlds import at, checkerboard, make_interactions, make_items

from recsys.candidates.statistics import ItemStatistics
from recsys.config import SOURCES
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import cut
from recsys.features.features import OTHER_FEATURES, SOURCE_FEATURES, make_features, name_features

HALF_LIFE = 10.0
LOG = np.log1p


def make_candidates(sources: dict[str, list[tuple[float | None, int | None]]], pairs: list[tuple[int, int]]):
    """`Candidates` of (user, item) number pairs; each source gives (score, rank) per pair."""
    columns = {
        "user_index": pl.Series([user for user, _ in pairs], dtype=pl.UInt32),
        "item_index": pl.Series([item for _, item in pairs], dtype=pl.UInt32),
    }
    for source, values in sources.items():
        columns[f"{source}_score"] = pl.Series([score for score, _ in values], dtype=pl.Float32)
        columns[f"{source}_rank"] = pl.Series([rank for _, rank in values], dtype=pl.UInt16)
    return pl.DataFrame(columns)


def describe(
    candidates: pl.DataFrame,
    histories: Histories,
    items: pl.DataFrame,
    embeddings: NDArray[np.float32] | None = None,
    statistics: ItemStatistics | None = None,
) -> pl.DataFrame:
    if embeddings is None:
        embeddings = random_units(len(items))
    if statistics is None:
        statistics = ItemStatistics.count(histories, HALF_LIFE)
    sources = [name.removesuffix("_score") for name in candidates.columns if name.endswith("_score")]
    return make_features(candidates, histories, items, statistics, embeddings, sources)


def random_units(count: int, size: int = 24) -> NDArray[np.float32]:
    vectors = np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def random_candidates(histories: Histories, sources: tuple[str, ...] = ("als", "text"), seed: int = 0) -> pl.DataFrame:
    """About half of all pairs, some scores missing; a user's rows depend on the user alone."""
    rng = np.random.default_rng(seed)
    chosen = rng.random((histories.n_users, histories.n_items)) < 0.5
    pairs = [(int(user), int(item)) for user, item in np.argwhere(chosen)]
    values = {
        source: [
            (float(score), 1 + int(9 * score)) if score > 0.2 else (None, None) for score in rng.random(len(pairs))
        ]
        for source in sources
    }
    return make_candidates(values, pairs)


# --- a small world by hand -------------------------------------------------------------------------------
#
# Seen from day 20. ann: a on day 2 and on day 10, then b on day 16. bob: b on day 18. cyd: c, which is not there.


@pytest.fixture(scope="module")
def table() -> dict[str, list[float | None]]:
    items = make_items(
        {"item_id": "a", "title": "abc", "description": "12345", "created": 0},
        {"item_id": "b", "title": "长夜 🎬", "description": ""},
        {"item_id": "d", "title": "d", "description": "d", "created": 19.5},
        {"item_id": "e", "title": "", "description": ""},
    )
    interactions = make_interactions(
        ("ann", "a", 2), ("ann", "a", 10), ("ann", "b", 16), ("bob", "b", 18), ("cyd", "c", 19)
    )
    histories = build_histories(interactions, items, at(20))
    embeddings = np.array([[1, 0], [0, 1], [0.6, 0.8], [-1, 0]], dtype=np.float32)
    candidates = make_candidates(
        {
            "als": [(1.0, 3), (3.0, 1), (2.0, None), (5.0, 1), (5.0, 2), (None, None)],
            "text": [(None, None), (0.5, 1), (None, None), (None, None), (None, None), (0.1, 1)],
        },
        [(0, 0), (0, 2), (0, 3), (1, 0), (1, 1), (2, 3)],
    )
    features = describe(candidates, histories, items, embeddings)
    assert features["user_index"].to_list() == [0, 0, 0, 1, 1, 2]
    assert features["item_index"].to_list() == [0, 2, 3, 0, 1, 3]
    return features.to_dict(as_series=False)


# Half-life 10 days: ann's touch of a is 10 days old, of b 4; bob's of b 2. So a: 0.5; b: 0.7579 + 0.8706.
RECENT_B = 0.5**0.4 + 0.5**0.2
POPULARITY = {"ann": (LOG(1) + LOG(2)) / 2, "bob": LOG(2)}
BY_HAND: dict[str, list[float | None]] = {
    "als_rank": [3, 1, None, 1, 2, None],
    "als_z": [-1, 1, 0, 0, 0, None],
    "als_gap": [2, 0, 1, 0, 0, None],
    "text_rank": [None, 1, None, None, None, 1],
    "text_z": [None, 0, None, None, None, 0],
    "text_gap": [None, 0, None, None, None, 0],
    "n_sources": [1, 2, 0, 1, 1, 1],
    "item_users": [LOG(1), 0, 0, LOG(1), LOG(2), 0],
    "item_recent": [LOG(0.5), 0, 0, LOG(0.5), LOG(RECENT_B), 0],
    "item_trend": [LOG(0.5) - LOG(1), 0, 0, LOG(0.5) - LOG(1), LOG(RECENT_B) - LOG(2), 0],
    # a and d say when they came; b was first touched by ann 4 days ago; nobody knows about e.
    "item_age_days": [20, 0.5, None, 20, 4, None],
    "item_text_length": [8, 2, 0, 8, 4, 0],
    "user_items": [LOG(2), LOG(2), LOG(2), LOG(1), LOG(1), 0],
    "user_days_since_last": [4, 4, 4, 2, 2, None],
    "user_popularity": [POPULARITY["ann"]] * 3 + [POPULARITY["bob"]] * 2 + [None],
    "popularity_fit": [
        LOG(1) - POPULARITY["ann"],
        -POPULARITY["ann"],
        -POPULARITY["ann"],
        LOG(1) - POPULARITY["bob"],
        0,
        None,
    ],
    # ann's newest is b (0, 1), before it a (1, 0); bob has b only.
    "text_last": [0, 0.8, 0, 0, 1, None],
    "text_recent_max": [1, 0.8, 0, 0, 1, None],
    "text_recent_mean": [0.5, 0.7, -0.5, 0, 1, None],
    "had_count": [2, 0, 0, 0, 1, 0],
    "had_days": [10, None, None, None, 2, None],
    "had_interval_days": [8, None, None, None, None, None],
}


def test_every_feature_is_worked_by_hand():
    assert list(BY_HAND) == name_features(["als", "text"])


@pytest.mark.parametrize("feature", BY_HAND)
def test_feature_by_hand(table, feature):
    expected = [None if value is None else pytest.approx(value, abs=1e-5) for value in BY_HAND[feature]]
    assert table[feature] == expected


def test_recent_means_the_five_newest():
    """Six items: the oldest, which alone looks like the candidate, is beyond reach."""
    items = make_items(*"abcdefz")
    interactions = make_interactions(*(("u", item, day) for day, item in enumerate("abcdef")))
    histories = build_histories(interactions, items, at(10))
    embeddings = np.eye(7, dtype=np.float32)
    embeddings[6] = embeddings[0]
    features = describe(make_candidates({"als": [(1.0, 1)]}, [(0, 6)]), histories, items, embeddings)
    assert features["text_recent_max"].to_list() == features["text_recent_mean"].to_list() == [0.0]


# --- shape and missing values ----------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [(source,) for source in SOURCES] + [SOURCES])
def test_columns_are_those_declared_in_float32(sources):
    items, interactions = checkerboard(users=6, items=8)
    histories = build_histories(interactions, items, at(61))
    features = describe(random_candidates(histories, sources), histories, items)
    assert features.columns == ["user_index", "item_index", *name_features(sources)]
    assert set(features.dtypes[2:]) == {pl.Float32}
    assert len(name_features(sources)) == len(SOURCE_FEATURES) * len(sources) + len(OTHER_FEATURES)
    values = features.select(name_features(sources)).to_numpy()
    assert features.select(pl.all().is_nan().any()).select(name_features(sources)).sum_horizontal().item() == 0
    assert not np.isinf(values).any()


def test_no_candidates_give_no_rows_but_all_columns():
    items, interactions = checkerboard(users=4, items=8)
    histories = build_histories(interactions, items, at(61))
    candidates = random_candidates(histories)
    assert describe(candidates.clear(), histories, items).schema == describe(candidates, histories, items).schema
    assert describe(candidates.clear(), histories, items).is_empty()


def test_nobody_has_a_history():
    items, interactions = checkerboard(users=4, items=8)
    histories = build_histories(interactions, items, at(61)).take(pl.Series("user_id", ["x", "y"]))
    features = describe(random_candidates(histories), histories, items)
    unknown = ["user_days_since_last", "user_popularity", "popularity_fit", "text_last", "text_recent_max"]
    unknown += ["text_recent_mean", "had_days", "had_interval_days"]
    assert features.select(pl.col(unknown).null_count()).row(0) == (features.height,) * len(unknown)
    assert features.select(pl.col("user_items", "had_count", "item_users").sum()).row(0) == (0.0, 0.0, 0.0)


def test_data_without_times_has_no_ages():
    items = make_items({"item_id": "a", "created": 3}, "b")
    histories = build_histories(make_interactions(("u", "a"), ("u", "a"), ("v", "b")), items, None)
    features = describe(make_candidates({"als": [(1.0, 1), (2.0, 1)]}, [(0, 0), (1, 0)]), histories, items)
    for name in ("item_age_days", "user_days_since_last", "had_days", "had_interval_days"):
        assert features[name].to_list() == [None, None], name
    assert features["had_count"].to_list() == [2.0, 0.0]


@settings(max_examples=60, deadline=None)
@given(st.floats(-1e6, 1e6, width=32), st.integers(1, 400))
def test_equal_scores_are_neither_above_nor_below_the_others(score, count):
    items = make_items(*(f"i{number:03d}" for number in range(count)))
    histories = build_histories(make_interactions(("u", "i000", 1)), items, at(2))
    candidates = make_candidates({"als": [(score, 1)] * count}, [(0, number) for number in range(count)])
    features = describe(candidates, histories, items)
    assert features["als_z"].to_list() == features["als_gap"].to_list() == [0.0] * count


def test_scores_of_other_users_do_not_count():
    items, interactions = checkerboard(users=6, items=8)
    histories = build_histories(interactions, items, at(61))
    candidates = random_candidates(histories)
    other = candidates.with_columns(
        als_score=pl.when(pl.col("user_index") == 2).then("als_score").otherwise(pl.col("als_score") * 7)
    )
    before, after = (
        describe(frame, histories, items).filter(pl.col("user_index") == 2) for frame in (candidates, other)
    )
    assert before.equals(after)


# --- the as-of rule --------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(day=st.floats(5, 60), kind=st.sampled_from(["dropped", "moved", "swapped", "more"]), seed=st.integers(0, 3))
def test_what_happens_after_the_cutoff_reaches_no_feature(day, kind, seed):
    items, interactions = checkerboard(users=12, items=12, seed=seed)
    instant = at(day)
    late = pl.col("time") >= instant
    changed = {
        "dropped": interactions.filter(~late),
        "moved": interactions.with_columns(
            time=pl.when(late).then(pl.col("time") + timedelta(days=9)).otherwise("time")
        ),
        "swapped": interactions.with_columns(item_id=pl.when(late).then(pl.lit("i000")).otherwise("item_id")),
        "more": pl.concat([interactions, interactions.with_columns(time=pl.lit(instant + timedelta(seconds=1)))]),
    }[kind]
    tables = []
    for events in (interactions, changed):
        histories = build_histories(cut(events, instant), items, instant)
        tables.append(describe(random_candidates(histories), histories, items))
    assert tables[0].equals(tables[1])


@pytest.mark.parametrize("size", [1, 2, 7])
def test_slices_of_users_get_the_same_bytes(size):
    """Shards must not change a list, so not even the last bit of a feature may differ."""
    items, interactions = checkerboard(users=20, items=90)
    histories = build_histories(interactions, items, at(61))
    statistics, embeddings = ItemStatistics.count(histories, HALF_LIFE), random_units(90, 384)
    # The first user has one candidate, the next two, and so on: a shard's widest user differs from the whole's.
    candidates = random_candidates(histories).filter(pl.int_range(pl.len()).over("user_index") <= pl.col("user_index"))
    whole = describe(candidates, histories, items, embeddings, statistics)
    parts = []
    for start in range(0, 20, size):
        inside = candidates.filter(pl.col("user_index").is_between(start, start + size - 1))
        own = inside.with_columns((pl.col("user_index") - start).cast(pl.UInt32))
        part = describe(own, histories.select(slice(start, start + size)), items, embeddings, statistics)
        parts.append(part.with_columns((pl.col("user_index") + start).cast(pl.UInt32)))
    assert pl.concat(parts).equals(whole)


def test_more_users_than_one_run_holds(monkeypatch):
    items, interactions = checkerboard(users=20, items=30)
    histories = build_histories(interactions, items, at(61))
    whole = describe(random_candidates(histories), histories, items)
    monkeypatch.setattr("recsys.features.features._USERS_AT_ONCE", 3)
    assert describe(random_candidates(histories), histories, items).equals(whole)
