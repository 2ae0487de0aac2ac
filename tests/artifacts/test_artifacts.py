import json
import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from miniature import read_files
from worlds import make_interactions, make_items

from recsys.artifacts.recommendations import find_published, point_at, prune_published, publish, read_pointer
from recsys.artifacts.snapshots import read_snapshot, write_snapshot
from recsys.errors import ArtifactError, DataError
from recsys.storage import files
from recsys.storage.files import hash_file, read_table, replace_text, write_table
from recsys.storage.folders import read_manifest, scratch_folder, verify_folder, write_folder
from recsys.storage.locks import lock
from recsys.tables import Items, Rejected, empty

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


def put(**files: str) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        for name, text in files.items():
            (folder / name).write_text(text, encoding="utf-8")

    return fill


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", place], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs the right to mount")
    yield place
    subprocess.run(["umount", place], check=True)


class TestFolder:
    def test_holds_the_files_and_a_manifest_of_their_hashes(self, tmp_path: Path) -> None:
        def fill(folder: Path) -> None:
            (folder / "deep/er").mkdir(parents=True)
            put(a="abc", 家="")(folder)
            (folder / "deep/er/b").write_text("abc")

        manifest = write_folder(tmp_path / "new/one", fill, {"kind": "test"})
        assert manifest == read_manifest(tmp_path / "new/one", "") == verify_folder(tmp_path / "new/one", "")
        assert manifest["kind"] == "test"
        assert manifest["files"]["a"] == manifest["files"]["deep/er/b"] == ABC
        assert set(manifest["files"]) == {"a", "deep/er/b", "家"}

    def test_a_folder_that_is_there_is_exchanged(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "one", put(a="old", b="old"), {})
        write_folder(tmp_path / "one", put(a="new"), {})
        assert (tmp_path / "one/a").read_text() == "new"
        assert not (tmp_path / "one/b").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["one"]

    def test_is_exchanged_without_the_system_call_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(files.ctypes, "CDLL", lambda *_, **__: object())
        self.test_a_folder_that_is_there_is_exchanged(tmp_path)

    @pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a bug"), KeyboardInterrupt()])
    def test_an_interrupted_fill_leaves_the_old_one(self, error: BaseException, tmp_path: Path) -> None:
        def fill(folder: Path) -> None:
            put(a="new")(folder)
            raise error

        write_folder(tmp_path / "one", put(a="old"), {})
        before = read_files(tmp_path)
        with pytest.raises(ArtifactError if isinstance(error, OSError) else type(error)) as caught:
            write_folder(tmp_path / "one", fill, {})
        assert read_files(tmp_path) == before
        if isinstance(error, OSError):
            assert "Input/output error" in str(caught.value)
            assert "nothing was replaced" in str(caught.value)

    @pytest.mark.parametrize("how", ["plain", "parquet", "parquet footer", "safetensors", "trees"])
    def test_a_full_disk_leaves_the_old_one(self, how: str, small_disk: Path) -> None:
        write_folder(small_disk / "one", put(a="old"), {})
        before = read_files(small_disk)
        with pytest.raises(ArtifactError, match=r"one: cannot be written.*free some space"):
            write_folder(small_disk / "one", lambda folder: fill_disk(folder, how), {})
        assert read_files(small_disk) == before

    def test_a_home_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for write in (
            lambda: write_folder(tmp_path / "file/runs/one", put(a="x"), {}),
            lambda: replace_text(tmp_path / "file/pointer", "x"),
            lambda: lock(tmp_path / "file", "generation").__enter__(),
        ):
            with pytest.raises(ArtifactError, match="choose another RECSYS_HOME"):
                write()

    def test_every_difference_is_named(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "one", put(a="abc", b="abc", c="abc"), {})
        (tmp_path / "one/a").write_text("abd")
        (tmp_path / "one/b").unlink()
        (tmp_path / "one/d").touch()
        with pytest.raises(ArtifactError, match=r"a is changed; b is missing; d is new; train again"):
            verify_folder(tmp_path / "one", "train again")

    @pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"files": 3}', "\0"])
    def test_a_manifest_that_is_none(self, text: str | None, tmp_path: Path) -> None:
        if text is not None:
            (tmp_path / "manifest.json").write_text(text)
        with pytest.raises(ArtifactError, match=rf"{tmp_path}: .*manifest\.json.*train again"):
            verify_folder(tmp_path, "train again")


def fill_disk(folder: Path, how: str) -> None:
    import numpy as np
    from safetensors.numpy import save_file

    noise = np.random.default_rng(0).random(100_000)
    if how == "plain":
        (folder / "a").write_bytes(noise.tobytes())
    elif how == "parquet":
        pl.DataFrame({"a": noise}).write_parquet(folder / "a")
    elif how == "parquet footer":
        # Mostly footer; polars says other words when the disk is full only then.
        pl.DataFrame({f"c{number}": [1.0] for number in range(1500)}).write_parquet(folder / "a")
    elif how == "safetensors":
        save_file({"a": noise}, folder / "a")
    else:
        save_trees(folder)


def save_trees(folder: Path) -> None:
    import lightgbm as lgb
    import numpy as np

    from recsys.ranking.blend import Blend
    from recsys.ranking.ranker import Ranker, Validation

    rng = np.random.default_rng(0)
    parameters = {"verbosity": -1, "num_leaves": 255, "min_data_in_leaf": 1, "num_threads": 1}
    booster = lgb.train(parameters, lgb.Dataset(rng.random((2000, 3)), rng.random(2000)), 30)
    Ranker(booster, Blend({"als": 1.0}), (), 0.5, Validation()).save(folder)


class TestTable:
    def test_comes_back(self, tmp_path: Path) -> None:
        items = make_items("a", "文")
        write_table(items, Items, tmp_path / "items.parquet", "items")
        assert read_table(tmp_path / "items.parquet", Items, "items", "ingest again").equals(items)

    def test_is_checked_on_both_ways(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match="no column 'title'"):
            write_table(make_items("a").drop("title"), Items, tmp_path / "items.parquet", "items")
        assert not (tmp_path / "items.parquet").exists()
        make_items("a").drop("title").write_parquet(tmp_path / "items.parquet")
        with pytest.raises(DataError, match=r"^items: no column 'title'.*ingest again$"):
            read_table(tmp_path / "items.parquet", Items, "items", "ingest again")

    @pytest.mark.parametrize("length", [0, 3, 200, -1])
    def test_a_truncated_file(self, length: int, tmp_path: Path) -> None:
        path = tmp_path / "items.parquet"
        write_table(make_items(*(f"i{n}" for n in range(100))), Items, path, "items")
        path.write_bytes(path.read_bytes()[:length])
        with pytest.raises(ArtifactError, match=r"^items: .*is not readable parquet.*ingest again$"):
            read_table(path, Items, "items", "ingest again")

    def test_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=r"^items: no file .*none\.parquet; ingest again$"):
            read_table(tmp_path / "none.parquet", Items, "items", "ingest again")


class TestPointerFile:
    def test_is_replaced_at_once(self, tmp_path: Path) -> None:
        replace_text(tmp_path / "a/pointer", "one\n")
        replace_text(tmp_path / "a/pointer", "two\n")
        assert read_files(tmp_path) == {"a/pointer": b"two\n"}

    def test_a_full_disk_leaves_the_old_one(self, small_disk: Path) -> None:
        replace_text(small_disk / "pointer", "old")
        (small_disk / "ballast").write_bytes(bytes(280_000))
        before = read_files(small_disk)
        with pytest.raises(ArtifactError, match=r"pointer: cannot be written \(No space left on device\)"):
            replace_text(small_disk / "pointer", "new" * 10_000)
        assert read_files(small_disk) == before


class TestSnapshot:
    dataset: dict[str, Any] = {"items": {"path": "items.csv"}, "repeats": False}  # noqa: RUF012 - never changed

    def write(self, home: Path, *ids: str, name: str = "books") -> str:
        interactions = make_interactions(*(("u", item, day) for day, item in enumerate(ids)))
        tables = {"items": make_items(*ids), "interactions": interactions, "rejected": empty(Rejected)}
        return write_snapshot(home, name, tables, self.dataset, {"items": len(ids)})

    def test_comes_back(self, tmp_path: Path) -> None:
        identity = self.write(tmp_path, "a", "b")
        found = read_snapshot(tmp_path, "books", self.dataset)
        assert found.id == identity
        assert found.items.equals(make_items("a", "b"))
        assert found.interactions.equals(make_interactions(("u", "a", 0), ("u", "b", 1)))
        assert (tmp_path / "snapshots/books.current").read_text() == identity + "\n"
        folder = tmp_path / "snapshots" / identity
        assert set(read_files(folder)) == {
            "items.parquet",
            "interactions.parquet",
            "rejected.parquet",
            "manifest.json",
        }

    def test_is_named_by_its_content(self, tmp_path: Path) -> None:
        first = self.write(tmp_path, "a", "b")
        before = read_files(tmp_path)
        assert self.write(tmp_path, "a", "b") == first
        assert read_files(tmp_path) == before
        assert self.write(tmp_path, "a", "c") != first
        # Both stay: a run may be compared on an older one.
        assert read_snapshot(tmp_path, "books", self.dataset, first).items["item_id"].to_list() == ["a", "b"]
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a", "c"]

    def test_each_config_has_its_own_pointer(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a", name="books")
        self.write(tmp_path, "b", name="films")
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a"]

    def test_a_damaged_one_is_found_and_the_next_ingest_mends_it(self, tmp_path: Path) -> None:
        identity = self.write(tmp_path, "a", "b")
        path = tmp_path / "snapshots" / identity / "items.parquet"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ArtifactError, match=r"items\.parquet is changed; run 'recsys ingest'"):
            read_snapshot(tmp_path, "books", self.dataset)
        assert self.write(tmp_path, "a", "b") == identity
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a", "b"]

    def test_a_failure_leaves_the_old_one(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a", "b")
        before = read_files(tmp_path)
        bad = make_interactions(("u", "a", 0)).with_columns(weight=pl.lit(-1.0, dtype=pl.Float32))
        tables = {"items": make_items("a"), "interactions": bad, "rejected": empty(Rejected)}
        with pytest.raises(DataError, match="snapshot table 'interactions'"):
            write_snapshot(tmp_path, "books", tables, self.dataset, {})
        assert read_files(tmp_path) == before

    def test_settings_that_changed_since(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a")
        with pytest.raises(ArtifactError, match="other dataset settings than this config's; run 'recsys ingest'"):
            read_snapshot(tmp_path, "books", {**self.dataset, "repeats": True})

    def test_none_yet(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=rf"snapshot of 'books': none in {tmp_path}; run 'recsys ingest'"):
            read_snapshot(tmp_path, "books", self.dataset)

    def test_a_pointer_to_nothing(self, tmp_path: Path) -> None:
        replace_text(tmp_path / "snapshots/books.current", "0123456789ab\n")
        with pytest.raises(ArtifactError, match=r"0123456789ab: no manifest\.json"):
            read_snapshot(tmp_path, "books", self.dataset)


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

    def test_an_older_night_is_published_but_readers_stay(self, tmp_path: Path) -> None:
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

    def test_the_pointer_never_names_what_is_not_whole(self, tmp_path: Path) -> None:
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


def start(code: str, *arguments: Path) -> subprocess.Popen[str]:
    """Run code in a process of its own that says a word when it is where the test wants it."""
    command = [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def await_word(process: subprocess.Popen[str], word: str) -> None:
    assert process.stdout is not None
    assert process.stdout.readline() == word + "\n"


def kill(process: subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGKILL)
    process.communicate()


class TestKilled:
    @pytest.mark.parametrize("moment", ["between two parts", "before the pointer"])
    def test_readers_stay_on_the_last_night(self, moment: str, tmp_path: Path) -> None:
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
        # The same job again, as the night shift would; it also clears away what the dead one left.
        publish_night(tmp_path, "2025-02-01", "tonight, whole")
        assert not list(tmp_path.rglob("*.tmp"))
        assert read_pointer(tmp_path) == "2025-02-01"
        assert (tmp_path / "recommendations/run_date=2025-02-01/part").read_text() == "tonight, whole"

    HOLD = """
        import sys, time
        from pathlib import Path
        from recsys.storage.files import lock

        with lock(Path(sys.argv[1]), "generation"):
            print("held", flush=True)
            time.sleep(60)
    """

    def test_a_lock_shuts_the_second_out_until_the_first_is_dead(self, tmp_path: Path) -> None:
        holder = start(self.HOLD, tmp_path)
        await_word(holder, "held")
        with pytest.raises(ArtifactError, match="another process holds the lock"), lock(tmp_path, "generation"):
            pass
        with lock(tmp_path, "promotion"):
            pass
        kill(holder)
        with lock(tmp_path, "generation"):
            pass


def test_scratch_is_gone_afterwards_and_takes_older_ones_along(tmp_path: Path) -> None:
    left = tmp_path / ".bundle.1.tmp"
    left.mkdir()
    (left / "of-a-killed-training").touch()
    with scratch_folder(tmp_path, "bundle") as folder:
        (folder / "part").touch()
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert list(tmp_path.iterdir()) == []


def test_a_lock_is_free_after_an_error(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="inside"), lock(tmp_path, "generation"):
        raise ValueError("inside")
    with lock(tmp_path, "generation"):
        pass


def test_everything_is_on_the_disk_before_the_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[str] = []
    real = os.fsync

    def note(descriptor: int) -> None:
        assert not (tmp_path / "one").exists()
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        real(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    write_folder(tmp_path / "one", put(a="x", b="y"), {})
    assert {"a", "b", "manifest.json"} <= set(synced)
    assert len(synced) == 4


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == ABC


def test_pieces_of_a_table_do_not_show_in_its_file(tmp_path: Path) -> None:
    # Fewer rows are one row group, however they lie.
    rows = pl.select(row=pl.int_range(600_000, dtype=pl.UInt64))
    texts = {name: pl.lit("x") for name in ("table", "file", "rule", "content")}
    whole = rows.with_columns(**texts).select(Rejected.column_names())
    pieces = pl.concat([whole[:270_000], whole[270_000:]], rechunk=False)
    for name, table in (("one", whole), ("two", pieces)):
        write_table(table, Rejected, tmp_path / name, "rejected rows")
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_equal_facts_make_equal_bytes(tmp_path: Path) -> None:
    write_folder(tmp_path / "one", put(a="x"), {"b": 1, "a": "文"})
    write_folder(tmp_path / "two", put(a="x"), {"a": "文", "b": 1})
    assert read_files(tmp_path / "one") == read_files(tmp_path / "two")
    assert json.loads((tmp_path / "one/manifest.json").read_text("utf-8"))["a"] == "文"
