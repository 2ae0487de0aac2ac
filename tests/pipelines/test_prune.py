"""Pruning deletes what nothing needs, nothing else, and leaves a home that works, whatever happens meanwhile."""

import os
import shutil
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from fake_versions import FakeGate, champion, decide
from faults import await_word, kill, start
from miniature import NOW, RUN_DATE, Trained, change, read_files, read_lists, settings
from simulated_home import SimulatedHome, measure

from recsys.artifacts.runs import read_run
from recsys.config import Config, parse_config
from recsys.errors import RegistryError
from recsys.pipelines.canary import start_canary
from recsys.pipelines.doctor import examine
from recsys.pipelines.generate import generate
from recsys.pipelines.history import read_history
from recsys.pipelines.monitor import monitor
from recsys.pipelines.promote import promote
from recsys.pipelines.prune import Pruned, prune
from recsys.pipelines.rollback import rollback
from recsys.registry.champion import compare_with_alias
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.pruned import PRUNED
from recsys.registry.tracking import connect
from recsys.registry.versions import BUNDLE, find_number, need_number, open_bundle, set_alias
from recsys.storage.files import replace_text
from recsys.storage.folders import verify_folder
from recsys.storage.home import current_snapshot_file
from recsys.storage.locks import lock

NAME = "recsys"
KEEP = {
    "versions": 1,
    "former_champions": 1,
    "runs": 2,
    "snapshots": 1,
    "snapshots_of_nights": 1,
    "replaced_lists": 1,
    "searches": 1,
    "unregistered_days": 5,
    "unfinished_days": 2,
    "cache_days": 3,
    "cache_megabytes": 1,
}


@pytest.fixture
def shop(new_home: Callable[[], Path]) -> SimulatedHome:
    config = parse_config({**settings(), "retention": KEEP, "generation": {"keep_run_dates": 3}}, "test")
    return SimulatedHome(config, new_home())


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> FakeGate:
    fake = FakeGate.install(monkeypatch)
    fake.decision = decide(new_anchor=False)
    return fake


def run_prune(shop: SimulatedHome, *, dry_run: bool = False) -> Pruned:
    return prune(shop.config, shop.home, shop.now, dry_run=dry_run)


def names(done: Pruned, kind: str) -> list[str]:
    return [item.name for item in done.items if item.kind == kind and not item.error]


def folders(shop: SimulatedHome, kind: str) -> set[str]:
    return {path.name for path in (shop.home / kind).iterdir() if path.is_dir()}


def tags(shop: SimulatedHome, number: str) -> dict[str, str]:
    version = find_number(connect(shop.home, shop.config), NAME, number)
    assert version is not None
    return version.tags


def train_and_promote(shop: SimulatedHome, count: int, config: Config | None = None) -> None:
    for _ in range(count):
        shop.train()
        promote(config or shop.config, shop.home)
        shop.day += 1


class TestVersions:
    def test_those_that_aliases_and_log_need_keep_their_files(self, shop: SimulatedHome, gate: FakeGate) -> None:
        train_and_promote(shop, 6)
        store = connect(shop.home, shop.config)
        set_alias(store, NAME, "audited", "2")
        before = measure(shop.home / "mlartifacts")
        expected = run_prune(shop, dry_run=True)
        assert measure(shop.home / "mlartifacts") == before
        done = run_prune(shop)
        # 1 is the anchor, 2 has an alias, 5 is the former champion and 6 the champion.
        assert names(done, "version") == names(expected, "version") == ["recsys version 3", "recsys version 4"]
        assert done.bytes == expected.bytes
        freed = sum(item.bytes for item in done.items if item.kind == "version")
        assert freed == before - measure(shop.home / "mlartifacts") > 4 * shop.encoder_bytes
        for number in "1256":
            version = need_number(store, NAME, number, "")
            with open_bundle(store, version, BUNDLE) as folder:
                verify_folder(folder, "")
        assert tags(shop, "3")[PRUNED] == shop.run_date
        # The run with its metrics stays, and the version's entry with its facts.
        assert store.client.get_run(need_run(shop, "3")).data.metrics["ndcg_at_10"] == 0.5
        assert tags(shop, "3")["snapshot"]
        assert not run_prune(shop).items

    def test_commands_that_need_a_pruned_version_say_when_and_what_is_kept(
        self, shop: SimulatedHome, gate: FakeGate
    ) -> None:
        train_and_promote(shop, 5)
        run_prune(shop)
        said = rf"version 3: its files were pruned on {shop.run_date}, .*; kept: 1, 4, 5; choose one of these"
        with pytest.raises(RegistryError, match=said):
            rollback(shop.config, shop.home, "3")
        with pytest.raises(RegistryError, match=said):
            start_canary(shop.config, shop.home, 0.5, "3")
        store = connect(shop.home, shop.config)
        set_alias(store, NAME, "challenger", "3")
        with pytest.raises(RegistryError, match=said):
            promote(shop.config, shop.home)
        # Nothing of it is in the log.
        log = PromotionLog.open(store, shop.home, NAME)
        assert [entry.action for entry in log.entries] == ["promote"] * 5
        assert rollback(shop.config, shop.home).version == "4"

    def test_a_canary_of_an_old_version_keeps_it(
        self, shop: SimulatedHome, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train_and_promote(shop, 4)
        monkeypatch.setattr("recsys.pipelines.canary.load_bundle", lambda *_: None)
        start_canary(shop.config, shop.home, 0.1, "2")
        assert not names(run_prune(shop), "version")

    def test_one_that_is_promoted_meanwhile_is_kept(
        self, shop: SimulatedHome, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train_and_promote(shop, 5)
        store = connect(shop.home, shop.config)
        from recsys.pipelines import prune as module

        mark = module.mark_pruned

        def interfere(*arguments: object, finished: bool) -> None:
            mark(*arguments, finished=finished)  # type: ignore[arg-type]
            if not finished:
                set_alias(store, NAME, "elsewhere", "2")

        monkeypatch.setattr(module, "mark_pruned", interfere)
        done = run_prune(shop)
        assert names(done, "version") == ["recsys version 3"]
        assert PRUNED not in tags(shop, "2")
        assert any("version 2: kept because it is needed now (alias 'elsewhere')" in line for line in done.left)

    def test_a_version_of_another_model_with_the_same_files_keeps_them(
        self, shop: SimulatedHome, gate: FakeGate
    ) -> None:
        train_and_promote(shop, 4)
        store = connect(shop.home, shop.config)
        store.client.create_registered_model("prod")
        source = store.client.get_model_version_download_uri(NAME, "2")
        store.client.create_model_version("prod", source, need_run(shop, "2"))
        done = run_prune(shop)
        assert not names(done, "version")
        assert "version 2: kept because version 1 of 'prod' has the same files" in done.left

    def test_files_that_recsys_did_not_register_are_kept(self, shop: SimulatedHome, gate: FakeGate) -> None:
        train_and_promote(shop, 1)
        store, mine = connect(shop.home, shop.config), shop.home.parent / "mine"
        (mine / "artifacts" / "bundle").mkdir(parents=True)
        (mine / "artifacts" / "bundle" / "thesis.txt").touch()
        store.client.create_model_version(NAME, mine.as_uri())
        store.client.set_model_version_tag(NAME, "2", "complete", "true")
        train_and_promote(shop, 3)
        done = run_prune(shop)
        assert names(done, "version") == ["recsys version 3"]
        assert "version 2: kept because its files were not written by recsys" in done.left
        assert (mine / "artifacts" / "bundle" / "thesis.txt").exists()
        assert PRUNED not in tags(shop, "2")

    def test_a_store_that_cannot_delete_is_said_and_the_version_stays_usable(
        self, shop: SimulatedHome, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train_and_promote(shop, 4)

        def refuse(*_: object) -> None:
            raise NotImplementedError("this store keeps everything")

        with monkeypatch.context() as patch:
            patch.setattr("mlflow.store.artifact.local_artifact_repo.LocalArtifactRepository.delete_artifacts", refuse)
            done = run_prune(shop)
        (failed,) = (item for item in done.items if item.kind == "version")
        assert failed.error == "cannot be deleted (this store keeps everything)"
        assert PRUNED not in tags(shop, "2")
        assert names(done, "run")
        assert names(run_prune(shop), "version") == ["recsys version 2"]

    def test_a_kill_between_two_files_leaves_a_version_that_is_known_as_pruned(
        self, shop: SimulatedHome, gate: FakeGate, tmp_path: Path
    ) -> None:
        train_and_promote(shop, 4)
        code = """
            import sys, time
            from datetime import UTC, datetime
            from pathlib import Path
            from recsys.config import load_config
            from mlflow.store.artifact.local_artifact_repo import LocalArtifactRepository
            from recsys.pipelines.prune import prune

            delete = LocalArtifactRepository.delete_artifacts
            def stop(repository, part=None):
                delete(repository, part)
                print("deleted", flush=True)
                time.sleep(60)
            LocalArtifactRepository.delete_artifacts = stop
            prune(load_config(sys.argv[1]), Path(sys.argv[2]), datetime.fromisoformat(sys.argv[3]))
        """
        import yaml

        path = tmp_path / "config.yaml"
        path.write_text(yaml.safe_dump(shop.config.resolved()), "utf-8")
        process = start(code, path, shop.home, shop.now.isoformat())
        await_word(process, "deleted")
        kill(process)
        assert tags(shop, "2")[PRUNED] == f"{shop.run_date} (unfinished)"
        with pytest.raises(
            RegistryError, match=r"version 2: its files were pruned on 2025-\d\d-\d\d, .* kept: 1, 3, 4"
        ):
            rollback(shop.config, shop.home, "2")
        assert champion(connect(shop.home, shop.config)) == "4"
        done = run_prune(shop)
        assert names(done, "version") == ["recsys version 2"]
        assert tags(shop, "2")[PRUNED] == shop.run_date
        assert len(list((shop.home / "mlartifacts").rglob("model.safetensors"))) == 6

    def test_an_unanswering_store_deletes_nothing(
        self, shop: SimulatedHome, gate: FakeGate, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        train_and_promote(shop, 4)
        before = read_files(shop.home / "runs")
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
        monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        with pytest.raises(RegistryError, match="does not answer"):
            run_prune(shop)
        assert read_files(shop.home / "runs") == before


def need_run(shop: SimulatedHome, number: str) -> str:
    version = find_number(connect(shop.home, shop.config), NAME, number)
    assert version is not None
    return version.run_id


class TestHome:
    def test_keeps_what_is_current_newest_or_needed(self, shop: SimulatedHome, gate: FakeGate) -> None:
        for _ in range(5):
            train_and_promote(shop, 1)
            shop.night()
        other = SimulatedHome(change(shop.config, name="other"), shop.home, day=shop.day)
        theirs = [other.ingest()]
        before, dry = read_files(shop.home), run_prune(shop, dry_run=True)
        assert read_files(shop.home) == before
        done = run_prune(shop)
        assert done.to_dict() | {"dry_run": True} == dry.to_dict()
        # Versions 1 (anchor), 4 (former champion) and 5; their runs are among the newest two, or needed.
        assert len(names(done, "run")) == len(names(done, "report")) == 2
        assert len(folders(shop, "runs")) == 3
        kept = {tags(shop, number)["snapshot"] for number in ("1", "4", "5")}
        assert folders(shop, "snapshots") >= kept | set(theirs)
        assert len(folders(shop, "snapshots")) <= len(kept) + 3
        assert not run_prune(shop).items

    def test_a_training_that_waits_is_kept_until_it_is_too_old(self, shop: SimulatedHome) -> None:
        shop.train(finish=False)
        for _ in range(4):
            shop.night()
        assert not names(run_prune(shop), "training")
        for _ in range(4):
            shop.night()
        done = run_prune(shop)
        assert len(names(done, "training")) == 1
        assert not list((shop.home / "unregistered").iterdir())

    def test_what_a_running_command_uses_is_left(self, shop: SimulatedHome, gate: FakeGate) -> None:
        train_and_promote(shop, 4)
        with lock(shop.home, "promotion"), lock(shop.home, "training"), lock(shop.home, "generation"):
            done = run_prune(shop)
        assert not done.items
        assert [line.partition(":")[0] for line in done.left] == [
            "model versions",
            "trainings",
            "runs",
            "lists",
            "caches",
            "snapshots",
            "temporary files",
        ]
        assert all("another process holds the lock" in line for line in done.left)
        assert names(run_prune(shop), "version")

    def test_foreign_files_and_links_are_left(self, shop: SimulatedHome, tmp_path: Path) -> None:
        for _ in range(4):
            shop.train()
            shop.night()
        runs = sorted(path for path in (shop.home / "runs").iterdir() if path.is_dir())
        (runs[0] / "notes.txt").touch()
        outside = tmp_path / "outside"
        shutil.move(runs[1], outside)
        runs[1].symlink_to(outside)
        (shop.home / "snapshots" / "abcdef123456").mkdir()
        (shop.home / "reports" / "mine.html").touch()
        done = run_prune(shop)
        assert runs[0].exists()
        assert runs[1].is_symlink()
        assert (outside / "manifest.json").exists()
        assert (shop.home / "snapshots" / "abcdef123456").exists()
        assert (shop.home / "reports" / "mine.html").exists()
        assert f"{runs[0]}: kept because it holds notes.txt, not written by recsys" in done.left

    def test_a_linked_folder_is_not_followed(self, shop: SimulatedHome, tmp_path: Path) -> None:
        for _ in range(4):
            shop.night()
        shutil.move(shop.home / "snapshots", tmp_path / "disk")
        (shop.home / "snapshots").symlink_to(tmp_path / "disk")
        before = read_files(tmp_path / "disk")
        done = run_prune(shop)
        assert any("is a symbolic link, which is not followed" in line for line in done.left)
        assert read_files(tmp_path / "disk") == before

    def test_leftovers_of_killed_commands(self, shop: SimulatedHome) -> None:
        shop.night()
        old, new = (f".x.{digit * 32}.tmp" for digit in "ab")
        places = ("snapshots", "recommendations", "embeddings", ".")
        for place in places:
            for name in (old, new):
                (shop.home / place / name).mkdir()
                (shop.home / place / name / "part").touch()
        (shop.home / "runs").mkdir()
        only, replaced = shop.home / "runs" / f".a.{'c' * 32}.old", shop.home / "runs" / f".b.{'c' * 32}.old"
        for path in (only, replaced, shop.home / "runs" / "b", shop.home / "mine.tmp"):
            path.mkdir()
        shop.stamp()
        for place in places:
            for path in (shop.home / place / new, shop.home / place / new / "part"):
                os.utime(path, ((shop.now + timedelta(hours=25)).timestamp(),) * 2)
        shop.day += 2
        done = run_prune(shop)
        wanted = {str(Path(place, old)) for place in places} | {f"runs/{replaced.name}"}
        assert set(names(done, "leftover")) == wanted
        # The only copy of a folder that was being exchanged.
        assert only.exists()
        assert (shop.home / "mine.tmp").exists()

    def test_caches_by_last_use_and_size(self, shop: SimulatedHome) -> None:
        for _ in range(3):
            shop.night()
        files = sorted((shop.home / "embeddings").rglob("*.npy"), key=lambda path: path.stat().st_mtime)
        os.truncate(files[0], 800_000)
        os.truncate(files[1], 800_000)
        os.utime(files[0], (1, 1))
        done = run_prune(shop)
        assert names(done, "embeddings") == [files[0].relative_to(shop.home).as_posix()]
        shop.stamp()
        shop.day += 10
        done = run_prune(shop)
        assert names(done, "embeddings") == [f"embeddings/{'e' * 64}"]
        assert len(names(done, "factors")) == 1

    def test_searches_shards_and_checkpoints(self, shop: SimulatedHome) -> None:
        shop.night()
        made = [
            "tuning/mini-0000000a/trials.json",
            "tuning/mini-0000000b/trials.json",
            "tuning/mini.db",
            "tuning/other-0000000a/trials.json",
            "recommendations/.run_date=2025-02-01.shards/part-00000.parquet",
            "fine_tuning/mini/training.safetensors",
            "fine_tuning/other/training.safetensors",
        ]
        for path in made:
            (shop.home / path).parent.mkdir(parents=True, exist_ok=True)
            (shop.home / path).touch()
        shop.stamp()
        os.utime(shop.home / "tuning/mini-0000000a", (1, 1))
        shop.day += 1
        assert names(run_prune(shop), "search") == ["tuning/mini-0000000a"]
        shop.day += 2
        done = run_prune(shop)
        assert names(done, "shards") == ["recommendations/.run_date=2025-02-01.shards"]
        assert names(done, "checkpoint") == ["fine_tuning/mini"]
        assert (shop.home / made[3]).exists()
        assert (shop.home / made[6]).exists()

    def test_a_home_without_anything(self, shop: SimulatedHome, tmp_path: Path) -> None:
        done = prune(shop.config, tmp_path / "new", datetime(2025, 1, 1, tzinfo=UTC), dry_run=True)
        assert (done.items, done.left, done.bytes) == ([], [], 0)
        assert not (tmp_path / "new").exists()


class TestWeeks:
    def test_a_home_stays_as_large_as_it_was_and_everything_works(
        self, trained: Trained, trained_copy: Path, gate: FakeGate, raw_in_place: Path
    ) -> None:
        config = change(trained.config, retention=KEEP, generation={"keep_run_dates": 3})
        shop = SimulatedHome(config, trained_copy)
        lists, snapshot = read_lists(shop.home, RUN_DATE), current_snapshot_file(shop.home, config.name).read_text()
        sizes = []
        for _ in range(5):
            shop.train()
            promote(config, shop.home)
            for _ in range(7):
                shop.night()
                run_prune(shop)
            sizes.append({kind: size for kind, size in shop.sizes().items() if kind != "mlflow.db"})
        for kind, size in sizes[-1].items():
            # Compressed tables and names of versions differ by a few bytes.
            assert size <= 1.02 * sizes[2][kind] + 1000, (kind, sizes)
        # The former champion, then the anchor, which is the version that was trained for real.
        assert rollback(config, shop.home).version == "5"
        assert rollback(config, shop.home, "1").version == "1"
        replace_text(current_snapshot_file(shop.home, config.name), snapshot)
        # With its own settings: this night is older than those that are kept.
        generate(trained.config, shop.home, RUN_DATE, NOW)
        assert read_lists(shop.home, RUN_DATE).equals(lists)
        assert len(read_history(config, shop.home).entries) == 8
        assert monitor(trained.config, shop.home, RUN_DATE, NOW).night.run_date == RUN_DATE
        assert read_run(shop.home, config.name).name in folders(shop, "runs")
        assert [finding for finding in examine(config, shop.home) if finding.state == "problem"] == []
        assert (
            compare_with_alias(
                connect(shop.home, config), PromotionLog.open(connect(shop.home, config), shop.home, NAME)
            ).state
            == "agreed"
        )
