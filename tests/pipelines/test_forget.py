"""Forgetting leaves no trace of a user in any file, whatever its form, and the home still works."""

import bz2
import gzip
import json
import sqlite3
import stat
import subprocess
import sys
import zipfile
from contextlib import closing
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import zstandard
from miniature import NOW, RUN_DATE, Trained, change, read_files, read_lists
from safetensors.numpy import load_file
from second_version import register_second
from traces import find_holders

from recsys.artifacts.night import Night
from recsys.artifacts.outputs import list_other_outputs
from recsys.artifacts.postgres import URL
from recsys.artifacts.snapshots import Snapshot
from recsys.artifacts.user_rows import UserRows
from recsys.config import Config
from recsys.dataset.pseudonyms import KEY, Pseudonyms
from recsys.errors import ArtifactError, ConfigError, Refused
from recsys.pipelines.canary import start_canary
from recsys.pipelines.forget import forget, read_users
from recsys.pipelines.generate import generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.monitor import monitor
from recsys.pipelines.pseudonyms import write_mapping
from recsys.report.page import write_report
from recsys.serving.bundle import Bundle
from recsys.storage.folders import MANIFEST, read_manifest, verify_folder
from recsys.storage.home import current_snapshot_file, snapshot_folder
from recsys.storage.locks import LockedError, lock

psycopg = pytest.importorskip("psycopg")

# Not a fork of this process: threads of polars would hold locks for ever in it.
KILLED = """
import os, sys
from pathlib import Path
from recsys.config import Config
from recsys.storage import folders
from recsys.pipelines.forget import forget
swap, done = folders.swap_in, []
def die(staging, target):
    done.append(target)
    if len(done) == 2:
        os.kill(os.getpid(), 9)
    swap(staging, target)
folders.swap_in = die
home, user, config = sys.argv[1:]
forget(Config.model_validate_json(config), Path(home), [user], 0.0)
"""
SECRET = "0123456789abcdef" * 4


def check_manifests(home: Path) -> None:
    for path in home.rglob(MANIFEST):
        if "shared" not in json.loads(path.read_text()):
            verify_folder(path.parent, "")


def choose_user(home: Path) -> str:
    """Return a user with lists, with measured metrics, and with most events of the demo."""
    lists = read_lists(home, RUN_DATE)["user_id"]
    (metrics,) = (home / "runs").glob("*/user_metrics.parquet")
    (events,) = (home / "snapshots").glob("*/interactions.parquet")
    measured = pl.read_parquet(metrics.read_bytes()).filter(pl.col("user_id").is_in(lists.implode()))["user_id"]
    busiest = pl.read_parquet(events.read_bytes()).filter(pl.col("user_id").is_in(measured.implode()))
    return str(busiest["user_id"].value_counts().sort("count", "user_id")["user_id"][-1])


def add_remains(home: Path, user: str) -> None:
    """Put what other commands leave where they leave it."""
    (home / "monitoring" / "mini" / "metrics.txt").write_text(f'a{{segment="user: {user}"}} 1\nb 2\n')
    leftover = home / "recommendations" / f".run_date=2025-01-01.{'0' * 32}.tmp"
    leftover.mkdir()
    (leftover / "part.txt").write_text(user)
    search = home / "tuning" / "mini-0123abcd"
    search.mkdir(parents=True)
    pl.DataFrame({"user_id": [user, "other"], "value": [0.5, 0.25]}).write_parquet(search / "0.parquet")
    # Weights that learned from them, of a training that was killed.
    weights = home / "fine_tuning" / "mini"
    weights.mkdir(parents=True)
    (weights / "training.safetensors").write_bytes(b"weights")


@pytest.mark.usefixtures("raw_in_place")
def test_nothing_of_a_user_is_left(trained: Trained, trained_copy: Path) -> None:
    home, user = trained_copy, choose_user(trained_copy)
    config = change(trained.config, generation={"outputs": ["jsonl", "csv"]})
    register_second(home, trained)
    start_canary(config, home, 0.5)
    for run_date in (RUN_DATE, "2025-02-04"):
        generate(config, home, run_date, NOW)
        monitor(config, home, run_date, NOW)
    write_report(config, home)
    add_remains(home, user)
    places = {name.partition("/")[0] for name in find_holders(home, user)}
    known = {"snapshots", "runs", "recommendations", "reports", "mlartifacts", "monitoring", "tuning"}
    assert places == known
    rows = read_lists(home, RUN_DATE).height
    # A kill in the middle, right before a folder is exchanged.
    killed = subprocess.run([sys.executable, "-c", KILLED, str(home), user, config.model_dump_json(exclude_unset=True)])
    assert killed.returncode == -9
    assert find_holders(home, user)
    before = read_files(home)
    dry = forget(config, home, [user], NOW.timestamp(), dry_run=True)
    assert read_files(home) == before
    made = forget(config, home, [user], NOW.timestamp())
    assert [one.name for one in made.removed] == [one.name for one in dry.removed]
    assert find_holders(home, user) == []
    assert not (home / "fine_tuning").exists()
    assert made.left == []
    assert [line.partition(" (")[0] for line in made.bundles] == ["version 1", "version 2"]
    check_manifests(home)
    left = read_lists(home, RUN_DATE)
    assert left.height == rows - config.generation.n
    assert left["user_id"].n_unique() > 10
    # Again: nothing is found.
    assert forget(config, home, [user], NOW.timestamp()).removed == []
    identity, summary = run_ingest(config, home, NOW)
    assert summary.rows["interactions"].rejected["forgotten"] > 0
    assert find_holders(home, user) == []
    generate(config, home, "2025-02-05", NOW)
    assert find_holders(home, user) == []
    assert identity in current_snapshot_file(home, "mini").read_text()


def test_the_search_finds_an_id_in_every_form(tmp_path: Path) -> None:
    user = "u0000913"
    row = f"{user},7\n".encode()
    (tmp_path / "a.csv").write_bytes(row)
    (tmp_path / "a.gz").write_bytes(gzip.compress(gzip.compress(row)))
    (tmp_path / "a.zst").write_bytes(zstandard.ZstdCompressor().compress(row))
    (tmp_path / "a.bz2").write_bytes(bz2.compress(row))
    for name, content in (("plain", row), ("packed", gzip.compress(row))):
        with zipfile.ZipFile(tmp_path / f"{name}.zip", "w", zipfile.ZIP_DEFLATED) as archive:
            archive.writestr("inner", content)
    np.savez_compressed(tmp_path / "ids.npz", ids=np.array([user]))
    np.save(tmp_path / "ids.npy", np.array([user]))
    pl.DataFrame({"lists": [[[user] * 50]]}).write_parquet(tmp_path / "nested.parquet", compression="zstd")
    with closing(sqlite3.connect(tmp_path / "store.db")) as database:
        # Longer than a page, which SQLite splits.
        database.execute("CREATE TABLE notes (note)")
        database.execute("INSERT INTO notes VALUES (?)", [gzip.compress(row)])
        database.execute("INSERT INTO notes VALUES (?)", ["x" * 4000 + user + "x" * 4000])
        database.commit()
    (tmp_path / user).mkdir()
    assert find_holders(tmp_path, user) == sorted(path.name for path in tmp_path.iterdir())
    assert find_holders(tmp_path, "u0000914") == []


def test_what_cannot_be_rewritten_is_named(trained: Trained, tmp_path: Path) -> None:
    (tmp_path / "copy.csv.gz").write_bytes(gzip.compress(b"u1,7\n"))
    with zipfile.ZipFile(tmp_path / "copy.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("events.csv", "u1,7\n")
    with closing(sqlite3.connect(tmp_path / "notes.db")) as database:
        database.execute("CREATE TABLE notes (note)")
        database.execute("INSERT INTO notes VALUES ('about u1')")
        database.commit()
    (tmp_path / "other.bin").write_bytes(b"u12")
    (tmp_path / "cut.gz").write_bytes(gzip.compress(b"u1" * 999)[:-12])
    made = forget(trained.config, tmp_path, ["u1"], NOW.timestamp())
    assert [line.partition(":")[0] for line in made.left] == ["copy.csv.gz", "copy.zip", "cut.gz", "notes.db"]
    assert ["delete or recreate it" in line for line in made.left] == [False, False, True, False]
    assert sum("delete the file" in line for line in made.left) == 3


def test_ids_that_are_also_words_change_no_model(trained: Trained, trained_copy: Path) -> None:
    """`12` and `nobody` are tokens of the encoder; `1` is a list length, and `mini` a name in settings."""
    bundle = next(trained_copy.rglob("bundle.json")).parent
    before = {path: path.read_bytes() for path in sorted(bundle.rglob("*")) if path.is_file()}
    assert any(b'"nobody"' in content for content in before.values())
    made = forget(trained.config, trained_copy, ["1", "10", "12", "nobody", "mini", "true"], NOW.timestamp())
    assert {path: path.read_bytes() for path in before} == before
    # Pages are made again rather than searched for what a number on them means.
    assert all(".html: " in line for line in made.left)
    assert not any("bundle" in one.name or one.name.startswith("runs/") for one in made.removed)


def test_a_training_that_is_not_registered_is_named(trained: Trained, tmp_path: Path) -> None:
    kept = tmp_path / "unregistered" / "mini-2025-02-03-01234567"
    kept.mkdir(parents=True)
    (kept / "registration.json").write_text('{"run_id": "1"}')
    made = forget(trained.config, tmp_path, ["u1"], NOW.timestamp())
    assert any(line.startswith("training mini-2025-02-03-01234567") for line in made.bundles)


def test_readers_of_lists_keep_their_access(trained: Trained, trained_copy: Path) -> None:
    folder = trained_copy / "recommendations" / f"run_date={RUN_DATE}"
    folder.chmod(0o750)
    for path in folder.glob("part-*"):
        path.chmod(0o640)
    inode = folder.stat().st_ino
    forget(trained.config, trained_copy, [choose_user(trained_copy)], NOW.timestamp())
    assert folder.stat().st_ino != inode
    assert stat.S_IMODE(folder.stat().st_mode) == 0o750
    assert {stat.S_IMODE(path.stat().st_mode) for path in folder.glob("part-*")} == {0o640}


@pytest.fixture
def published(trained: Trained, trained_copy: Path, database: str, tmp_path: Path) -> Config:
    """The trained night in a PostgreSQL table and in a shared folder, which also has an older copy."""
    store = tmp_path / "store"
    (store / f"run_date={RUN_DATE}" / ("0" * 16)).mkdir(parents=True)
    (store / f"run_date={RUN_DATE}" / ("0" * 16) / "part-00000.parquet").write_text(choose_user(trained_copy))
    config = change(trained.config, generation={"postgres_table": "lists", "publish_to": str(store)})
    fill(config, trained_copy)
    return config


def fill(config: Config, home: Path) -> list[str]:
    """Fill the outputs that do not hold the night, and return their names."""
    manifest = read_manifest(home / "recommendations" / f"run_date={RUN_DATE}", "")
    night = Night(RUN_DATE, {name: value for name, value in manifest.items() if name != "files"})
    missing = [output for output in list_other_outputs(home, config.generation) if not output.holds(night)]
    for output in missing:
        output.fill(night)
    return [type(output).__name__ for output in missing]


def test_table_and_store_lose_the_user(published: Config, trained_copy: Path, database: str, tmp_path: Path) -> None:
    user, n = choose_user(trained_copy), published.generation.n
    before = read_table(database)
    dry = forget(published, trained_copy, [user], NOW.timestamp(), dry_run=True)
    assert read_table(database) == before
    made = forget(published, trained_copy, [user, "nobody"], NOW.timestamp())
    table, *folders = [(one.name, one.what) for one in made.removed][-3:]
    assert table == ("table lists", f"deleted {n} rows")
    night = f"{tmp_path / 'store'}/run_date={RUN_DATE}/"
    assert all(name.startswith(night) and what == "deleted" for name, what in folders)
    assert [one.name for one in dry.removed] == [one.name for one in made.removed]
    assert read_table(database) == {name: rows for name, rows in before.items() if name != user}
    assert find_holders(tmp_path / "store", user) == []
    # Both hold the night as it is now, so the next run has nothing to do.
    assert fill(published, trained_copy) == []
    assert forget(published, trained_copy, [user], NOW.timestamp()).removed == []


def read_table(url: str) -> dict[str, int]:
    with psycopg.connect(url) as connection:
        return dict(connection.execute("SELECT user_id, count(*) FROM lists GROUP BY 1").fetchall())


def test_a_table_that_cannot_be_reached(published: Config, trained_copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    user, before = choose_user(trained_copy), read_files(trained_copy)
    monkeypatch.delenv(URL)
    with pytest.raises(ArtifactError, match="RECSYS_LISTS_URL is not set"):
        forget(published, trained_copy, [user], NOW.timestamp())
    assert read_files(trained_copy) == before
    # A slash in a password makes libpq take it for the port, and repeat it.
    monkeypatch.setenv(URL, "postgresql://lists:hunter/22@127.0.0.1:1/postgres?connect_timeout=2")
    with pytest.raises(ArtifactError, match=r"table lists: .*; fix the database or RECSYS_LISTS_URL") as raised:
        forget(published, trained_copy, [user], NOW.timestamp())
    assert "hunter" not in str(raised.value)


def test_no_bundle_holds_ids_or_factors_of_users(bundle: Bundle, snapshot: Snapshot, trained: Trained) -> None:
    users = snapshot.interactions["user_id"].unique().sort().to_list()
    prefix = users[0][:5]
    assert all(user.startswith(prefix) for user in users)
    folders = [path for path in trained.home.rglob("artifacts/*") if path.name in ("bundle", "evaluation_model")]
    assert len(folders) == 2
    for folder in folders:
        assert find_holders(folder, prefix) == []
        # No array has a row per user either; there are more users than items.
        lengths = {length for path in folder.rglob("*") for length in read_lengths(path)}
        assert bundle.items.height in lengths
        assert len(users) not in lengths


def read_lengths(path: Path) -> set[int]:
    """Return the lengths of all axes of the arrays in a file."""
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as arrays:
            return {length for name in arrays.files for length in arrays[name].shape}
    arrays = load_file(path) if path.suffix == ".safetensors" and path.parent.name != "encoder" else {}
    return {length for array in arrays.values() for length in array.shape}


def test_a_running_command_is_waited_for(tmp_path: Path, trained: Trained) -> None:
    with lock(tmp_path, "generation"), pytest.raises(LockedError):
        forget(trained.config, tmp_path, ["u"], NOW.timestamp())
    assert not (tmp_path / "forgotten.json").exists()


def test_users_come_from_options_and_files(tmp_path: Path) -> None:
    path = tmp_path / "users.csv"
    path.write_text("name,user_id\nA, 7.0\nB,8\n")
    assert read_users(["9"], path) == ["9", "7", "8"]
    path.write_text("7\n8\n\n")
    assert read_users([], path) == ["7", "8"]


def test_figures_of_other_users_stay(tmp_path: Path) -> None:
    path = tmp_path / "night.json"
    path.write_text(json.dumps({"user: u1": 1, "user: u12": 2, "text": "user: u1, user: u12", "id": "u1"}))
    rewrite = UserRows(["u1"]).find_rewrite(path)
    assert rewrite is not None
    rewrite(path)
    assert json.loads(path.read_text()) == {"user: u12": 2, "text": "user: forgotten, user: u12", "id": "u1"}


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, trained: Trained) -> Config:
    """A dataset of 40 users with pseudonyms; one row is bad."""
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    monkeypatch.setenv(KEY, SECRET)
    (tmp_path / "items.csv").write_text("item_id,title\n1,One\n2,Two\n")
    rows = [f"person-{n},{1 + n % 2},2025-01-0{1 + n % 9}" for n in range(40)]
    (tmp_path / "events.csv").write_text("\n".join(["user_id,item_id,time", *rows, "person-1,77,2025-01-01"]) + "\n")
    dataset = {
        "pseudonyms": True,
        "items": {"path": "items.csv"},
        "interactions": {"path": "events.csv", "columns": {"time": "time"}},
    }
    return Config.model_validate({**trained.config.model_dump(exclude_unset=True), "dataset": dataset})


def test_pseudonyms_leave_no_id_in_the_home(small: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = tmp_path / "home"
    identity, _ = run_ingest(small, home, NOW)
    assert find_holders(home, "person-") == []
    folder = snapshot_folder(home, identity)
    users = pl.read_parquet((folder / "interactions.parquet").read_bytes())["user_id"].unique()
    assert pl.read_parquet((folder / "rejected.parquet").read_bytes())["rule"].to_list() == ["unknown_item"]
    assert run_ingest(small, home, NOW)[0] == identity
    # The mapping is for its owner alone, and names every user.
    with pytest.raises(ConfigError, match="inside RECSYS_HOME"):
        write_mapping(small, home, home / "map.csv")
    mapping = tmp_path / "map.csv"
    assert write_mapping(small, home, mapping) == 40
    assert stat.S_IMODE(mapping.stat().st_mode) == 0o600
    assert set(users) == set(pl.read_csv(mapping)["pseudonym"])
    # The raw id and the pseudonym name the same user; a pseudonym needs no key.
    pseudonym = Pseudonyms(SECRET).replace(pl.Series(["person-2"]))[0]
    with monkeypatch.context() as patch:
        patch.delenv(KEY)
        forget(small, home, [pseudonym], NOW.timestamp())
        with pytest.raises(ConfigError, match=KEY):
            forget(small, home, ["person-1"], NOW.timestamp())
    forget(small, home, ["person-1"], NOW.timestamp())
    run_ingest(small, home, NOW, "users were forgotten")
    left = pl.read_parquet((snapshot_folder(home, current(home)) / "interactions.parquet").read_bytes())["user_id"]
    assert left.n_unique() == 38
    # Another key would make other users of all of them.
    monkeypatch.setenv(KEY, SECRET + "x")
    with pytest.raises(Refused, match="rotate"):
        run_ingest(small, home, NOW)
    run_ingest(small, home, NOW, "new key")
    # Who was forgotten by the id stays forgotten; who was forgotten by the pseudonym has another one now.
    left = pl.read_parquet((snapshot_folder(home, current(home)) / "interactions.parquet").read_bytes())["user_id"]
    names = Pseudonyms(SECRET + "x").replace(pl.Series(["person-1", "person-2"]))
    assert names.is_in(left.implode()).to_list() == [False, True]


def current(home: Path) -> str:
    return current_snapshot_file(home, "mini").read_text().strip()
