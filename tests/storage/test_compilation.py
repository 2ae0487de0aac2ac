"""Where machine code is kept, and that a folder that someone else could write to is not used."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from recsys.storage import compilation


@pytest.fixture
def read_only(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Path]:
    """An installation that cannot be written, with an existing RECSYS_HOME."""
    can_write = compilation._can_write
    refuse = lambda folder, **options: folder != compilation._PACKAGE and can_write(folder, **options)  # noqa: E731
    monkeypatch.setattr(compilation, "_can_write", refuse)
    monkeypatch.setattr(compilation._numba_config, "CACHE_DIR", "")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    home = tmp_path / "home"
    home.mkdir()
    monkeypatch.setenv("RECSYS_HOME", str(home))
    compilation.find_folder.cache_clear()
    yield home
    compilation.find_folder.cache_clear()


def test_a_private_folder_in_the_home_comes_first(read_only: Path) -> None:
    assert compilation.find_folder() == str(read_only / "compiled")
    assert (read_only / "compiled").stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("fault", ["open", "open home", "link", "file", "no home"])
def test_a_folder_that_is_not_private_is_passed_over(read_only: Path, tmp_path: Path, fault: str) -> None:
    folder = read_only / "compiled"
    if fault == "open":
        folder.mkdir()
        folder.chmod(0o770)
    elif fault == "open home":
        read_only.chmod(0o777)
    elif fault == "link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        folder.symlink_to(tmp_path / "elsewhere")
    elif fault == "file":
        folder.write_text("")
    else:
        read_only.rmdir()
    assert compilation.find_folder() == str(tmp_path / f"recsys-compiled-{os.geteuid()}")


def test_a_folder_of_another_user_is_passed_over(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (read_only / "compiled").mkdir(mode=0o700)
    user = os.geteuid()
    monkeypatch.setattr(os, "geteuid", lambda: user + 1)
    assert compilation.find_folder() is None
    with pytest.raises(FileNotFoundError, match="set NUMBA_CACHE_DIR"):
        compilation.describe_folder()


def test_the_folder_of_the_environment_is_taken(read_only: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation._numba_config, "CACHE_DIR", str(read_only / "own"))
    assert compilation.find_folder() == str(read_only / "own")


def test_the_first_process_compiles_and_says_so_and_the_second_loads(tmp_path: Path) -> None:
    """Without a home folder and with files in place of `__pycache__`, which not even root can write into."""
    site = tmp_path / "site"
    shutil.copytree(
        Path(compilation.__file__).parents[1], site / "recsys", ignore=shutil.ignore_patterns("__pycache__")
    )
    for folder in [site / "recsys", *(path for path in (site / "recsys").rglob("*") if path.is_dir())]:
        (folder / "__pycache__").write_text("")
    home = tmp_path / "data"
    home.mkdir()
    code = """
import logging, numpy as np
logging.basicConfig(level=logging.INFO)
from recsys.storage import compilation
real = compilation._can_write
compilation._can_write = lambda folder, **given: folder != compilation._PACKAGE and real(folder, **given)
from recsys.candidates.marks import mark_all
mark_all(np.zeros(5, np.int32), 0, np.array([0, 2]), np.array([1, 2], np.int32))
compilation.log_compilations()
print(compilation.describe_folder())
"""
    env = {**os.environ, "PYTHONPATH": str(site), "HOME": "/proc/nohome", "RECSYS_HOME": str(home)}
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        env.pop(name, None)

    def run() -> tuple[str, str]:
        done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout, done.stderr

    out, log = run()
    assert out == f"{home / 'compiled'}: 1 function\n"
    assert "compiling, which takes some seconds" in log
    assert "compiled loops: 1 function in" in log
    assert run()[1] == ""


def test_loops_run_without_compiling_where_numba_is_switched_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compilation._numba_config, "DISABLE_JIT", 1)

    @compilation.compiled()
    def double(number: int) -> int:
        return 2 * number

    assert double(3) == 6
    assert not hasattr(double, "signatures")
