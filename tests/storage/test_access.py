import grp
import os
import stat
from pathlib import Path

import pytest

from recsys.errors import ConfigError
from recsys.storage.access import (
    READERS_GROUP,
    copy_access,
    find_readable,
    follow_umask,
    keep_private,
    let_readers_in,
    make_home,
)
from recsys.storage.locks import lock


@pytest.fixture(params=[0o000, 0o022], ids=["umask 000", "umask 022"], autouse=True)
def _umask(request):
    before = os.umask(request.param)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def make_files(home: Path) -> None:
    for name in ("recommendations/run_date=2025-02-03/part-0.parquet", "monitoring/mini/metrics.txt", "users.parquet"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).touch()
    (home / "recommendations/run_date=2025-02-03/_sample").mkdir()


def test_a_new_home_is_private_and_an_existing_one_keeps_its_mode(tmp_path):
    with lock(tmp_path / "a" / "home", "training"):
        pass
    assert mode(tmp_path / "a" / "home") == 0o700
    assert mode(tmp_path / "a" / "home" / ".training.lock") == 0o600
    (tmp_path / "mounted").mkdir(mode=0o755)
    before = mode(tmp_path / "mounted")
    make_home(tmp_path / "mounted")
    assert mode(tmp_path / "mounted") == before


def test_files_are_private_whatever_the_umask(tmp_path):
    keep_private()
    make_files(tmp_path / "home")
    assert {mode(path) for path in (tmp_path / "home").rglob("*")} == {0o600, 0o700}
    assert not list(find_readable(tmp_path / "home"))


def test_what_other_accounts_can_read_is_found(tmp_path):
    home = tmp_path / "home"
    make_files(home)
    assert home / "users.parquet" in set(find_readable(home))
    home.chmod(0o700)
    assert not list(find_readable(home))
    home.chmod(0o710)
    (home / "monitoring").chmod(0o700)
    found = {path.relative_to(home).as_posix() for path in find_readable(home)}
    assert "users.parquet" in found
    assert not any(name.startswith("monitoring/") for name in found)


def test_a_group_reads_the_lists_and_nothing_else(tmp_path, monkeypatch):
    keep_private()
    home = tmp_path / "home"
    make_files(home)
    lists = home / "recommendations/run_date=2025-02-03"
    let_readers_in(home, lists)
    assert mode(home) == mode(lists) == 0o700
    monkeypatch.setenv(READERS_GROUP, grp.getgrgid(os.getgid()).gr_name)
    let_readers_in(home, lists)
    let_readers_in(home, home / "monitoring/mini/metrics.txt")
    assert {path.relative_to(home).as_posix(): f"{mode(path):o}" for path in home.rglob("*")} == {
        "recommendations": "710",
        "recommendations/run_date=2025-02-03": "750",
        "recommendations/run_date=2025-02-03/part-0.parquet": "640",
        "recommendations/run_date=2025-02-03/_sample": "700",
        "monitoring": "710",
        "monitoring/mini": "710",
        "monitoring/mini/metrics.txt": "640",
        "users.parquet": "600",
    }
    assert mode(home) == 0o710
    assert not list(find_readable(home))


def test_an_unknown_group_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv(READERS_GROUP, "nobody-knows-it")
    with pytest.raises(ConfigError, match=r"RECSYS_READERS_GROUP=nobody-knows-it: .*the group does not exist"):
        let_readers_in(tmp_path, tmp_path)


def test_copies_follow_the_umask_and_replacements_their_originals(tmp_path):
    folder = tmp_path / "code"
    folder.mkdir()
    (folder / "a.py").touch()
    (folder / "link").symlink_to("nowhere")
    folder.chmod(0o755)
    (folder / "a.py").chmod(0o644)
    keep_private()
    follow_umask(folder)
    assert (mode(folder), mode(folder / "a.py")) == (0o700, 0o600)
    (tmp_path / "old").touch()
    (tmp_path / "old").chmod(0o640)
    copy_access(tmp_path / "old", folder / "a.py")
    assert mode(folder / "a.py") == 0o640
