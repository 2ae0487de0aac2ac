from pathlib import Path
from shutil import copytree, rmtree

import polars as pl
import pytest
from faults import await_word, kill, put, start
from miniature import read_files

from recsys.artifacts.recommendations import (
    find_followed,
    find_published,
    point_at,
    prune_published,
    publish,
    read_pointer,
    write_outputs,
)
from recsys.errors import ArtifactError
from recsys.storage.folders import read_manifest
from recsys.storage.home import shards_folder


def publish_night(home: Path, run_date: str, text: str = "lists") -> None:
    publish(home, "mini", run_date, put(part=text), {"n": 1})


class TestPublished:
    def test_readers_follow_the_pointer(self, tmp_path: Path) -> None:
        assert read_pointer(tmp_path) is None
        assert find_published(tmp_path) == []
        publish_night(tmp_path, "2025-01-31")
        assert (tmp_path / "recommendations/CURRENT").read_text() == "run_date=2025-01-31\n"
        publish_night(tmp_path, "2025-02-01")
        assert read_pointer(tmp_path) == "2025-02-01"
        assert find_published(tmp_path) == ["2025-01-31", "2025-02-01"]
        manifest = read_manifest(tmp_path / "recommendations/run_date=2025-01-31", "")
        assert {**manifest, "files": set(manifest["files"])} == {
            "kind": "recommendations",
            "name": "mini",
            "run_date": "2025-01-31",
            "n": 1,
            "files": {"part"},
        }

    def test_an_older_night_is_published_but_readers_keep_theirs(self, tmp_path: Path) -> None:
        assert publish(tmp_path, "mini", "2025-02-01", put(part="a"), {})
        assert not publish(tmp_path, "mini", "2025-01-31", put(part="b"), {})
        assert publish(tmp_path, "mini", "2025-02-01", put(part="c"), {})
        assert find_published(tmp_path) == ["2025-01-31", "2025-02-01"]
        assert read_pointer(tmp_path) == "2025-02-01"

    def test_a_home_publishes_the_lists_of_one_config(self, tmp_path: Path) -> None:
        publish(tmp_path, "shop", "2025-02-01", put(part="a"), {})
        with pytest.raises(
            ArtifactError, match=r"lists of 'mini': .* already holds the lists of 'shop'; choose another RECSYS_HOME"
        ):
            publish(tmp_path, "mini", "2025-02-02", put(part="b"), {})
        assert find_published(tmp_path) == ["2025-02-01"]

    def test_the_pointer_never_names_damaged_lists(self, tmp_path: Path) -> None:
        publish_night(tmp_path, "2025-01-31")
        publish_night(tmp_path, "2025-02-01")
        (tmp_path / "recommendations/run_date=2025-01-31/part").write_text("changed")
        for date in ("2025-01-31", "2025-03-01"):
            with pytest.raises(ArtifactError, match=rf"run 'recsys generate --run-date {date}'"):
                point_at(tmp_path, date)
        assert read_pointer(tmp_path) == "2025-02-01"

    def test_pruning_keeps_the_newest_and_the_one_that_readers_follow(self, tmp_path: Path) -> None:
        for day in (5, 1, 2, 3, 4):
            publish_night(tmp_path, f"2025-01-0{day}")
        point_at(tmp_path, "2025-01-01")
        assert prune_published(tmp_path, 2) == ["2025-01-02", "2025-01-03"]
        assert find_published(tmp_path) == ["2025-01-01", "2025-01-04", "2025-01-05"]
        assert prune_published(tmp_path, 2) == []
        assert read_pointer(tmp_path) == "2025-01-01"


class TestPointer:
    """What is not trusted is repaired by the next night; what is trusted stays."""

    @pytest.mark.parametrize(
        "content", [b"", b"\xff\xfe\x00", "run_date=2025-01-31\n".encode("utf-16"), b"run_date=backup\n", b"../run\n"]
    )
    def test_garbage_is_an_error_for_readers_and_repaired_by_the_next_night(
        self, content: bytes, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        publish_night(tmp_path, "2025-01-31")
        (tmp_path / "recommendations/CURRENT").write_bytes(content)
        with pytest.raises(ArtifactError, match=r"CURRENT: .*the next good night of 'recsys generate' repairs it, or"):
            read_pointer(tmp_path)
        assert find_followed(tmp_path).run_date is None
        assert publish(tmp_path, "mini", "2025-02-01", put(part="a"), {})
        assert read_pointer(tmp_path) == "2025-02-01"
        assert "pointer repaired; readers now follow 2025-02-01: file" in caplog.text

    @pytest.mark.parametrize("fault", ["deleted", "changed", "no manifest"])
    def test_a_later_run_date_whose_lists_are_not_whole(self, fault: str, tmp_path: Path) -> None:
        publish_night(tmp_path, "2025-02-05")
        folder = tmp_path / "recommendations/run_date=2025-02-05"
        if fault == "deleted":
            rmtree(folder)
        elif fault == "changed":
            (folder / "part").write_text("changed")
        else:
            (folder / "manifest.json").unlink()
        assert publish(tmp_path, "mini", "2025-02-01", put(part="a"), {})
        assert read_pointer(tmp_path) == "2025-02-01"

    def test_a_run_date_in_the_future(self, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
        publish_night(tmp_path, "2052-02-05")
        # Without a last plausible date, as in a simulation, it is trusted.
        assert not publish(tmp_path, "mini", "2025-02-01", put(part="a"), {})
        assert publish(tmp_path, "mini", "2025-02-02", put(part="a"), {}, latest="2025-02-03")
        assert read_pointer(tmp_path) == "2025-02-02"
        assert "readers followed run date 2052-02-05, which is in the future (later than 2025-02-03)" in caplog.text
        assert find_published(tmp_path)[-1] == "2052-02-05"

    def test_a_backfill_repairs_the_pointer_to_the_newest_whole_night(self, tmp_path: Path) -> None:
        for day in (2, 4, 5, 6):
            publish_night(tmp_path, f"2025-01-0{day}")
        for day in (5, 6):
            (tmp_path / f"recommendations/run_date=2025-01-0{day}/part").write_text("changed")
        assert not publish(tmp_path, "mini", "2025-01-03", put(part="a"), {})
        assert read_pointer(tmp_path) == "2025-01-04"

    def test_a_night_that_should_not_be_followed(self, tmp_path: Path) -> None:
        publish_night(tmp_path, "2025-02-01")
        assert not publish(tmp_path, "mini", "2025-02-02", put(part="a"), {}, follow=False)
        assert read_pointer(tmp_path) == "2025-02-01"
        assert find_published(tmp_path) == ["2025-02-01", "2025-02-02"]

    def test_another_config_cannot_take_the_home_over_where_the_pointer_is_damaged(self, tmp_path: Path) -> None:
        publish(tmp_path, "shop", "2025-02-01", put(part="a"), {})
        (tmp_path / "recommendations/CURRENT").write_bytes(b"\xff")
        with pytest.raises(ArtifactError, match="already holds the lists of 'shop'"):
            publish_night(tmp_path, "2025-02-02")


def test_folders_that_are_no_run_dates_never_count(tmp_path: Path) -> None:
    for day in (1, 2, 3):
        publish_night(tmp_path, f"2025-01-0{day}")
    folder = tmp_path / "recommendations"
    for name in ("backup", "2025-13-40", "2025-1-5", "9999-99-99"):
        copytree(folder / "run_date=2025-01-01", folder / f"run_date={name}")
    assert find_published(tmp_path) == ["2025-01-01", "2025-01-02", "2025-01-03"]
    assert prune_published(tmp_path, 2) == ["2025-01-01"]
    assert (folder / "run_date=backup/part").is_file()


class TestKilled:
    @pytest.mark.parametrize("moment", ["between two parts", "before the pointer"])
    def test_readers_keep_last_nights_lists(self, moment: str, tmp_path: Path) -> None:
        publish_night(tmp_path, "2025-01-31", "last night")
        before = read_files(tmp_path)
        code = """
            import sys, time
            from pathlib import Path
            from recsys.artifacts import recommendations

            def stop(*_):
                print("here", flush=True)
                time.sleep(60)

            def fill(folder):
                (folder / "part-0").write_text("tonight")
                if sys.argv[2] == "between two parts":
                    stop()

            recommendations.point_at = stop
            recommendations.publish(Path(sys.argv[1]), "mini", "2025-02-01", fill, {})
        """
        process = start(code, tmp_path, Path(moment))
        await_word(process, "here")
        kill(process)
        assert read_pointer(tmp_path) == "2025-01-31"
        after = read_files(tmp_path)
        assert {name: after[name] for name in before} == before
        assert find_published(tmp_path) == ["2025-01-31"] + ["2025-02-01"] * (moment == "before the pointer")
        # The same job again; it also deletes what the killed process left.
        publish_night(tmp_path, "2025-02-01", "tonight, complete")
        assert not list(tmp_path.rglob("*.tmp"))
        assert read_pointer(tmp_path) == "2025-02-01"
        assert (tmp_path / "recommendations/run_date=2025-02-01/part").read_text() == "tonight, complete"


def test_outputs_of_a_folder_whose_name_is_a_pattern(tmp_path: Path) -> None:
    for name, item in (("team p", "neighbour"), ("team [prod]", "i")):
        (tmp_path / name).mkdir()
        pl.DataFrame({"item_id": [item], "sources": [["als", "text"]]}).write_parquet(
            tmp_path / name / "part-00000.parquet"
        )
    write_outputs(tmp_path / "team [prod]", ["jsonl", "csv"])
    assert (tmp_path / "team [prod]/lists.jsonl").read_text() == '{"item_id":"i","sources":["als","text"]}\n'
    assert (tmp_path / "team [prod]/lists.csv").read_text() == "item_id,sources\ni,als|text\n"


def test_shards_of_nights_that_will_not_be_published_are_pruned(tmp_path: Path) -> None:
    for day in (2, 3, 4):
        publish_night(tmp_path, f"2025-01-0{day}")
    for day in (1, 2, 3, 5):
        shards_folder(tmp_path, f"2025-01-0{day}").mkdir()
    assert prune_published(tmp_path, 2) == ["2025-01-02"]
    kept = [shards_folder(tmp_path, f"2025-01-0{day}").is_dir() for day in (1, 2, 3, 5)]
    assert kept == [False, False, True, True]
