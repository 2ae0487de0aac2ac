import shutil
from pathlib import Path

from recsys.storage.identity import identify_home


def make_home(path: Path) -> Path:
    path.mkdir()
    return path


def test_a_moved_home_keeps_its_id_and_a_copy_gets_another(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home 家?")
    identity = identify_home(home)
    assert identify_home(home) == identity
    copy = shutil.copytree(home, tmp_path / "copy")
    assert identify_home(copy) not in ("", identity)
    assert identify_home(copy) == identify_home(copy)
    home.rename(tmp_path / "moved")
    assert identify_home(tmp_path / "moved") == identity
    assert identify_home(tmp_path / "moved") == identity


def test_a_damaged_file_is_replaced(tmp_path: Path) -> None:
    identity = identify_home(make_home(tmp_path / "home"))
    (tmp_path / "home" / ".identity.json").write_text('{"id": ')
    again = identify_home(tmp_path / "home")
    assert again != identity
    assert identify_home(tmp_path / "home") == again
