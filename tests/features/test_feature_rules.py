"""What holds for every feature: its column is there, nothing known is missing, as of the instant, the same bytes."""

from datetime import timedelta

import numpy as np
import polars as pl
import pytest
from described import describe, gather_facts, make_candidates, random_candidates, random_units
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import at, checkerboard, make_interactions, make_items

from recsys.config import SOURCES
from recsys.dataset.histories import build_histories
from recsys.dataset.windows import cut
from recsys.features.features import declare_features

# --- shape and missing values ----------------------------------------------------------------------------


@pytest.mark.parametrize("sources", [(source,) for source in SOURCES] + [SOURCES])
def test_columns_are_those_declared_in_float32(sources):
    items, interactions = checkerboard(users=6, items=8)
    histories = build_histories(interactions, items, at(61))
    features = describe(random_candidates(histories, sources), histories, items)
    declared = list(declare_features(sources, ["colour"]))
    assert features.columns == ["user_index", "item_index", *declared]
    assert len(set(declared)) == len(declared)
    assert set(features.dtypes[2:]) == {pl.Float32}
    values = features.select(declared).to_numpy()
    assert features.select(pl.col(declared).is_nan().any()).sum_horizontal().item() == 0
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
    alone = {"user_items", "n_sources", "best_rank", "mean_reciprocal_rank", "had_count"}
    declared = declare_features([], ["colour"])
    unknown = [name for name in declared if name not in alone and not name.startswith("item_")]
    unknown += [name for name in declared if name.startswith("item_to_item")]
    assert features.select(pl.col(unknown).null_count()).row(0) == (features.height,) * len(unknown)
    assert features.select(pl.col("user_items", "had_count", "item_users").sum()).row(0) == (0.0, 0.0, 0.0)


def test_data_without_times_has_no_ages():
    items = make_items({"item_id": "a", "created": 3}, "b")
    histories = build_histories(make_interactions(("u", "a"), ("u", "a"), ("v", "b")), items, None)
    features = describe(make_candidates({"als": [(1.0, 1), (2.0, 1)]}, [(0, 0), (1, 0)]), histories, items)
    timed = ["item_age_days", "item_days_since_last", "user_days_since_last", "user_gap_days", "user_item_age"]
    for name in (*timed, "age_fit", "had_days", "had_interval_days"):
        assert features[name].to_list() == [None, None], name
    assert features["had_count"].to_list() == [2.0, 0.0]
    assert features["had_steps"].to_list() == [0.0, None]


def test_steps_back_count_the_newer_items_where_no_clock_is_common():
    items = make_items("a", "b", "c", "d")
    rows = make_interactions(*(("u", item) for item in "abcac"))
    histories = build_histories(rows, items, None)
    candidates = make_candidates({"als": [(1.0, 1)] * 4}, [(0, item) for item in range(4)])
    # The last events on a, b and c are the fourth, the second and the fifth.
    assert describe(candidates, histories, items)["had_steps"].to_list() == [1.0, 2.0, 0.0, None]


def test_data_without_an_order_has_no_newest_items():
    items, interactions = checkerboard(users=6, items=12)
    shapeless = interactions.with_columns(
        step=pl.lit(0, dtype=pl.UInt32), time=pl.lit(None, dtype=interactions.schema["time"])
    )
    histories = build_histories(shapeless, items, None)
    features = describe(random_candidates(histories), histories, items)
    ordered = [name for name in features.columns if name.endswith("_last") or "recent_m" in name]
    ordered += ["item_to_item_recent", "transitions_recent", "item_days_since_last", "user_days_since_last"]
    assert set(ordered) == {name for name in features.columns if "last" in name or "recent" in name} - {
        "item_recent",
        "item_recent_share",
    }
    assert features.select(pl.col(set(ordered)).null_count()).row(0) == (features.height,) * len(set(ordered))
    assert features["had_steps"].null_count() == features.height
    whole = ["text_max", "als_mean", "item_to_item_count", "match_tags", "script_share"]
    assert features.select(pl.col(whole).null_count()).row(0) == (0,) * len(whole)
    assert features["text_decayed_mean"].equals(features["text_mean"], check_names=False)


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
    items, interactions = checkerboard(users=20, items=240)
    items = items.with_columns(year=pl.int_range(pl.len()).cast(pl.String))
    histories = build_histories(interactions, items, at(61))
    facts = gather_facts(histories, items, random_units(240, 384), factors=random_units(240, 64))
    # The first user has one candidate, the next two, and so on: a shard's widest user differs from the whole's.
    candidates = random_candidates(histories).filter(pl.int_range(pl.len()).over("user_index") <= pl.col("user_index"))
    whole = describe(candidates, histories, items, facts)
    parts = []
    for start in range(0, 20, size):
        inside = candidates.filter(pl.col("user_index").is_between(start, start + size - 1))
        own = inside.with_columns((pl.col("user_index") - start).cast(pl.UInt32))
        part = describe(own, histories.select(slice(start, start + size)), items, facts)
        parts.append(part.with_columns((pl.col("user_index") + start).cast(pl.UInt32)))
    assert pl.concat(parts).equals(whole)


@pytest.mark.parametrize("size", [1, 7])
def test_more_users_than_one_block_holds(monkeypatch, size):
    items, interactions = checkerboard(users=20, items=30)
    histories = build_histories(interactions, items, at(61))
    whole = describe(random_candidates(histories), histories, items)
    monkeypatch.setattr("recsys.candidates.merge.BLOCK", size)
    assert describe(random_candidates(histories), histories, items).equals(whole)
