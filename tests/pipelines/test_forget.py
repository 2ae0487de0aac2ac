"""Forgetting leaves no trace of a user in any file, whatever its form, and the home still works."""

import gzip
import json
import sqlite3
import stat
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from miniature import NOW, RUN_DATE, Trained, change, read_lists

from recsys.artifacts.store_output import find_store_run_date
from recsys.artifacts.user_rows import UserRows
from recsys.config import Config
from recsys.dataset.pseudonyms import KEY, Pseudonyms
from recsys.errors import ConfigError, Refused
from recsys.pipelines.forget import forget, read_users
from recsys.pipelines.generate import generate
from recsys.pipelines.ingest import run_ingest
from recsys.pipelines.monitor import monitor
from recsys.pipelines.pseudonyms import write_mapping
from recsys.storage.folders import MANIFEST, verify_folder
from recsys.storage.home import current_snapshot_file, snapshot_folder
from recsys.storage.locks import LockedError, lock

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


def hold(path: Path, user: str) -> bool:
    """Return whether a file holds a user, in whatever form."""
    raw = path.read_bytes()
    if user.encode() in raw:
        return True
    if path.suffix == ".parquet":
        frame = pl.read_parquet(raw)
        texts = [frame[name].cast(pl.String) for name, kind in frame.schema.items() if kind == pl.String]
        texts += [frame[name].explode() for name, kind in frame.schema.items() if kind == pl.List(pl.String)]
        return any(series.str.contains(user, literal=True).any() for series in texts)
    if raw[:2] == b"\x1f\x8b":
        return user.encode() in gzip.decompress(raw)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            return any(user.encode() in archive.read(name) for name in archive.namelist())
    if path.suffix == ".npy":
        array = np.load(path, allow_pickle=False)
        return array.dtype.kind in "US" and bool((array == user).any())
    if raw[:6] == b"SQLite":
        with sqlite3.connect(path) as database:
            return any(user in line for line in database.iterdump())
    return False


def find_holders(home: Path, user: str) -> list[str]:
    return sorted(str(path.relative_to(home)) for path in home.rglob("*") if path.is_file() and hold(path, user))


def check_manifests(home: Path) -> None:
    for path in home.rglob(MANIFEST):
        if "shared" not in json.loads(path.read_text()):
            verify_folder(path.parent, "")


def choose_user(home: Path) -> str:
    """Return a user with a list and with measured metrics."""
    lists = read_lists(home, RUN_DATE)["user_id"]
    (metrics,) = (home / "runs").glob("*/user_metrics.parquet")
    return str(pl.read_parquet(metrics.read_bytes()).filter(pl.col("user_id").is_in(lists.implode()))["user_id"].min())


@pytest.mark.usefixtures("raw_in_place")
def test_nothing_of_a_user_is_left(trained: Trained, trained_copy: Path, tmp_path: Path) -> None:
    home, user = trained_copy, choose_user(trained_copy)
    # Where other machines read the lists.
    shared = tmp_path / "shared"
    shared.mkdir()
    config = change(trained.config, generation={"outputs": ["jsonl", "csv"], "publish_to": str(shared)})
    for run_date in (RUN_DATE, "2025-02-04"):
        generate(config, home, run_date, NOW)
        monitor(config, home, run_date, NOW)
    (home / "reports").mkdir(exist_ok=True)
    (home / "reports" / "old.html").write_text(f"<td>{user}</td>")
    (home / "monitoring" / "mini" / "metrics.txt").write_text(f'a{{segment="user: {user}"}} 1\nb 2\n')
    leftover = home / "recommendations" / f".run_date=2025-01-01.{'0' * 32}.tmp"
    leftover.mkdir()
    (leftover / "part.txt").write_text(user)
    assert len(find_holders(home, user)) > 8
    assert len({path.split("/")[0] for path in find_holders(shared, user)}) == 2
    rows = read_lists(home, RUN_DATE).height
    # A kill in the middle, right before a folder is exchanged.
    killed = subprocess.run([sys.executable, "-c", KILLED, str(home), user, config.model_dump_json(exclude_unset=True)])
    assert killed.returncode == -9
    assert find_holders(home, user)
    dry = forget(config, home, [user], NOW.timestamp(), dry_run=True)
    assert sum(one.name.startswith(str(shared)) for one in dry.removed) == 2
    assert find_holders(home, user)
    made = forget(config, home, [user], NOW.timestamp())
    assert find_holders(home, user) == []
    assert find_holders(shared, user) == []
    assert find_store_run_date(str(shared)) == "2025-02-04"
    assert made.left == []
    assert any(line.startswith("version 1") for line in made.bundles)
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
    assert json.loads(path.read_text()) == {"user: u12": 2, "text": "user: forgotten, user: u12", "id": "forgotten"}


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
    # The raw id and the pseudonym name the same user.
    forget(small, home, ["person-1", Pseudonyms(SECRET).replace(pl.Series(["person-2"]))[0]], NOW.timestamp())
    run_ingest(small, home, NOW, "users were forgotten")
    left = pl.read_parquet((snapshot_folder(home, current(home)) / "interactions.parquet").read_bytes())["user_id"]
    assert left.n_unique() == 38
    # Another key would make other users of all of them.
    monkeypatch.setenv(KEY, SECRET + "x")
    with pytest.raises(Refused, match="rotate"):
        run_ingest(small, home, NOW)
    run_ingest(small, home, NOW, "new key")


def current(home: Path) -> str:
    return current_snapshot_file(home, "mini").read_text().strip()
