"""Every reason of a small night, judged by the benchmark that knows nothing but raw events and texts."""

from pathlib import Path

import polars as pl
import pytest
from benchmarks import reason_truth as truth
from miniature import CUTOFF, RUN_DATE, Trained, read_lists

from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.histories import Histories, stream_histories
from recsys.dataset.ingestion.meaning import order_kinds
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.bundle import Bundle
from recsys.serving.shard_task import ShardTask, save_inputs


@pytest.fixture(scope="module")
def users(trained: Trained, snapshot: Snapshot) -> Histories:
    kinds = order_kinds(trained.config.dataset.interactions)
    return stream_histories(snapshot.interactions.lazy(), snapshot.items, CUTOFF, kinds)


@pytest.fixture(scope="module")
def night(trained: Trained, bundle: Bundle, snapshot: Snapshot, users: Histories) -> BatchRecommender:
    recommender = bundle.prepare(snapshot.items, users)
    evidence = bundle.count_evidence(recommender, users)
    return BatchRecommender(trained.config, bundle, recommender, "1", evidence, users.ages_until)


@pytest.fixture(scope="module")
def facts(trained: Trained, snapshot: Snapshot) -> truth.Facts:
    weights = trained.config.dataset.interactions.event_weights
    events = snapshot.interactions.filter(pl.col("time") < CUTOFF)
    return truth.Facts(snapshot.items, events, weights, CUTOFF)


def test_published_reasons_are_true_and_various(trained: Trained, facts: truth.Facts) -> None:
    judged = truth.judge(facts, read_lists(trained.home, RUN_DATE))
    table = truth.summarise(judged)
    assert judged["true"].mean() >= 0.99, table
    assert table.height >= 10
    assert table["share"].max() <= 0.25, table
    sentences, titles = truth.find_repeats(judged)
    assert (sentences, titles) <= (3, 2)
    assert titles <= 2


def test_reasons_in_chinese_say_the_same(night: BatchRecommender, users: Histories, facts: truth.Facts) -> None:
    english = truth.judge(facts, night.recommend(users))
    generation = night.config.generation.model_copy(update={"reason_language": "zh"})
    config = night.config.model_copy(update={"generation": generation})
    other = BatchRecommender(config, night.bundle, night.recommender, "1", night.evidence, users.ages_until)
    chinese = truth.judge(facts, other.recommend(users))
    assert chinese["reason"].str.contains(r"\p{Han}").all()
    assert chinese["sentence"].to_list() == english["sentence"].to_list()
    assert chinese["true"].to_list() == english["true"].to_list()


def test_the_judge_finds_what_is_untrue(trained: Trained, facts: truth.Facts) -> None:
    lists = read_lists(trained.home, RUN_DATE)
    # Each user's reasons at other items of the same list: nearly all state something that does not hold there.
    moved = lists.with_columns(pl.col("reason").reverse().over("user_id"))
    assert truth.judge(facts, moved)["true"].mean() < 0.5
    # One person more than there were, and another verb.
    counted = lists.filter(pl.col("reason").str.contains(r"^\d+ people"))
    more = counted.with_columns(reason=pl.lit("1") + pl.col("reason"))
    assert counted.height
    assert not truth.judge(facts, more)["true"].any()
    viewed = lists.filter(pl.col("reason").str.ends_with("which you viewed"))
    bought = viewed.with_columns(pl.col("reason").str.replace("viewed$", "bought"))
    assert viewed.height
    assert not truth.judge(facts, bought)["true"].any()


def test_blocks_shards_and_processes_say_the_same(
    night: BatchRecommender, users: Histories, trained: Trained, tmp_path: Path
) -> None:
    lists = night.recommend(users)
    assert lists["reason"].to_list() == read_lists(trained.home, RUN_DATE)["reason"].to_list()
    parts = [night.recommend(users.select(slice(start, start + 41))) for start in range(0, users.n_users, 41)]
    assert pl.concat(parts).equals(lists)
    save_inputs(tmp_path / "inputs", night, users)
    (tmp_path / "shards").mkdir()
    ShardTask(tmp_path / "inputs", tmp_path / "shards", users.n_users, RUN_DATE)(0)
    assert pl.read_parquet(tmp_path / "shards" / "*.parquet")["reason"].to_list() == lists["reason"].to_list()


def test_a_bundle_without_nearness_measures_it(bundle: Bundle, tmp_path: Path) -> None:
    bundle.save(tmp_path)
    stored = Bundle.load(tmp_path)
    assert stored.stored_nearness == bundle.nearness
    file = tmp_path / "bundle.json"
    old = file.read_text().replace('"nearness"', '"unknown"')
    file.write_text(old)
    assert Bundle.load(tmp_path).stored_nearness is None
    assert Bundle.load(tmp_path).nearness == bundle.nearness
