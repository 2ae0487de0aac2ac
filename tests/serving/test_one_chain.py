"""What is measured is what is served: one user's list from a measurement, the nightly batch and the served model."""

import shutil
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import mlflow
import polars as pl
import pytest
from miniature import CUTOFF, RUN_DATE, Trained, change, read_lists

from recsys.artifacts.snapshots import Snapshot
from recsys.dataset.histories import build_histories
from recsys.dataset.known_events import KnownEvents
from recsys.dataset.windows import Window, cut
from recsys.errors import DataError
from recsys.evaluation.comparison import OURS, WITHOUT_RULES
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, CHAMPION, need_version, open_bundle
from recsys.serving.batch_recommender import BatchRecommender
from recsys.serving.block_lists import BlockLists
from recsys.serving.bundle import Bundle
from recsys.serving.history_recommender import recommend_for
from recsys.serving.list_maker import ListMaker
from recsys.training.measurement import Measured, measure

COLUMNS = ["user_id", "rank", "item_id", "score"]
RULES = {"max_per_value": {"category": 3}, "min_new_share": 0.2, "diversity": 0.3}


@pytest.fixture(scope="module")
def window(snapshot: Snapshot) -> Window:
    """The week after the bundle's cutoff."""
    history, end = cut(snapshot.interactions, CUTOFF), CUTOFF + timedelta(days=7)
    later = cut(snapshot.interactions, end).filter(pl.col("time") >= CUTOFF, pl.col("positive"))
    pairs = later.select("user_id", "item_id").unique().sort("user_id", "item_id")
    return Window("test", CUTOFF, end, KnownEvents(history), pairs.with_columns(pl.lit(["click"]).alias("events")))


@pytest.fixture(scope="module")
def ruled(bundle: Bundle, snapshot: Snapshot) -> Bundle:
    """The bundle with rules and block lists: an item that many lists begin with, and a pair for each user."""
    plain = replace(bundle, config=change(bundle.config, generation={"rules": RULES}))
    lists = serve(plain, snapshot)
    everyone = lists.filter(pl.col("rank") == 1)["item_id"].mode().sort()[0]
    pairs = lists.filter(pl.col("item_id") != everyone, pl.col("rank") == 2).select("user_id", "item_id")
    return replace(plain, block_lists=BlockLists(pl.DataFrame({"item_id": [everyone]}), pairs))


def serve(bundle: Bundle, snapshot: Snapshot) -> pl.DataFrame:
    """Return tonight's lists for everybody."""
    items = bundle.block_lists.withhold(snapshot.items)
    histories = build_histories(cut(snapshot.interactions, CUTOFF), items, CUTOFF)
    recommender = bundle.prepare(items, histories)
    night = BatchRecommender(
        bundle.config,
        bundle,
        recommender,
        "1",
        bundle.count_evidence(recommender, histories),
        histories.ages_until,
        blocked=bundle.block_lists.pairs,
    )
    return night.recommend(histories)


def first_n(lists: pl.DataFrame, bundle: Bundle, users: pl.Series) -> pl.DataFrame:
    kept = lists.filter(pl.col("rank") <= bundle.config.generation.n, pl.col("user_id").is_in(users.implode()))
    return kept.select(*COLUMNS[:1], pl.col("rank").cast(pl.Int32), *COLUMNS[2:]).sort("user_id", "rank")


def histories_of(users: pl.Series, snapshot: Snapshot) -> pl.DataFrame:
    """Return everything that the snapshot holds of some users, as somebody would send it to the served model."""
    known = cut(snapshot.interactions, CUTOFF).filter(pl.col("user_id").is_in(users.implode()))
    return known.sort("user_id", "step").select("user_id", "item_id", "time", "event")


def test_one_user_three_ways(
    bundle: Bundle, snapshot: Snapshot, window: Window, trained: Trained, tmp_path: Path
) -> None:
    measured = measure(bundle, window, snapshot.items, baselines=False).lists
    users = measured["user_id"].unique().sort()
    expected = first_n(measured, bundle, users)
    assert expected.height == 10 * len(users) > 500
    published = read_lists(trained.home, RUN_DATE)
    assert first_n(published, bundle, users).equals(expected)
    store = connect(trained.home, trained.config)
    version = need_version(store, "recsys", CHAMPION, "")
    # By its folder: MLflow would look a model's name up in the store of its global address. And not where it is, as
    # MLflow takes a path for an address.
    with open_bundle(store, version, BUNDLE) as folder:
        shutil.copytree(folder.parents[1], tmp_path / "model")
    model = mlflow.pyfunc.load_model(str(tmp_path / "model"))
    served = pl.DataFrame(
        model.predict(histories_of(users, snapshot).with_columns(pl.col("time").dt.replace_time_zone(None)).to_pandas())
    )
    assert first_n(served.cast({"score": pl.Float32}), bundle, users).equals(expected)


def test_rules_and_block_lists_are_in_all_three(ruled: Bundle, snapshot: Snapshot, window: Window) -> None:
    measured = measure(ruled, window, snapshot.items, baselines=False).lists
    users = measured["user_id"].unique().sort()
    expected = first_n(measured, ruled, users)
    lists = serve(ruled, snapshot)
    assert first_n(lists, ruled, users).equals(expected)
    assert first_n(recommend_for(ruled, histories_of(users, snapshot)), ruled, users).equals(expected)
    assert expected.join(ruled.block_lists.items, on="item_id", how="semi").is_empty()
    assert expected.join(ruled.block_lists.pairs, on=["user_id", "item_id"], how="semi").is_empty()
    assert lists.filter(pl.col("variant") != "ranker").height < lists.height


def test_a_night_takes_the_share_of_new_items_that_the_training_measured(bundle: Bundle, snapshot: Snapshot) -> None:
    measured = replace(bundle, config=change(bundle.config, generation={"rules": {"min_new_share": 0.3}}))
    histories = build_histories(cut(snapshot.interactions, CUTOFF), snapshot.items, CUTOFF)
    recommender = measured.prepare(snapshot.items, histories)
    for given, used in (("auto", 0.3), (0.1, 0.1)):
        generation = change(bundle.config, generation={"rules": {"min_new_share": given}}).generation
        rules = ListMaker(recommender, measured.ranker, generation, histories.ages_until).rules
        assert rules.config.new_share == used


def test_a_bundle_keeps_its_block_lists(ruled: Bundle, tmp_path: Path) -> None:
    ruled.save(tmp_path)
    again = Bundle.load(tmp_path).block_lists
    assert again.items.equals(ruled.block_lists.items)
    # Pairs name users, whom no bundle holds; each night reads the pairs again.
    assert again.pairs.equals(ruled.block_lists.pairs.clear())


@pytest.fixture(scope="module")
def measured(bundle: Bundle, ruled: Bundle, snapshot: Snapshot, window: Window) -> tuple[Measured, Measured]:
    """Without rules and with them."""
    # The first ranks without rules are the positives, so that rules have something to take away.
    lists = measure(bundle, window, snapshot.items, baselines=False).lists
    wanted_pairs = lists.filter(pl.col("rank") <= 4).select("user_id", "item_id").sort("user_id", "item_id")
    wanted = replace(window, positives=wanted_pairs.with_columns(pl.lit(["click"]).alias("events")))
    return (
        measure(bundle, wanted, snapshot.items, baselines=True),
        measure(ruled, wanted, snapshot.items, baselines=True),
    )


class TestLostToARule:
    def test_is_an_outcome(self, measured: tuple[Measured, Measured]) -> None:
        before, after = (one.positives["outcome"].value_counts() for one in measured)
        lost = [dict(counts.iter_rows()).get("lost to a rule", 0) for counts in (before, after)]
        assert lost[0] == 0
        assert lost[1] > 0
        gone = measured[1].positives.filter(pl.col("outcome") == "lost to a rule")
        listed = measured[1].lists.filter(pl.col("rank") <= 10)
        assert gone.join(listed, on=["user_id", "item_id"], how="semi").is_empty()
        # By score alone all of them would be listed.
        assert measured[0].positives["outcome"].unique().to_list() == ["listed"]
        assert set(measured[1].positives["outcome"]) == {"listed", "lost to a rule"}

    def test_is_in_the_metrics(self, measured: tuple[Measured, Measured]) -> None:
        ndcg = (pl.col("metric") == "ndcg") & (pl.col("n") == 10)
        ours = [one.user_metrics.filter(ndcg, pl.col("model") == OURS)["value"].mean() for one in measured]
        assert ours[1] < ours[0]
        models = [set(one.user_metrics["model"]) for one in measured]
        assert WITHOUT_RULES in models[1] - models[0]


class TestHistoriesFromOutside:
    def test_without_times_and_events(self, bundle: Bundle, snapshot: Snapshot) -> None:
        users = cut(snapshot.interactions, CUTOFF)["user_id"].unique().sort().head(5)
        plain = recommend_for(bundle, histories_of(users, snapshot).select("user_id", "item_id"))
        assert plain.columns == COLUMNS
        assert plain.group_by("user_id").len()["len"].to_list() == [10] * 5

    def test_ids_are_cleaned_as_ingest_cleans_them(self, bundle: Bundle, snapshot: Snapshot) -> None:
        history = histories_of(cut(snapshot.interactions, CUTOFF)["user_id"].unique().sort().head(1), snapshot)
        padded = history.with_columns(pl.col("item_id") + " ", user_id=pl.lit(" ") + pl.col("user_id"))
        assert recommend_for(bundle, padded).equals(recommend_for(bundle, history))

    def test_a_stranger_gets_the_fallback(self, bundle: Bundle) -> None:
        history = pl.DataFrame({"user_id": ["somebody"], "item_id": ["no such item"]})
        lists = recommend_for(bundle, history)
        assert lists["rank"].to_list() == list(range(1, 11))

    @pytest.mark.parametrize(
        ("columns", "message"),
        [
            ({"user_id": ["u"]}, "history: no column item_id; found user_id"),
            ({"user_id": ["u"], "item_id": ["i"], "event": ["bought"]}, "unknown event kind 'bought'; expected one of"),
            ({"user_id": ["u"], "item_id": ["i"], "time": ["2025"]}, "column time is String, expected datetimes"),
            ({"user_id": ["u"], "item_id": ["i"], "time": [CUTOFF]}, "1 interaction is not before 2025-02-03"),
        ],
    )
    def test_bad_input(self, columns: dict[str, list[Any]], message: str, bundle: Bundle) -> None:
        with pytest.raises(DataError, match=message):
            recommend_for(bundle, pl.DataFrame(columns))
