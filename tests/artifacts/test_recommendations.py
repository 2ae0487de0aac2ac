from pathlib import Path

import polars as pl
import pytest
from faults import await_word, kill, put, start
from miniature import read_files

from recsys.artifacts.recommendations import (
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
            ArtifactError, match=r"lists of 'mini': .* holds those of 'shop'; choose another RECSYS_HOME"
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
