import json
import os
from pathlib import Path

import pytest
from faults import put

from recsys.errors import ArtifactError
from recsys.storage.files import encode_json
from recsys.storage.folders import MANIFEST, verify_folder, write_folder
from recsys.storage.shared_files import link_equal_files, open_whole, share_files

LARGE = "x" * 100_000


def fill(folder: Path, **files: str) -> None:
    (folder / "encoder").mkdir()
    for name, text in files.items():
        (folder / "encoder" / name).write_text(text, "utf-8")


@pytest.fixture
def pair(tmp_path: Path) -> tuple[Path, Path]:
    """The folder with shared files, and its sibling."""
    folder, sibling = tmp_path / "folder", tmp_path / "sibling"
    write_folder(sibling, lambda staging: fill(staging, weights=LARGE, settings="a", own="1"), {})
    write_folder(folder, lambda staging: fill(staging, weights=LARGE, settings="b", other="2"), {})
    share_files(folder, sibling)
    return folder, sibling


class TestSharedFiles:
    def test_equal_files_are_stored_once_and_read_as_before(self, pair: tuple[Path, Path]) -> None:
        folder, sibling = pair
        assert sorted(path.name for path in (folder / "encoder").iterdir()) == ["other", "settings"]
        with open_whole(folder, sibling) as whole:
            assert whole.name == folder.name
            assert set(verify_folder(whole, "")["files"]) == {"encoder/weights", "encoder/settings", "encoder/other"}
            assert (whole / "encoder" / "weights").read_text("utf-8") == LARGE
            assert (whole / "encoder" / "settings").read_text("utf-8") == "b"
        assert not whole.exists()
        assert (sibling / "encoder" / "weights").exists()

    def test_a_folder_that_shares_nothing_is_given_as_it_is(self, pair: tuple[Path, Path], tmp_path: Path) -> None:
        with open_whole(pair[1], tmp_path) as whole:
            assert whole == pair[1]
        with open_whole(tmp_path / "none", tmp_path) as whole:
            assert whole == tmp_path / "none"

    @pytest.mark.parametrize("change", ["other", "missing"])
    def test_a_sibling_that_was_changed_is_noticed(self, change: str, pair: tuple[Path, Path]) -> None:
        weights = pair[1] / "encoder" / "weights"
        if change == "other":
            weights.write_text("tampered", "utf-8")
        else:
            weights.unlink()
        with (
            open_whole(*pair) as whole,
            pytest.raises(ArtifactError, match=r"encoder/weights is (changed|missing)"),
        ):
            verify_folder(whole, "")

    @pytest.mark.parametrize("name", ["../secret", "/etc/passwd", "encoder/../../secret", 3])
    def test_a_manifest_cannot_name_files_elsewhere(self, name: object, pair: tuple[Path, Path]) -> None:
        manifest = json.loads((pair[0] / MANIFEST).read_text("utf-8"))
        (pair[0] / MANIFEST).write_text(encode_json({**manifest, "shared": [name]}), "utf-8")
        with pytest.raises(ArtifactError, match="which is not a file in"), open_whole(*pair):
            pass

    def test_folders_that_are_equal_throughout(self, tmp_path: Path) -> None:
        for name in ("a", "b"):
            write_folder(tmp_path / name, lambda staging: fill(staging, weights=LARGE), {})
        share_files(tmp_path / "a", tmp_path / "b")
        assert [path.name for path in (tmp_path / "a").rglob("*")] == [MANIFEST]
        with open_whole(tmp_path / "a", tmp_path / "b") as whole:
            verify_folder(whole, "")


def by_hash(folder: Path) -> dict[str, Path]:
    return {digest: folder / name for name, digest in verify_folder(folder, "")["files"].items()}


class TestLinkedFiles:
    def test_large_equal_files_become_links_and_small_ones_stay(self, tmp_path: Path) -> None:
        for name in ("new", "old"):
            write_folder(tmp_path / name, put(weights=LARGE, settings="a"), {})
        known = by_hash(tmp_path / "old")
        assert link_equal_files(tmp_path / "new", known, tmp_path) == len(LARGE)
        assert (tmp_path / "new" / "weights").samefile(tmp_path / "old" / "weights")
        assert not (tmp_path / "new" / "settings").samefile(tmp_path / "old" / "settings")
        assert link_equal_files(tmp_path / "new", known, tmp_path) == 0
        assert sorted(path.name for path in tmp_path.iterdir()) == ["new", "old"]
        verify_folder(tmp_path / "new", "")

    def test_a_damaged_file_is_never_linked(self, tmp_path: Path) -> None:
        for name in ("new", "old"):
            write_folder(tmp_path / name, put(weights=LARGE), {})
        known = by_hash(tmp_path / "old")
        (tmp_path / "old" / "weights").write_text(LARGE.replace("x", "y"), "utf-8")
        assert link_equal_files(tmp_path / "new", known, tmp_path) == 0
        verify_folder(tmp_path / "new", "")

    def test_a_file_system_without_links_keeps_copies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        for name in ("new", "old"):
            write_folder(tmp_path / name, put(weights=LARGE), {})
        known = by_hash(tmp_path / "old")

        def refuse(*_: object) -> None:
            raise OSError(18, "Invalid cross-device link")

        monkeypatch.setattr(os, "link", refuse)
        assert link_equal_files(tmp_path / "new", known, tmp_path) == 0
        verify_folder(tmp_path / "new", "")
