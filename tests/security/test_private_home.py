"""The first command in a new home under open umasks: nothing that it writes may be readable for another account."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from miniature import settings


def run(home: Path, raw: Path, config: Path, umask: int, *command: str) -> None:
    code = f"import os; os.umask({umask}); from recsys.cli.app import main; main()"
    environment = {**os.environ, "RECSYS_HOME": str(home), "RECSYS_DATA": str(raw)}
    made = subprocess.run(
        [sys.executable, "-c", code, *command, "--config", str(config)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert made.returncode in (0, 3, 4), made.stderr


def open_paths(home: Path) -> dict[str, str]:
    """Return everything in a home, itself included, with a mode for group or others."""
    paths = {path.relative_to(home.parent).as_posix(): path.lstat().st_mode for path in (home, *home.rglob("*"))}
    return {name: f"{stat.S_IMODE(mode):o}" for name, mode in paths.items() if mode & 0o077}


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "mini.yaml"
    path.write_text(yaml.safe_dump(settings()))
    return path


@pytest.mark.parametrize("umask", [0o000, 0o022], ids=["umask 000", "umask 022"])
def test_a_new_home_is_private(tmp_path, raw, config, umask):
    run(tmp_path / "home", raw, config, umask, "--log-file", str(tmp_path / "home.log"), "ingest")
    assert (tmp_path / "home" / "snapshots").is_dir()
    assert open_paths(tmp_path / "home") == {}
    assert stat.S_IMODE((tmp_path / "home.log").stat().st_mode) == 0o600
