import re
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from fake_versions import open_log
from miniature import CUTOFF, LAST_DAY, RUN_DATE, Trained, copy_home, read_files

from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.dataset.windows import resolve_end, split_windows
from recsys.errors import ArtifactError, Refused, RegistryError
from recsys.pipelines.compare import read_logged_run
from recsys.pipelines.promote import judge, promote
from recsys.pipelines.rollback import rollback
from recsys.pipelines.train import train
from recsys.registry.gate.decision import Check, Decision
from recsys.registry.promotion_log import Entry
from recsys.registry.promotion_log.log_run import name_experiment
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHALLENGER, CHAMPION, Version, find_version, need_version, set_champion
from recsys.serving.bundle import Bundle
from recsys.storage.files import write_json
from recsys.storage.folders import MANIFEST, hash_files, read_manifest
from recsys.storage.home import promotion_log_file
from recsys.storage.locks import lock
from recsys.tables import Rejected, empty
from recsys.training.measurement import measure

NAME = "recsys"


@pytest.fixture(scope="module")
def home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Three versions: 1 is champion, 2 was trained on the same once more, 3 a week later."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("promotion") / "home")
    train(trained.config, home, RUN_DATE)
    train(trained.config, home, LAST_DAY)
    yield home
    rmtree(home)


@pytest.fixture
def store(home: Path, trained: Trained) -> Iterator[Store]:
    """The store, put back after each test to where 1 is champion and 3 challenger."""
    store = connect(home, trained.config)
    copy = promotion_log_file(home).read_bytes()
    with closing(sqlite3.connect(home / "mlflow.db")) as live, closing(sqlite3.connect(":memory:")) as before:
        live.backup(before)
        yield store
        before.backup(live)
    promotion_log_file(home).write_bytes(copy)


def challenge(store: Store, number: str) -> None:
    store.client.set_registered_model_alias(NAME, CHALLENGER, number)


def champion(store: Store) -> str | None:
    found = find_version(store, NAME, CHAMPION)
    return found.number if found else None


def champion_of(trained: Trained) -> Version:
    return need_version(connect(trained.home, trained.config), NAME, CHAMPION, "")


def read_entries(home: Path) -> tuple[Entry, ...]:
    return open_log(home).entries


def start_again(home: Path, store: Store) -> None:
    """Forget every promotion: no alias, and no log in store and home."""
    store.client.delete_registered_model_alias(NAME, CHAMPION)
    store.client.set_registered_model_alias(NAME, CHALLENGER, "1")
    experiment = store.client.get_experiment_by_name(name_experiment(NAME))
    store.client.rename_experiment(experiment.experiment_id, "an older log")
    promotion_log_file(home).unlink()


def without_times(decision: Decision | None) -> list[Check]:
    """The checks without those that a busy machine changes."""
    assert decision
    return [check for check in decision.checks if check.name not in ("seconds", "bytes")]


def make_worse(home: Path, store: Store) -> None:
    """Remove every hit from the challenger's lists."""
    folder = run_folder(home, store)
    ours = pl.col("model") == "ours"
    metrics = pl.read_parquet(folder / "user_metrics.parquet", glob=False)
    metrics = metrics.with_columns(pl.when(ours).then(0.0).otherwise("value").alias("value"))
    metrics.write_parquet(folder / "user_metrics.parquet")
    write_json(folder / MANIFEST, {**read_manifest(folder, ""), "files": hash_files(folder)})


def run_folder(home: Path, store: Store) -> Path:
    """What the challenger's training logged."""
    return home / "mlartifacts" / need_version(store, NAME, CHALLENGER, "").run_id / "artifacts" / "run"


def test_a_first_champion_is_held_against_every_baseline(trained: Trained) -> None:
    (entry,) = read_entries(trained.home)
    assert (entry.action, entry.to_version, entry.from_version, entry.anchor) == ("promote", "1", None, "1")
    assert entry.snapshot == champion_of(trained).tags["snapshot"]
    models = read_logged_run(connect(trained.home, trained.config), champion_of(trained)).user_metrics["model"]
    assert f"first champion, compared with {models.n_unique() - 1} baselines: " in entry.reason


def test_a_first_champion_without_a_hit_is_refused(trained_copy: Path, trained: Trained) -> None:
    store = connect(trained_copy, trained.config)
    start_again(trained_copy, store)
    make_worse(trained_copy, store)
    with pytest.raises(Refused, match=r"version 1: refused: worse: ndcg@10 0\.0000 on .*: no hit at all"):
        promote(trained.config, trained_copy)
    assert champion(store) is None
    assert [entry.action for entry in read_entries(trained_copy)] == ["refuse"]


class TestTheSameTrainingAgain:
    def test_makes_the_same_bytes(self, home: Path, store: Store, trained: Trained) -> None:
        (run,) = (path for path in (trained.home / "runs").iterdir() if path.is_dir())
        assert read_files(home / "runs" / run.name) == read_files(run)
        first, second = (store.client.get_model_version(NAME, number) for number in "12")
        assert dict(second.tags) == dict(first.tags)
        assert first.tags["bundle"]

    def test_is_no_reason_to_promote(self, home: Path, store: Store, trained: Trained) -> None:
        challenge(store, "2")
        with pytest.raises(Refused, match=r"cannot tell: .* of champion version 1 on .*ndcg@10 is the same for all"):
            promote(trained.config, home)
        assert champion(store) == "1"

    def test_is_promoted_and_rolled_back(self, home: Path, store: Store, trained: Trained) -> None:
        promoted = promote(trained.config, home)
        assert (promoted.version.number, champion(store)) == ("3", "3")
        assert "of champion version 1 on" in promoted.reason
        entries = read_entries(home)
        assert entries[-1] == promoted.entry
        assert (entries[-1].action, entries[-1].from_version, entries[-1].to_version) == ("promote", "1", "3")
        assert promote(trained.config, home).reason == "version 3 is already the champion"
        assert read_entries(home) == entries

        done = rollback(trained.config, home)
        assert (done.replaced, done.version) == ("3", "1")
        assert champion(store) == "1"
        assert read_entries(home)[-1].action == "rollback"
        before = read_entries(home)
        with pytest.raises(RegistryError, match="no champion before version 1"):
            rollback(trained.config, home)
        assert champion(store) == "1"
        assert read_entries(home) == before


class TestTheNextWeek:
    def test_both_are_measured_on_the_new_week(
        self, home: Path, store: Store, trained: Trained, bundle: Bundle, snapshot: Snapshot
    ) -> None:
        config = trained.config
        end = resolve_end(snapshot.interactions, LAST_DAY)
        window = split_windows(snapshot.interactions, config.windows, repeats=False, end=end, seed=config.seed).test
        assert window.cutoff == CUTOFF
        theirs = measure(bundle, window, snapshot.items, baselines=False).user_metrics
        ndcg = theirs.filter(pl.col("metric") == "ndcg", pl.col("n") == 10)

        promoted = promote(config, home)
        reason = promoted.reason
        assert promoted.version.number == "3"
        assert f"vs {ndcg['value'].mean():.4f} of champion version 1 on {ndcg.height} users" in reason

    def test_an_ingest_in_between_changes_no_verdict(
        self, home: Path, store: Store, trained: Trained, snapshot: Snapshot
    ) -> None:
        config = trained.config
        expected = judge(config, home).decision
        pointer = home / "snapshots/mini.current"
        before = pointer.read_text()
        tables = {
            "items": snapshot.items,
            "interactions": snapshot.interactions.filter(pl.col("time") < CUTOFF),
            "rejected": empty(Rejected),
        }
        write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))
        assert pointer.read_text() != before
        assert without_times(judge(config, home).decision) == without_times(expected)
        pointer.write_text(before)

    def test_a_refusal_changes_nothing(self, home: Path, store: Store, trained: Trained) -> None:
        before = read_entries(home)
        folder = run_folder(home, store)
        kept = {name: (folder / name).read_bytes() for name in ("user_metrics.parquet", MANIFEST)}
        make_worse(home, store)
        with pytest.raises(Refused, match=r"version 3: refused: worse: ndcg@10 0\.0000 on .*: no hit at all"):
            promote(trained.config, home)
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        assert champion(store) == "1"
        (entry,) = read_entries(home)[len(before) :]
        assert (entry.action, entry.from_version, entry.to_version) == ("refuse", "1", "3")

    def test_a_champion_that_saw_the_window_is_measured_by_its_evaluation_model(
        self, home: Path, store: Store, trained: Trained
    ) -> None:
        # Version 2 equals version 1, but with other test pairs; version 1 has learned from their window.
        challenge(store, "2")
        store.client.set_model_version_tag(NAME, "2", "test_pairs", "other")
        # The evaluation model of version 1 stopped where the window starts, so it equals that of version 2.
        with pytest.raises(Refused, match=r"of the evaluation model of champion version 1 on .* is the same for all"):
            promote(trained.config, home)
        store.client.set_model_version_tag(
            NAME, "2", "test_pairs", need_version(store, NAME, CHAMPION, "").tags["test_pairs"]
        )

    def test_a_champion_whose_evaluation_model_saw_the_window_cannot_be_compared(
        self, home: Path, store: Store, trained: Trained
    ) -> None:
        set_champion(store, NAME, "3")
        challenge(store, "2")
        with pytest.raises(Refused, match=r"starts at 2025-01-27.*both bundles of champion version 3 were trained"):
            promote(trained.config, home)
        assert champion(store) == "3"

    def test_without_a_common_clock_each_has_its_own_pairs(self, home: Path, store: Store, trained: Trained) -> None:
        challenge(store, "2")
        kept = need_version(store, NAME, CHALLENGER, "").tags
        store.client.set_model_version_tag(NAME, "2", "test_start", "")
        with pytest.raises(Refused, match=r"of champion version 1 \(each on its own hold-out pairs\) on"):
            promote(trained.config, home)
        store.client.set_model_version_tag(NAME, "2", "test_start", kept["test_start"])


def test_only_one_process_changes_the_champion(home: Path, store: Store, trained: Trained) -> None:
    challenge(store, "2")
    before = read_entries(home)
    for change_champion in (promote, rollback):
        with lock(home, "promotion"), pytest.raises(ArtifactError, match=f"promotion in {re.escape(str(home))}: "):
            change_champion(trained.config, home)
    assert champion(store) == "1"
    assert read_entries(home) == before


def test_a_table_of_the_run_is_what_the_gate_reads(home: Path, store: Store) -> None:
    version = need_version(store, NAME, CHAMPION, "")
    assert set(read_logged_run(store, version).user_metrics["model"]) >= {"ours", "popular"}
