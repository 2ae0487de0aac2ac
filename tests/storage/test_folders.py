"""Folders with a manifest: written completely or not at all, and every later change is noticed."""

import json
from pathlib import Path

import polars as pl
import pytest
from faults import DiskLog, put
from miniature import read_files

from recsys.errors import ArtifactError
from recsys.storage import folders
from recsys.storage.files import replace_text
from recsys.storage.folders import (
    link_folder,
    read_manifest,
    remove_folder,
    scratch_folder,
    sweep,
    verify_folder,
    write_folder,
)

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


class TestFolder:
    def test_holds_the_files_and_a_manifest_of_their_hashes(self, tmp_path: Path) -> None:
        def fill(folder: Path) -> None:
            (folder / "deep/er").mkdir(parents=True)
            put(a="abc", 家="")(folder)
            (folder / "deep/er/b").write_text("abc")

        manifest = write_folder(tmp_path / "new/folder", fill, {"kind": "test"})
        assert manifest == read_manifest(tmp_path / "new/folder", "") == verify_folder(tmp_path / "new/folder", "")
        assert manifest["kind"] == "test"
        assert manifest["files"]["a"] == manifest["files"]["deep/er/b"] == ABC
        assert set(manifest["files"]) == {"a", "deep/er/b", "家"}

    def test_an_existing_folder_is_exchanged(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "folder", put(a="old", b="old"), {})
        write_folder(tmp_path / "folder", put(a="new"), {})
        assert (tmp_path / "folder/a").read_text() == "new"
        assert not (tmp_path / "folder/b").exists()
        assert [path.name for path in tmp_path.iterdir()] == ["folder"]

    def test_is_exchanged_without_the_system_call_too(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(folders.ctypes, "CDLL", lambda *_, **__: object())
        self.test_an_existing_folder_is_exchanged(tmp_path)

    @pytest.mark.parametrize("error", [OSError(5, "Input/output error"), ValueError("a bug"), KeyboardInterrupt()])
    def test_an_interrupted_fill_leaves_the_existing_folder(self, error: BaseException, tmp_path: Path) -> None:
        def fill(folder: Path) -> None:
            put(a="new")(folder)
            raise error

        write_folder(tmp_path / "folder", put(a="old"), {})
        before = read_files(tmp_path)
        with pytest.raises(ArtifactError if isinstance(error, OSError) else type(error)) as caught:
            write_folder(tmp_path / "folder", fill, {})
        assert read_files(tmp_path) == before
        if isinstance(error, OSError):
            assert "Input/output error" in str(caught.value)
            assert "nothing was replaced" in str(caught.value)

    @pytest.mark.parametrize("how", ["plain", "parquet", "parquet footer", "safetensors", "trees"])
    def test_a_full_disk_leaves_the_existing_folder(self, how: str, small_disk: Path) -> None:
        write_folder(small_disk / "folder", put(a="old"), {})
        before = read_files(small_disk)
        with pytest.raises(ArtifactError, match=r"folder: cannot be written.*free some space"):
            write_folder(small_disk / "folder", lambda folder: fill_disk(folder, how), {})
        assert read_files(small_disk) == before

    def test_a_home_that_is_a_file(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        for write in (
            lambda: write_folder(tmp_path / "file/runs/folder", put(a="x"), {}),
            lambda: replace_text(tmp_path / "file/pointer", "x"),
        ):
            with pytest.raises(ArtifactError, match="choose another RECSYS_HOME"):
                write()

    def test_every_difference_is_named(self, tmp_path: Path) -> None:
        write_folder(tmp_path / "folder", put(a="abc", b="abc", c="abc"), {})
        (tmp_path / "folder/a").write_text("abd")
        (tmp_path / "folder/b").unlink()
        (tmp_path / "folder/d").touch()
        with pytest.raises(ArtifactError, match=r"a is changed; b is missing; d is new; train again"):
            verify_folder(tmp_path / "folder", "train again")

    @pytest.mark.parametrize("text", [None, "", "{", "[]", "{}", '{"files": 3}', "\0"])
    def test_a_manifest_that_cannot_be_read(self, text: str | None, tmp_path: Path) -> None:
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
        # Mostly footer; polars reports a full disk with another message there.
        pl.DataFrame({f"c{number}": [1.0] for number in range(1500)}).write_parquet(folder / "a")
    elif how == "safetensors":
        save_file({"a": noise}, folder / "a")
    else:
        save_trees(folder)


def save_trees(folder: Path) -> None:
    import lightgbm as lgb
    import numpy as np

    from recsys.ranking.blend import Blend
    from recsys.ranking.ranker import Ranker
    from recsys.ranking.ranker_choice import RankerChoice

    rng = np.random.default_rng(0)
    parameters = {"verbosity": -1, "num_leaves": 255, "min_data_in_leaf": 1, "num_threads": 1}
    booster = lgb.train(parameters, lgb.Dataset(rng.random((2000, 3)), rng.random(2000)), 30)
    Ranker(booster.model_to_string(), Blend({"als": 1.0}), (), RankerChoice(30, 0.5)).save(folder)


def test_a_scratch_folder_is_deleted_and_so_are_those_of_killed_processes(tmp_path: Path) -> None:
    left = tmp_path / ".bundle.0123.tmp"
    left.mkdir()
    (left / "of-a-killed-training").touch()
    with scratch_folder(tmp_path, "bundle") as folder:
        (folder / "part").touch()
        assert [path.name for path in tmp_path.iterdir()] == [folder.name]
    assert list(tmp_path.iterdir()) == []


def test_a_sweep_deletes_temporary_names_with_the_prefix_only(tmp_path: Path) -> None:
    (tmp_path / ".new-books.0123.tmp").mkdir()
    kept = [".new-books2.0123.tmp", ".new-books.lock", "new-books.0123.tmp"]
    for name in kept:
        (tmp_path / name).touch()
    sweep(tmp_path, "new-books.")
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept)
    sweep(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(kept[1:])
    sweep(tmp_path / "none")


def test_everything_is_on_the_disk_before_the_name_appears(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DiskLog(monkeypatch)
    write_folder(tmp_path / "folder", put(a="x", b="y"), {})
    named = log.events.index(("rename", tmp_path / "folder"))
    synced = [path for kind, path in log.events[:named] if kind == "sync"]
    assert sorted(path.name for path in synced[:-1]) == ["a", "b", "manifest.json"]
    assert {path.parent for path in synced[:-1]} == {synced[-1]}
    assert log.events[named + 1 :] == [("sync", tmp_path)]


def test_equal_facts_make_equal_bytes(tmp_path: Path) -> None:
    write_folder(tmp_path / "first", put(a="x"), {"b": 1, "a": "文"})
    write_folder(tmp_path / "second", put(a="x"), {"a": "文", "b": 1})
    assert read_files(tmp_path / "first") == read_files(tmp_path / "second")
    assert json.loads((tmp_path / "first/manifest.json").read_text("utf-8"))["a"] == "文"


class TestLinkedCopies:
    def test_a_copy_has_the_same_bytes_and_needs_no_space(self, tmp_path: Path) -> None:
        source, target = tmp_path / "source", tmp_path / "deep" / "target"
        manifest = write_folder(source, put(a="1", b="2"), {"kind": "test"})
        link_folder(source, manifest, target)
        assert read_files(target) == read_files(source)
        assert (target / "a").stat().st_ino == (source / "a").stat().st_ino
        # A complete folder is exchanged for another.
        other = write_folder(tmp_path / "other", put(c="3"), {})
        link_folder(tmp_path / "other", other, target)
        assert read_files(target) == read_files(tmp_path / "other")
        assert {path.name for path in tmp_path.iterdir()} == {"source", "other", "deep"}

    def test_a_folder_that_cannot_be_copied_leaves_the_target_unchanged(self, tmp_path: Path) -> None:
        manifest = write_folder(tmp_path / "source", put(a="1"), {})
        write_folder(tmp_path / "target", put(b="2"), {})
        before = read_files(tmp_path / "target")
        (tmp_path / "source" / "a").unlink()
        with pytest.raises(ArtifactError, match="cannot be written"):
            link_folder(tmp_path / "source", manifest, tmp_path / "target")
        assert read_files(tmp_path / "target") == before

    def test_a_removed_folder_is_gone_or_left_for_a_sweep(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        folder = tmp_path / "folder"
        remove_folder(folder)
        write_folder(folder, put(a="1"), {})
        with monkeypatch.context() as patch:
            patch.setattr(folders.shutil, "rmtree", lambda *_, **__: None)
            remove_folder(folder)
        assert not folder.exists()
        assert len(list(tmp_path.iterdir())) == 1
        sweep(tmp_path, "folder")
        assert list(tmp_path.iterdir()) == []
