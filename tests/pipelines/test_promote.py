import re
from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree

import polars as pl
import pytest
from miniature import CUTOFF, LAST_DAY, RUN_DATE, Trained, copy_home, read_files

from recsys.artifacts.snapshots import Snapshot, write_snapshot
from recsys.dataset.windows import resolve_end, split_windows
from recsys.errors import ArtifactError, Refused, RegistryError
from recsys.pipelines.compare import read_logged_run
from recsys.pipelines.promote import promote, rollback
from recsys.pipelines.train import train
from recsys.registry.promotion_log import read_entries
from recsys.registry.tracking import Store, connect
from recsys.registry.versions import CHALLENGER, CHAMPION, Version, find_version, need_version, set_champion
from recsys.serving.bundle import Bundle
from recsys.storage.files import write_json
from recsys.storage.folders import MANIFEST, hash_files, read_manifest
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
    log = (home / "ledger.jsonl").read_bytes()
    yield store
    (home / "ledger.jsonl").write_bytes(log)
    set_champion(store, NAME, "1")
    store.client.set_registered_model_alias(NAME, CHALLENGER, "3")


def challenge(store: Store, number: str) -> None:
    store.client.set_registered_model_alias(NAME, CHALLENGER, number)


def champion(store: Store) -> str | None:
    found = find_version(store, NAME, CHAMPION)
    return found.number if found else None


def champion_of(trained: Trained) -> Version:
    return need_version(connect(trained.home, trained.config), NAME, CHAMPION, "")


def make_worse(home: Path, store: Store) -> None:
    """Remove every hit from the challenger's lists."""
    folder = run_folder(home, store)
    ours = pl.col("model") == "ours"
    metrics = pl.read_parquet(folder / "user_metrics.parquet")
    metrics = metrics.with_columns(pl.when(ours).then(0.0).otherwise("value").alias("value"))
    metrics.write_parquet(folder / "user_metrics.parquet")
    write_json(folder / MANIFEST, {**read_manifest(folder, ""), "files": hash_files(folder)})


def run_folder(home: Path, store: Store) -> Path:
    """What the challenger's training logged."""
    return home / "mlartifacts" / need_version(store, NAME, CHALLENGER, "").run_id / "artifacts" / "run"


def test_a_first_champion_is_held_against_every_baseline(trained: Trained) -> None:
    (entry,) = read_entries(trained.home, NAME)
    assert (entry["action"], entry["version"], entry["previous"]) == ("promote", "1", None)
    models = read_logged_run(connect(trained.home, trained.config), champion_of(trained)).user_metrics["model"]
    assert f"first champion, held against {models.n_unique() - 1} baselines: " in entry["reason"]


def test_a_first_champion_without_a_hit_is_refused(trained_copy: Path, trained: Trained) -> None:
    store = connect(trained_copy, trained.config)
    store.client.delete_registered_model_alias(NAME, CHAMPION)
    make_worse(trained_copy, store)
    before = (trained_copy / "ledger.jsonl").read_bytes()
    with pytest.raises(Refused, match=r"version 1: refused: worse: ndcg@10 0\.0000 on .*: no hit at all"):
        promote(trained.config, trained_copy)
    assert champion(store) is None
    assert (trained_copy / "ledger.jsonl").read_bytes() == before


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
        version, reason = promote(trained.config, home)
        assert (version.number, champion(store)) == ("3", "3")
        assert "of champion version 1 on" in reason
        assert read_entries(home, NAME)[-1] == {
            "action": "promote",
            "model": NAME,
            "version": "3",
            "previous": "1",
            "reason": reason,
        }
        entries = read_entries(home, NAME)
        assert promote(trained.config, home)[1] == "version 3 is already the champion"
        assert read_entries(home, NAME) == entries

        assert rollback(trained.config, home) == ("3", "1")
        assert champion(store) == "1"
        assert read_entries(home, NAME)[-1]["action"] == "rollback"
        before = (home / "ledger.jsonl").read_bytes()
        with pytest.raises(RegistryError, match="no champion of 'recsys' before version 1"):
            rollback(trained.config, home)
        assert champion(store) == "1"
        assert (home / "ledger.jsonl").read_bytes() == before


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

        version, reason = promote(config, home)
        assert version.number == "3"
        assert f"against {ndcg['value'].mean():.4f} of champion version 1 on {ndcg.height} users" in reason
        assert rollback(config, home) == ("3", "1")

    def test_an_ingest_in_between_changes_no_verdict(
        self, home: Path, store: Store, trained: Trained, snapshot: Snapshot
    ) -> None:
        config = trained.config
        expected = promote(config, home)[1]
        set_champion(store, NAME, "1")
        pointer = home / "snapshots/mini.current"
        before = pointer.read_text()
        tables = {
            "items": snapshot.items,
            "interactions": snapshot.interactions.filter(pl.col("time") < CUTOFF),
            "rejected": empty(Rejected),
        }
        write_snapshot(home, config.name, tables, config.dataset.model_dump(mode="json"))
        assert pointer.read_text() != before
        assert promote(config, home)[1] == expected
        pointer.write_text(before)

    def test_a_refusal_changes_nothing(self, home: Path, store: Store, trained: Trained) -> None:
        before = (home / "ledger.jsonl").read_bytes()
        folder = run_folder(home, store)
        kept = {name: (folder / name).read_bytes() for name in ("user_metrics.parquet", MANIFEST)}
        make_worse(home, store)
        with pytest.raises(Refused, match=r"version 3: refused: worse: ndcg@10 0\.0000 on .*: no hit at all"):
            promote(trained.config, home)
        for name, content in kept.items():
            (folder / name).write_bytes(content)
        assert champion(store) == "1"
        assert (home / "ledger.jsonl").read_bytes() == before

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
        before = (home / "ledger.jsonl").read_bytes()
        with pytest.raises(Refused, match=r"starts at 2025-01-27.*both bundles of champion version 3 learned"):
            promote(trained.config, home)
        assert champion(store) == "3"
        assert (home / "ledger.jsonl").read_bytes() == before
        set_champion(store, NAME, "1")

    def test_without_a_common_clock_each_has_its_own_pairs(self, home: Path, store: Store, trained: Trained) -> None:
        challenge(store, "2")
        kept = need_version(store, NAME, CHALLENGER, "").tags
        store.client.set_model_version_tag(NAME, "2", "test_start", "")
        with pytest.raises(Refused, match=r"of champion version 1 \(each on its own held-out pairs\) on"):
            promote(trained.config, home)
        store.client.set_model_version_tag(NAME, "2", "test_start", kept["test_start"])


def test_only_one_process_changes_the_champion(home: Path, store: Store, trained: Trained) -> None:
    challenge(store, "2")
    before = (home / "ledger.jsonl").read_bytes()
    for change_champion in (promote, rollback):
        with lock(home, "promotion"), pytest.raises(ArtifactError, match=f"promotion in {re.escape(str(home))}: "):
            change_champion(trained.config, home)
    assert champion(store) == "1"
    assert (home / "ledger.jsonl").read_bytes() == before


class TestRollback:
    def test_without_any_champion(self, home: Path, store: Store, trained: Trained) -> None:
        store.client.delete_registered_model_alias(NAME, CHAMPION)
        with pytest.raises(RegistryError, match="no version has the alias 'champion'; no version was ever promoted"):
            rollback(trained.config, home)

    def test_to_a_version_that_was_deleted(self, trained_copy: Path, trained: Trained) -> None:
        store = connect(trained_copy, trained.config)
        source = store.client.get_model_version(NAME, "1")
        made = store.client.create_model_version(NAME, source.source, source.run_id)
        store.client.set_model_version_tag(NAME, made.version, "complete", "true")
        with (trained_copy / "ledger.jsonl").open("a") as file:
            file.write(f'{{"action": "promote", "model": "recsys", "version": "{made.version}", "previous": "1"}}\n')
        set_champion(store, NAME, str(made.version))
        store.client.delete_model_version(NAME, "1")
        before = (trained_copy / "ledger.jsonl").read_bytes()
        with pytest.raises(RegistryError, match="version 1 does not exist any more"):
            rollback(trained.config, trained_copy)
        assert champion(store) == str(made.version)
        assert (trained_copy / "ledger.jsonl").read_bytes() == before


def test_a_table_of_the_run_is_what_the_gate_reads(home: Path, store: Store) -> None:
    version = need_version(store, NAME, CHAMPION, "")
    assert set(read_logged_run(store, version).user_metrics["model"]) >= {"ours", "popular"}
