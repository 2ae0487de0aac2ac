"""A moved home works, and a copied home never touches the original's files."""

import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import read_files, settings
from mlflow_runs import log_run

from recsys.config import Config, parse_config
from recsys.errors import RegistryError
from recsys.registry.tracking import connect, open_run_folder
from recsys.registry.versions import BUNDLE, CHALLENGER, EVALUATION_MODEL, find_version, open_bundle, register
from recsys.storage.folders import write_folder


@pytest.fixture
def config() -> Config:
    return parse_config(settings(), "test")


@pytest.fixture
def home(new_home: Callable[[], Path], config: Config, tmp_path: Path) -> Path:
    """A home with a run and a version."""
    home = new_home()
    for part in (BUNDLE, EVALUATION_MODEL):
        write_folder(tmp_path / part, lambda folder: (folder / "家.txt").touch(), {})
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "table.txt").write_text("1")
    store = connect(home, config)
    run_id = log_run(store, config, tmp_path / "run")
    register(store, "recsys", run_id, tmp_path / BUNDLE, tmp_path / EVALUATION_MODEL, {})
    return home


def use(home: Path, config: Config, folder: Path) -> None:
    """Read and write everything that a home's store names."""
    store = connect(home, config)
    version = find_version(store, "recsys", CHALLENGER)
    assert version is not None
    with open_bundle(store, version, BUNDLE) as bundle:
        assert bundle.is_relative_to(home.resolve() / "mlartifacts")
        assert (bundle / "家.txt").is_file()
    with open_run_folder(store, version.run_id) as run:
        assert (run / "table.txt").read_text() == "1"
    run_id = log_run(store, config, folder)
    assert (home / "mlartifacts" / run_id / "artifacts" / "run" / "table.txt").is_file()


def test_a_copy_uses_its_own_files_only(home: Path, config: Config, tmp_path: Path) -> None:
    copy = shutil.copytree(home, tmp_path / "copy ?#%25 複製")
    before = read_files(home)
    use(copy, config, tmp_path / "run")
    assert read_files(home) == before
    with sqlite3.connect(copy / "mlflow.db") as store:
        dump = "\n".join(line for line in store.iterdump() if "mlartifacts" in line)
    assert home.as_uri() not in dump
    assert copy.as_uri() in dump
    # The original is not needed.
    shutil.rmtree(home)
    use(copy, config, tmp_path / "run")


def test_a_moved_home_works_and_says_so_once(
    home: Path, config: Config, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    moved = home.rename(tmp_path / "moved")
    with caplog.at_level("INFO"):
        use(moved, config, tmp_path / "run")
        use(moved, config, tmp_path / "run")
    assert caplog.text.count("was moved or copied from file://") == 1


def test_another_path_to_the_same_home_changes_nothing(home: Path, config: Config, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(home)
    before = (home / "mlflow.db").read_bytes()
    connect(link, config)
    assert (home / "mlflow.db").read_bytes() == before


@pytest.mark.skipif(os.getuid() == 0, reason="the superuser may write everything")
def test_a_moved_home_that_cannot_be_written(home: Path, config: Config, tmp_path: Path) -> None:
    moved = home.rename(tmp_path / "moved")
    (moved / "mlflow.db").chmod(0o444)
    with pytest.raises(RegistryError, match="was moved or copied, so its MLflow store refers to the old folder"):
        connect(moved, config)
