"""A home is backed up, destroyed, and restored elsewhere; then everything works, and lists are equal to the byte."""

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml
from miniature import NOW, RUN_DATE, Trained, copy_home, read_files, settings
from second_version import register_second

from recsys.errors import ArtifactError, RegistryError
from recsys.pipelines.backup import BackedUp, backup
from recsys.pipelines.doctor import examine
from recsys.pipelines.generate import generate
from recsys.pipelines.history import read_history
from recsys.pipelines.restore import restore
from recsys.pipelines.rollback import rollback
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import connect
from recsys.registry.versions import set_champion
from recsys.storage.folders import hash_files, read_manifest, write_folder
from recsys.storage.home import forgotten_file, list_folder, mlflow_artifacts_folder
from recsys.storage.locks import lock

Make = Callable[..., BackedUp]


@pytest.fixture
def config_file(tmp_path: Path) -> Path:
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(settings()), encoding="utf-8")
    return path


@pytest.fixture(scope="session")
def saved(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backup of the trained home, which tests must leave as it is."""
    folder = tmp_path_factory.mktemp("saved")
    (folder / "mini.yaml").write_text(yaml.safe_dump(settings()), encoding="utf-8")
    backup(trained.config, folder / "mini.yaml", trained.home, folder / "backup 家", NOW)
    return folder / "backup 家"


@pytest.fixture
def damaged(saved: Path, tmp_path: Path) -> Path:
    """A copy to damage; its large files are linked, so replace them instead of writing to them."""
    return Path(shutil.copytree(saved, tmp_path / "damaged", copy_function=os.link))


def parts(home: Path, run_date: str) -> dict[str, str]:
    return {name: digest for name, digest in hash_files(list_folder(home, run_date)).items() if "part-" in name}


def test_a_home_that_is_destroyed_comes_back_elsewhere(
    trained_copy: Path, trained: Trained, config_file: Path, raw_in_place: Path, tmp_path: Path
) -> None:
    config, home = trained.config, tmp_path / "another" / "place [x]"
    before, log = parts(trained_copy, RUN_DATE), read_history(config, trained_copy).entries
    forgotten_file(trained_copy).write_text('{"hashes": []}')
    for name in ("compiled", "tuning", "reports"):
        (trained_copy / name).mkdir(exist_ok=True)
        (trained_copy / name / "x.bin").write_bytes(b"x")
    done = backup(config, config_file, trained_copy, tmp_path / "backup", NOW)
    assert (done.run_date, done.nights, done.versions, len(done.snapshots)) == (RUN_DATE, [RUN_DATE], ["1"], 1)
    assert done.left_out == []
    shutil.rmtree(trained_copy)
    trained_copy.mkdir()
    assert (tmp_path / "backup").stat().st_mode & 0o077 == 0
    kept = {path.name for path in (tmp_path / "backup" / "home").iterdir()}
    assert not kept & {"compiled", "embeddings", "factors", "fine_tuning", "tuning", "reports"}
    restored = restore(tmp_path / "backup", home)
    assert (restored.name, restored.run_date, restored.written) == ("mini", RUN_DATE, restored.files)
    assert restored.config.read_bytes() == config_file.read_bytes()
    assert [finding for finding in examine(config, home) if finding.state != "ok"] == []
    assert read_history(config, home).entries == log
    # Without it, an ingest after the restore would take the rows of forgotten users again.
    assert forgotten_file(home).read_text() == '{"hashes": []}'
    assert parts(home, RUN_DATE) == before
    # Made again from the restored bundle and snapshot, without caches.
    shutil.rmtree(list_folder(home, RUN_DATE))
    generate(config, home, RUN_DATE, NOW)
    assert parts(home, RUN_DATE) == before


def test_a_night_and_a_backup_do_not_disturb_each_other(
    trained_copy: Path, trained: Trained, config_file: Path, raw_in_place: Path, tmp_path: Path
) -> None:
    night = "2025-02-04"
    command = [sys.executable, "-m", "recsys.cli", "generate", "-c", str(config_file), "--run-date", night]
    environment = {**os.environ, "RECSYS_HOME": str(trained_copy), "PYTHONPATH": os.pathsep.join(sys.path)}
    made: list[BackedUp] = []
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE) as process:
        # Each holds an encoder of 90 MB.
        while process.poll() is None and len(made) < 3:
            made.append(backup(trained.config, config_file, trained_copy, tmp_path / f"backup {len(made)}", NOW))
            time.sleep(1.0)
        _, errors = process.communicate()
        assert process.returncode == 0, errors.decode()
    assert made
    made.append(backup(trained.config, config_file, trained_copy, tmp_path / "backup afterwards", NOW))
    assert made[-1].run_date == night
    for done in (made[0], made[-1]):
        home = tmp_path / f"home of {done.folder.name}"
        restore(done.folder, home)
        assert done.run_date in done.nights
        assert [finding for finding in examine(trained.config, home) if finding.state != "ok"] == []


def test_a_backup_waits_for_no_lock_of_a_night(
    trained_copy: Path, trained: Trained, config_file: Path, tmp_path: Path
) -> None:
    with lock(trained_copy, "generation"), lock(trained_copy, "training"), lock(trained_copy, "ingestion-mini"):
        assert backup(trained.config, config_file, trained_copy, tmp_path / "backup", NOW).versions == ["1"]


_CHILD = """
import os, signal, sys
from datetime import datetime
from pathlib import Path
from recsys.artifacts import backups
from recsys.config import load_config
from recsys.pipelines.backup import backup
from recsys.pipelines.restore import restore
what, config, home, folder, after = sys.argv[1:]
left = [int(after)]
real = backups.shutil.copy2
def copy(source, target):
    left[0] -= 1
    if left[0] < 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return real(source, target)
backups.shutil.copy2 = copy
if what == "backup":
    now = datetime.fromisoformat("2025-06-01T00:00:00+00:00")
    backup(load_config(Path(config)), Path(config), Path(home), Path(folder), now)
else:
    restore(Path(folder), Path(home))
"""


def run_until_killed(what: str, config: Path, home: Path, folder: Path, copies: int) -> None:
    command = [sys.executable, "-c", _CHILD, what, str(config), str(home), str(folder), str(copies)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run(command, env=environment, check=False).returncode == -signal.SIGKILL


def test_a_backup_that_is_killed_leaves_no_backup(
    trained_copy: Path, trained: Trained, config_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backups" / "one"
    run_until_killed("backup", config_file, trained_copy, folder, 12)
    assert [path.suffix for path in folder.parent.iterdir()] == [".tmp"]
    backup(trained.config, config_file, trained_copy, folder, NOW)
    assert list(folder.parent.iterdir()) == [folder]


def test_a_restore_that_is_killed_goes_on_and_takes_no_other_backup(
    saved: Path, damaged: Path, trained: Trained, config_file: Path, raw_in_place: Path, tmp_path: Path
) -> None:
    home = tmp_path / "home"
    run_until_killed("restore", config_file, home, saved, 12)
    assert not (home / "recommendations" / "CURRENT").exists()
    (damaged / "home" / "promotion_log.jsonl").unlink()
    rewrite_manifest(damaged, lambda facts: facts)
    with pytest.raises(ArtifactError, match="an interrupted restore of another backup"):
        restore(damaged, home)
    done = restore(saved, home)
    assert 0 < done.written < done.files
    assert not list(home.glob(".restoring*"))
    assert [finding for finding in examine(trained.config, home) if finding.state != "ok"] == []
    with pytest.raises(ArtifactError, match="is not empty"):
        restore(saved, home)


def rewrite_manifest(folder: Path, change: Callable[[dict[str, object]], object]) -> None:
    """Write a manifest that suits the files, changed, as somebody else could."""
    path = folder / "manifest.json"
    facts = json.loads(path.read_text(encoding="utf-8"))
    hashes = hash_files(folder)
    facts |= {"files": hashes, "sizes": {name: (folder / name).stat().st_size for name in hashes}}
    change(facts)
    path.unlink()
    path.write_text(json.dumps(facts), encoding="utf-8")


def replace(path: Path, content: bytes) -> None:
    path.unlink()
    path.write_bytes(content)


def test_damage_is_named_before_anything_is_written(damaged: Path, tmp_path: Path) -> None:
    log = damaged / "home" / "promotion_log.jsonl"
    content = log.read_bytes()
    for change, expected in (
        (lambda: replace(log, content[:-1] + b"x"), "promotion_log.jsonl is damaged"),
        (lambda: replace(log, content[:-1]), f"promotion_log.jsonl has {len(content) - 1} bytes, expected"),
        (log.unlink, "promotion_log.jsonl is missing"),
        (
            lambda: (log.write_bytes(content), (damaged / "home" / "more").touch()),
            "'home/more' is not listed in its manifest",
        ),
    ):
        change()
        with pytest.raises(ArtifactError, match=expected):
            restore(damaged, tmp_path / "home")
        assert not (tmp_path / "home").exists()
    replace(damaged / "manifest.json", b"{")
    with pytest.raises(ArtifactError, match=r"manifest\.json cannot be read"):
        restore(damaged, tmp_path / "home")


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "home/../../outside", "elsewhere/x", "home//x", "home"])
def test_a_path_that_leads_elsewhere_is_refused(damaged: Path, tmp_path: Path, name: str) -> None:
    def add(facts: dict[str, object]) -> None:
        for key, value in (("files", "0" * 64), ("sizes", 0)):
            entries = facts[key]
            assert isinstance(entries, dict)
            entries[name] = value

    rewrite_manifest(damaged, add)
    with pytest.raises(ArtifactError, match="lists the path"):
        restore(damaged, tmp_path / "home")
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize("where", ["home/promotion_log.jsonl", "home/monitoring", "config/link"])
def test_links_are_refused(damaged: Path, tmp_path: Path, where: str) -> None:
    path = damaged / where
    if path.is_dir():
        shutil.rmtree(path)
    path.unlink(missing_ok=True)
    path.symlink_to("/etc")
    with pytest.raises(ArtifactError, match="is a link or a special file"):
        restore(damaged, tmp_path / "home")


def test_a_newer_format_is_refused(damaged: Path, tmp_path: Path) -> None:
    rewrite_manifest(damaged, lambda facts: facts.update(format=2))
    with pytest.raises(ArtifactError, match="has format 2, expected 1; restore it with recsys"):
        restore(damaged, tmp_path / "home")


def test_a_home_with_other_files_is_left_alone(saved: Path, tmp_path: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "home" / "mine.txt").write_text("mine")
    with pytest.raises(ArtifactError, match="is not empty"):
        restore(saved, tmp_path / "home")
    assert (tmp_path / "home" / "mine.txt").read_text() == "mine"


def test_only_an_older_backup_is_replaced_and_only_if_asked(
    trained: Trained, config_file: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "backup"

    def run(*, replace: bool) -> None:
        backup(trained.config, config_file, trained.home, folder, NOW, replace=replace)

    (folder / "photos").mkdir(parents=True)
    with pytest.raises(ArtifactError, match="exists and is not a backup"):
        run(replace=True)
    shutil.rmtree(folder)
    write_folder(folder, lambda new: None, {"kind": "backup"})
    with pytest.raises(ArtifactError, match="already exists; choose another folder, or replace it with --replace"):
        run(replace=False)
    run(replace=True)
    restore(folder, tmp_path / "home")
    with pytest.raises(ArtifactError, match="is inside the home"):
        backup(trained.config, config_file, trained.home, trained.home / "backup", NOW)


def test_a_damaged_bundle_is_not_backed_up(
    trained_copy: Path, trained: Trained, config_file: Path, tmp_path: Path
) -> None:
    bundle = next(path for path in (trained_copy / "mlartifacts").rglob("bundle") if (path / "manifest.json").is_file())
    name = next(path for path in sorted(bundle.iterdir()) if path.is_file() and path.name != "manifest.json")
    replace(name, b"damaged")
    with pytest.raises(ArtifactError, match=f"{name.name} is changed"):
        backup(trained.config, config_file, trained_copy, tmp_path / "backup", NOW)
    assert not (tmp_path / "backup").exists()


@pytest.fixture(scope="module")
def promoted(trained: Trained, raw: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home in which version 2 serves and its lists took the place of version 1's."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("promoted") / "home")
    second = register_second(home, trained, below=mlflow_artifacts_folder(home))
    store = connect(home, trained.config)
    files = read_manifest(mlflow_artifacts_folder(home) / "version-2" / "artifacts" / "bundle", "")["files"]
    digest = hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()
    store.client.set_model_version_tag(second.name, second.number, "bundle", digest[:12])
    log = PromotionLog.open(store, home, second.name)
    entry = log.append("force", to_version=second.number, reason="test")
    set_champion(store, second.name, second.number)
    log.confirm(entry)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw))
        generate(trained.config, home, RUN_DATE, NOW)
    yield home
    shutil.rmtree(home)


def test_a_rollback_works_after_a_restore(
    promoted: Path, trained: Trained, config_file: Path, raw_in_place: Path, tmp_path: Path
) -> None:
    done = backup(trained.config, config_file, promoted, tmp_path / "backup", NOW)
    assert (done.versions, done.damaged) == (["1", "2"], [])
    home = tmp_path / "home"
    restore(done.folder, home)
    assert parts(home, RUN_DATE) == parts(promoted, RUN_DATE) != parts(trained.home, RUN_DATE)
    rolled = rollback(trained.config, home)
    assert (rolled.version, rolled.run_date, rolled.republished) == ("1", RUN_DATE, True)
    assert parts(home, RUN_DATE) == parts(trained.home, RUN_DATE)


def test_a_damaged_former_version_costs_only_itself(
    promoted: Path, trained: Trained, config_file: Path, raw_in_place: Path, tmp_path: Path
) -> None:
    config, artifacts = trained.config, mlflow_artifacts_folder(promoted)
    (trees,) = set(artifacts.rglob("bundle/trees.txt")) - set((artifacts / "version-2").rglob("bundle/trees.txt"))
    content = trees.read_bytes()
    replace(trees, b"damaged")
    try:
        done = backup(config, config_file, promoted, tmp_path / "backup", NOW)
    finally:
        replace(trees, content)
    assert done.versions == ["2"]
    (sentence,) = done.damaged
    assert sentence.startswith(f"version 1 (alias 'anchor'): folder {trees.parent}: ")
    assert "trees.txt is changed" in sentence
    home = tmp_path / "home"
    restore(done.folder, home)
    assert [finding for finding in examine(config, home) if finding.state != "ok"] == []
    before = read_files(list_folder(home, RUN_DATE))
    with pytest.raises(RegistryError, match="version 1: its files were pruned on 2025-06-01"):
        rollback(config, home)
    assert read_files(list_folder(home, RUN_DATE)) == before


def test_a_registry_of_a_home_is_not_restored_for_a_server(
    saved: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://anna:secret@mlflow.example:5000")
    with pytest.raises(ArtifactError, match="does not restore into another store") as caught:
        restore(saved, tmp_path / "home")
    assert "secret" not in str(caught.value)


def test_of_a_store_elsewhere_the_bundles_in_use_are_backed_up(
    trained_copy: Path,
    trained: Trained,
    config_file: Path,
    raw_in_place: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from recsys.storage.files import sqlite_url

    uri = sqlite_url(trained.home / "mlflow.db")
    for name in ("mlflow.db", "mlartifacts"):
        path = trained_copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    done = backup(trained.config, config_file, trained_copy, tmp_path / "backup", NOW)
    assert done.versions == ["1"]
    assert "back them up on that server" in done.left_out[-1]
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    with pytest.raises(ArtifactError, match="set MLFLOW_TRACKING_URI, then run again"):
        restore(tmp_path / "backup", tmp_path / "home")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    restored = restore(tmp_path / "backup", tmp_path / "home")
    assert restored.versions is not None
    assert (restored.versions / "version=1" / "artifacts" / "bundle" / "manifest.json").is_file()
    assert [finding for finding in examine(trained.config, tmp_path / "home") if finding.state != "ok"] == []
