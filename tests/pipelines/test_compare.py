"""Comparing two versions: the numbers are those of the trainings, and every positive is accounted for."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from miniature import LAST_DAY, RUN_DATE, Trained, change, copy_home

from recsys.artifacts.runs import Run
from recsys.config import Config
from recsys.config.overrides import apply_settings
from recsys.errors import DataError, Refused, RegistryError
from recsys.evaluation.candidate_ledger import OUTCOMES
from recsys.pipelines.compare import Comparison, compare_versions, read_logged_run
from recsys.pipelines.train import train
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHALLENGER, CHAMPION, find_version, set_champion
from recsys.tables import SegmentTable, check

NAME = "recsys"
LEFT = {"als": 10, "popular": 10}
N = 10


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three versions: 1 is champion, 2 was trained on the same data with two sources only, 3 likewise a week later."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("comparing") / "home")
    poorer = apply_settings(trained.config, {"candidates.depths": LEFT})
    train(poorer, home, RUN_DATE)
    train(poorer, home, LAST_DAY)
    yield home
    rmtree(home)


@pytest.fixture
def store(home: Path, trained: Trained) -> Iterator[Store]:
    """The store; after each test 1 is champion and 2 challenger again."""
    store = connect(home, trained.config)
    store.client.set_registered_model_alias(NAME, CHALLENGER, "2")
    yield store
    set_champion(store, NAME, "1")


@pytest.fixture(scope="module")
def why(home: Path, trained: Trained) -> Comparison:
    """Version 2 against version 1."""
    connect(home, trained.config).client.set_registered_model_alias(NAME, CHALLENGER, "2")
    return compare_versions(trained.config, home)


def read_run_of(store: Store, alias: str) -> Run:
    version = find_version(store, NAME, alias)
    assert version is not None
    return read_logged_run(store, version)


class TestTheSameWindow:
    def test_only_what_differs_is_listed(self, why: Comparison, trained: Trained) -> None:
        before = trained.config.candidates.depths
        assert why.settings.columns == ["setting", "challenger", "champion"]
        assert sorted(why.settings.rows()) == sorted(
            (f"candidates.depths.{source}", str(LEFT.get(source, "")), str(depth)) for source, depth in before.items()
        )

    def test_means_are_those_of_the_trainings(self, why: Comparison, store: Store) -> None:
        runs = {alias: read_run_of(store, alias) for alias in (CHALLENGER, CHAMPION)}
        for alias, run in runs.items():
            theirs = run.metrics.filter(pl.col("model") == "ours").select("metric", "n", "users", "mean", "low", "high")
            mine = why.metrics.filter(pl.col("model") == alias).select("metric", "n", "users", "mean", "low", "high")
            assert mine.equals(theirs)
        both = why.metrics.pivot("model", index=["metric", "n"], values="mean")
        differences = why.metrics.filter(pl.col("model") == CHAMPION)["difference"]
        assert (both["challenger"] - both["champion"]).to_list() == pytest.approx(differences.to_list())

    def test_every_positive_has_an_outcome_in_both(self, why: Comparison, store: Store) -> None:
        table = why.outcomes.select(OUTCOMES).to_numpy()
        mine, theirs = (dict(read_run_of(store, alias).measured["positives"]) for alias in (CHALLENGER, CHAMPION))
        assert why.outcomes[why.outcomes.columns[0]].to_list() == list(OUTCOMES)
        assert table.sum(axis=1).tolist() == [mine[outcome] for outcome in OUTCOMES]
        assert table.sum(axis=0).tolist() == [theirs[outcome] for outcome in OUTCOMES]

    def test_lost_positives_are_those_that_only_the_second_listed(self, why: Comparison, store: Store) -> None:
        listed = why.outcomes["listed"].to_list()
        assert why.lost.height == sum(listed) - listed[-1] > 0
        assert "listed" not in why.lost["outcome"]
        assert (why.lost["champion_rank"] <= N).all()
        assert (why.lost["rank"].fill_null(N + 1) > N).all()
        champion = read_run_of(store, CHAMPION).positives
        expected = why.lost.join(champion, on=["user_id", "item_id"], maintain_order="left", suffix="_there")
        assert expected["sources_there"].to_list() == why.lost["champion_sources"].to_list()
        assert why.lost["champion_sources"].list.len().min() > 0

    def test_segments_are_cut_from_the_same_positives(self, why: Comparison, store: Store) -> None:
        mine, theirs = (read_run_of(store, alias).positives for alias in (CHALLENGER, CHAMPION))
        rows = why.segments.filter(pl.col("metric") == "recall", pl.col("segment") == "warm")
        for positives, alias in ((mine, CHALLENGER), (theirs, CHAMPION)):
            warm = positives.filter(pl.col("segments").list.contains("items: warm"))
            by_user = warm.group_by("user_id").agg((pl.col("outcome") == "listed").mean().alias("recall"))
            row = rows.row(by_predicate=pl.col("model") == alias, named=True)
            assert (row["users"], row["positives"]) == (by_user.height, warm.height)
            assert row["mean"] == pytest.approx(by_user["recall"].mean())

    def test_segments_are_in_the_order_of_the_training(self, why: Comparison, store: Store) -> None:
        cut = ["dimension", "segment"]
        told = read_run_of(store, CHALLENGER).segments.select(cut).unique(maintain_order=True)
        assert why.segments.select(cut).unique(maintain_order=True).equals(told)
        check(SegmentTable, why.segments, "segments", "")

    def test_the_sentences(self, why: Comparison) -> None:
        verdict, settings, lists, lost, segments = why.describe()
        assert verdict.startswith("challenger version 2 is behind champion version 1: ndcg@10 0.")
        assert "candidates.depths.als 10 against 50" in settings
        assert "candidates.depths.text not set against 50" in settings
        assert lists.endswith(f"{why.lost.height} only in champion")
        assert f"of {why.outcomes.select(OUTCOMES).to_numpy().sum()} positives" in lists
        assert "not proposed (" in lost
        assert "sources of champion: " in lost
        assert segments.startswith("challenger is ahead of champion in ")


class TestAnotherWindow:
    def test_the_champion_makes_lists_for_it(self, home: Path, store: Store, trained: Trained) -> None:
        store.client.set_registered_model_alias(NAME, CHALLENGER, "3")
        found = compare_versions(trained.config, home)
        assert found.names == ("challenger version 3", "champion version 1")
        run = read_run_of(store, CHALLENGER)
        assert found.outcomes.select(OUTCOMES).to_numpy().sum(axis=1).tolist() == [
            n for _, n in run.measured["positives"]
        ]
        ours = run.metrics.filter(pl.col("model") == "ours", pl.col("metric") == "ndcg", pl.col("n") == N)
        mine = found.metrics.filter(pl.col("model") == CHALLENGER, pl.col("metric") == "ndcg", pl.col("n") == N)
        assert mine["mean"].to_list() == ours["mean"].to_list()
        assert found.lost["champion_rank"].max() <= N

    @pytest.mark.parametrize("tag", ["test_pairs", "rules"])
    def test_a_champion_that_was_measured_otherwise_is_measured_by_its_evaluation_model(
        self, tag: str, home: Path, store: Store, trained: Trained, why: Comparison
    ) -> None:
        kept = store.client.get_model_version(NAME, "2").tags[tag]
        store.client.set_model_version_tag(NAME, "2", tag, "other")
        found = compare_versions(trained.config, home)
        store.client.set_model_version_tag(NAME, "2", tag, kept)
        assert found.names[1] == "the evaluation model of champion version 1"
        # The evaluation model was measured at training; measured again it gives the same values.
        assert found.outcomes.equals(why.outcomes)
        in_order = pl.col("champion_sources").list.sort()
        assert found.lost.with_columns(in_order).equals(why.lost.with_columns(in_order))
        assert found.metrics.equals(why.metrics)

    def test_a_second_version_that_saw_the_window_is_refused(self, home: Path, store: Store, trained: Trained) -> None:
        set_champion(store, NAME, "3")
        with pytest.raises(
            Refused, match=r"version 2 against champion version 3: the test window starts at 2025-01-27"
        ):
            compare_versions(trained.config, home)

    def test_other_aliases_are_used_in_the_tables(self, home: Path, store: Store, trained: Trained) -> None:
        store.client.set_registered_model_alias(NAME, "tried", "3")
        store.client.set_registered_model_alias(NAME, "older", "2")
        found = compare_versions(trained.config, home, "tried", "older")
        assert found.names == ("tried version 3", "older version 2")
        # The same config file, but each training chose its auto settings on its own last week.
        assert all(path.endswith(("history_decay", "half_life_days")) for path in found.settings["setting"])
        assert "older_sources" in found.lost.columns


class TestWithoutAClock:
    @pytest.fixture
    def clockless(self, store: Store) -> Iterator[None]:
        kept = store.client.get_model_version(NAME, "2").tags["test_start"]
        store.client.set_model_version_tag(NAME, "2", "test_start", "")
        yield
        store.client.set_model_version_tag(NAME, "2", "test_start", kept)

    def test_each_has_its_own_pairs(
        self, home: Path, clockless: None, trained: Trained, why: Comparison, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = compare_versions(trained.config, home)
        assert found.names[1] == "champion version 1 (each on its own hold-out pairs)"
        assert found.outcomes.equals(why.outcomes)

    def test_no_pair_in_common_leaves_the_means(
        self, home: Path, store: Store, trained: Trained, clockless: None
    ) -> None:
        set_champion(store, NAME, "3")
        found = compare_versions(trained.config, home)
        assert found.metrics.height > 0
        shared = found.outcomes.select(OUTCOMES).to_numpy().sum()
        # Pairs of another week: none is shared, because a consumed item is not a positive again.
        assert shared == 0
        assert found.segments.is_empty()
        assert found.lost.is_empty()
        assert "of 0 positives: 0 in both lists, 0 only in challenger, 0 only in champion" in found.describe()
        assert found.describe()[-1] == "no segment has enough users for a comparison"


class TestNothingToCompare:
    def test_one_version_with_both_aliases(self, trained: Trained) -> None:
        found = compare_versions(trained.config, trained.home)
        (sentence,) = found.describe()
        assert sentence.startswith("challenger version 1 is also the champion, so there is nothing to compare")
        assert found.same
        assert found.settings.is_empty()
        assert found.lost.is_empty()
        assert found.metrics["difference"].drop_nulls().unique().to_list() == [0.0]

    def test_an_unknown_alias(self, trained: Trained) -> None:
        with pytest.raises(RegistryError, match="no version has the alias 'shadow'"):
            compare_versions(trained.config, trained.home, "shadow")

    def test_a_metric_that_was_not_measured(self, home: Path, store: Store, trained: Trained) -> None:
        config = change(trained.config, evaluation={"n": 7, "n_values": [7]})
        with pytest.raises(DataError, match="challenger against champion: no user has ndcg@7 with both"):
            compare_versions(config, home)


def test_only_shared_list_lengths_are_compared(home: Path, store: Store, trained: Trained) -> None:
    """The champion is measured with the current evaluation section, the challenger with that of its training."""
    store.client.set_registered_model_alias(NAME, CHALLENGER, "3")
    config: Config = change(trained.config, evaluation={"n_values": [10, 15]})
    found = compare_versions(config, home)
    assert found.metrics["n"].unique().to_list() == [10]
