"""Lists that another version replaced: which are kept, how they serve again, and what a kill leaves."""

from pathlib import Path

import pytest
from faults import await_word, kill, put, start
from miniature import read_files

from recsys.artifacts.recommendations import prune_published, publish, read_pointer
from recsys.artifacts.replaced_lists import find_kept, republish
from recsys.errors import ArtifactError
from recsys.storage.folders import verify_folder
from recsys.storage.home import list_folder, replaced_lists_folder

DAY = "2025-02-01"


def publish_night(
    home: Path, version: str, text: str = "", *, day: str = DAY, model: str = "shop", **facts: str
) -> None:
    """Publish lists of a version whose one file names it, or has the given text."""
    every = {"model": model, "model_version": version, **facts}
    publish(home, "mini", day, put(part=text or f"lists of {version}"), every)


def read_part(home: Path, day: str = DAY) -> str:
    return (list_folder(home, day) / "part").read_text()


def test_lists_of_other_versions_are_kept(tmp_path: Path) -> None:
    for version in ("1", "2", "3"):
        publish_night(tmp_path, version)
    assert find_kept(tmp_path, DAY) == ["1", "2"]
    assert find_kept(tmp_path, "2025-02-02") == []
    assert read_part(tmp_path) == "lists of 3"
    # The newest of each version.
    publish_night(tmp_path, "1", "newer lists of 1")
    publish_night(tmp_path, "3")
    assert find_kept(tmp_path, DAY) == ["1", "2", "3"]
    assert (replaced_lists_folder(tmp_path, DAY, "1") / "part").read_text() == "newer lists of 1"


def test_lists_of_the_same_version_and_of_a_canary_are_not_kept(tmp_path: Path) -> None:
    publish_night(tmp_path, "1")
    publish_night(tmp_path, "1", "other settings")
    assert find_kept(tmp_path, DAY) == []
    # The champion's lists for all users are, where its lists for some replace them.
    publish_night(tmp_path, "1", "with a canary", canary="2")
    assert find_kept(tmp_path, DAY) == ["1"]
    publish_night(tmp_path, "2")
    assert (replaced_lists_folder(tmp_path, DAY, "1") / "part").read_text() == "other settings"


def test_they_serve_again_with_the_same_bytes(tmp_path: Path) -> None:
    publish_night(tmp_path, "1")
    first = read_files(list_folder(tmp_path, DAY))
    publish_night(tmp_path, "2")
    second = read_files(list_folder(tmp_path, DAY))
    assert republish(tmp_path, DAY, "1")
    assert read_files(list_folder(tmp_path, DAY)) == first
    assert find_kept(tmp_path, DAY) == ["2"]
    # They are published already.
    assert republish(tmp_path, DAY, "1")
    assert republish(tmp_path, DAY, "2")
    assert read_files(list_folder(tmp_path, DAY)) == second
    assert find_kept(tmp_path, DAY) == ["1"]
    assert not republish(tmp_path, DAY, "3")
    assert not republish(tmp_path, "2025-03-01", "1")
    assert read_pointer(tmp_path) == DAY


def test_lists_of_another_model_with_the_same_number_do_not(tmp_path: Path) -> None:
    publish_night(tmp_path, "1", model="old shop")
    publish_night(tmp_path, "2")
    assert find_kept(tmp_path, DAY) == ["1"]
    assert not republish(tmp_path, DAY, "1")
    assert read_part(tmp_path) == "lists of 2"


def test_damaged_lists_do_not_serve_again(tmp_path: Path) -> None:
    publish_night(tmp_path, "1")
    publish_night(tmp_path, "2")
    kept = replaced_lists_folder(tmp_path, DAY, "1")
    (kept / "part").unlink()
    (kept / "part").write_text("changed")
    before = read_files(tmp_path)
    with pytest.raises(
        ArtifactError, match=rf"part is changed; the published lists are unchanged; delete {kept}, then run 'recsys gen"
    ):
        republish(tmp_path, DAY, "1")
    assert read_files(tmp_path) == before


def test_damaged_lists_are_replaced_and_not_kept(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    publish_night(tmp_path, "1")
    (list_folder(tmp_path, DAY) / "part").write_text("changed")
    publish_night(tmp_path, "2")
    assert "lists of version 1 for 2025-02-01: " in caplog.text
    assert "part is changed; they are not kept" in caplog.text
    assert find_kept(tmp_path, DAY) == []
    assert read_part(tmp_path) == "lists of 2"


def test_they_are_pruned_with_their_run_date(tmp_path: Path) -> None:
    for day in ("2025-02-01", "2025-02-02", "2025-02-03"):
        for version in ("1", "2"):
            publish_night(tmp_path, version, day=day)
    assert prune_published(tmp_path, 2) == ["2025-02-01"]
    kept = [day for day in ("2025-02-01", "2025-02-02", "2025-02-03") if find_kept(tmp_path, day)]
    assert kept == ["2025-02-02", "2025-02-03"]
    assert not replaced_lists_folder(tmp_path, "2025-02-01", "1").parent.exists()


@pytest.mark.parametrize(
    ("step", "published"), [("keep_replaced", False), ("link_folder", False), ("remove_folder", True)]
)
def test_killed_at_any_step_it_can_be_done_again(step: str, published: bool, tmp_path: Path) -> None:
    publish_night(tmp_path, "1")
    first = read_files(list_folder(tmp_path, DAY))
    publish_night(tmp_path, "2")
    second = read_files(list_folder(tmp_path, DAY))
    code = """
        import sys, time
        from pathlib import Path
        from recsys.artifacts import replaced_lists

        def stop(*_):
            print("here", flush=True)
            time.sleep(60)

        home, day, step = sys.argv[1:]
        setattr(replaced_lists, step, stop)
        replaced_lists.republish(Path(home), day, "1")
    """
    process = start(code, tmp_path, DAY, step)
    await_word(process, "here")
    kill(process)
    assert read_files(list_folder(tmp_path, DAY)) == (first if published else second)
    verify_folder(list_folder(tmp_path, DAY), "")
    assert republish(tmp_path, DAY, "1")
    assert read_files(list_folder(tmp_path, DAY)) == first
    assert republish(tmp_path, DAY, "2")
    assert read_files(list_folder(tmp_path, DAY)) == second
    publish_night(tmp_path, "3")
    assert not list(tmp_path.rglob("*.tmp"))
