import os
from pathlib import Path

from faults import put

from recsys.storage.folders import write_folder
from recsys.storage.removal import erase, find_foreign, find_last_change, find_leftovers, measure_freed, set_aside


def test_only_the_last_link_of_a_file_frees_its_bytes(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    (tmp_path / "a" / "large").write_bytes(b"x" * 1000)
    (tmp_path / "a" / "own").write_bytes(b"x" * 10)
    os.link(tmp_path / "a" / "large", tmp_path / "b" / "large")
    assert measure_freed([tmp_path / "a"]) == 10
    assert measure_freed([tmp_path / "b"]) == 0
    assert measure_freed([tmp_path / "a", tmp_path / "b"]) == 1010
    assert measure_freed([tmp_path / "a" / "own", tmp_path / "none"]) == 10


def test_links_are_deleted_and_what_they_name_stays(tmp_path: Path) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").touch()
    (tmp_path / "inside").mkdir()
    (tmp_path / "inside" / "link").symlink_to(tmp_path / "outside")
    (tmp_path / "link").symlink_to(tmp_path / "outside")
    assert measure_freed([tmp_path / "inside"]) < 200
    for name in ("inside", "link"):
        erase(set_aside(tmp_path / name))
    erase(tmp_path / "none")
    assert [path.name for path in tmp_path.iterdir()] == ["outside"]
    assert (tmp_path / "outside" / "file").exists()


def test_what_was_set_aside_is_a_leftover(tmp_path: Path) -> None:
    (tmp_path / "runs" / "a").mkdir(parents=True)
    (tmp_path / "runs" / "a" / "file").touch()
    path = set_aside(tmp_path / "runs" / "a")
    later = find_last_change(path) + 1
    assert find_leftovers(tmp_path, later) == [path]
    assert find_leftovers(tmp_path, later, [tmp_path / "runs"]) == []
    assert find_leftovers(tmp_path, later - 2) == []
    assert find_leftovers(tmp_path / "none", later) == []


def test_foreign_files_are_those_that_the_manifest_lacks(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", put(part="1"), {})
    assert find_foreign(tmp_path / "a") == []
    (tmp_path / "a" / "plots").mkdir()
    (tmp_path / "a" / "plots" / "mine.png").touch()
    (tmp_path / "a" / "link").symlink_to(tmp_path)
    assert find_foreign(tmp_path / "a") == ["link", "plots/mine.png"]
