"""What a night keeps for the monitor, of a real bundle."""

from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from miniature import CUTOFF

from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.histories import Histories, build_histories
from recsys.dataset.windows import cut
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.serving.night_sample import VECTOR_SCALE, NightSample, find_share, sample_vectors


@pytest.fixture(scope="module")
def users(snapshot: Snapshot) -> Histories:
    return build_histories(cut(snapshot.interactions, CUTOFF), snapshot.items, CUTOFF)


@pytest.fixture(scope="module")
def night(bundle: Bundle, snapshot: Snapshot, users: Histories) -> BatchRecommender:
    recommender = bundle.prepare(snapshot.items, users)
    evidence = bundle.count_evidence(recommender, users)
    return BatchRecommender(bundle.config, bundle, recommender, "1", evidence, users.ages_until, sample_share=1.0)


@pytest.fixture(scope="module")
def sample(night: BatchRecommender, users: Histories) -> NightSample:
    sample = night.recommend_and_sample(users)[1]
    assert sample is not None
    return sample


def test_lists_are_full_and_hold_nothing_consumed(
    sample: NightSample, night: BatchRecommender, users: Histories, snapshot: Snapshot
) -> None:
    sizes = sample.baselines.group_by("user_id", "baseline").len()
    assert sizes["len"].unique().to_list() == [night.config.generation.n]
    assert sizes.height == 2 * users.n_users
    consumed = cut(snapshot.interactions, CUTOFF).filter("consumed")
    assert sample.baselines.join(consumed, on=["user_id", "item_id"], how="semi").is_empty()


def test_popularity_is_the_order_of_the_popular_source(
    sample: NightSample, night: BatchRecommender, snapshot: Snapshot
) -> None:
    weights = pl.DataFrame(
        {"item_id": snapshot.items["item_id"], "weight": night.recommender.statistics.recent.astype(np.float64)}
    )
    lists = sample.baselines.filter(baseline="popularity").join(weights, on="item_id", maintain_order="left")
    assert lists.select((pl.col("weight").diff().over("user_id").fill_null(0.0) <= 0).all()).item()


def test_the_blend_alone_makes_the_blend_s_lists(
    sample: NightSample, night: BatchRecommender, bundle: Bundle, users: Histories
) -> None:
    blend_only = replace(bundle.ranker, choice=replace(bundle.ranker.choice, blend_share=None))
    served = replace(night, bundle=replace(bundle, ranker=blend_only)).recommend(users)
    expected = served.select("user_id", "rank", "item_id")
    found = sample.baselines.filter(baseline="blend").select("user_id", "rank", "item_id")
    # The fallback fills only lists of users with too few candidates.
    assert found.equals(expected.sort("user_id", "rank"))


def test_the_sample_is_the_same_however_users_are_split(
    sample: NightSample, night: BatchRecommender, users: Histories
) -> None:
    half = replace(night, sample_share=0.5)
    whole = half.recommend_and_sample(users)[1]
    cuts = [slice(0, 7), slice(7, 60), slice(60, users.n_users)]
    parts = NightSample.join([half.recommend_and_sample(users.select(part))[1] for part in cuts])
    assert whole is not None
    assert parts is not None
    assert parts.baselines.equals(whole.baselines)
    assert parts.features.equals(whole.features)
    drawn = whole.features.height
    assert 0.3 * users.n_users < drawn < 0.7 * users.n_users
    assert whole.baselines.join(sample.baselines, on=sample.baselines.columns, how="anti").is_empty()
    assert replace(night, sample_share=0.0).recommend_and_sample(users)[1] is None


def test_features_are_those_of_the_ranker(sample: NightSample, night: BatchRecommender, users: Histories) -> None:
    assert sample.features.columns == ["user_id", "item_id", *night.recommender.features]
    assert sample.features["user_id"].is_unique().all()
    described = night.recommender.describe_candidates(users)
    named = described.with_columns(
        users.user_ids.gather(described["user_index"]).alias("user_id"),
        users.item_ids.gather(described["item_index"]).alias("item_id"),
    )
    names = night.recommender.features
    same = sample.features.join(named, on=["user_id", "item_id"], suffix="_described")
    assert same.height == sample.features.height
    for name in names:
        assert same[name].equals(same[f"{name}_described"], check_names=False), name


def test_vectors_keep_their_directions(night: BatchRecommender) -> None:
    table = sample_vectors(night.recommender)
    assert table["item_id"].to_list() == night.recommender.items["item_id"].to_list()
    kept = np.array(table["vector"].to_list(), dtype=np.float64) / VECTOR_SCALE
    cosines = (kept * night.recommender.embeddings).sum(axis=1) / np.linalg.norm(kept, axis=1)
    assert cosines.min() > 0.9999


def test_shares() -> None:
    assert find_share(10) == 1
    assert find_share(0) == 1
    assert find_share(1_000_000) == 0.005
