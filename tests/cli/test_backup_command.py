"""`recsys backup` and `recsys restore`: what they print, and their exit codes."""

import json
from collections.abc import Callable
from pathlib import Path

from miniature import RUN_DATE, Trained
from shell import Call, expect


def test_a_backup_and_a_restore_print_what_they_did(
    call: Call, write_config: Callable[..., Path], trained: Trained, tmp_path: Path
) -> None:
    config, folder, home = write_config(), tmp_path / "backup", tmp_path / "home"
    answer = call("backup", folder, "-c", config, home=trained.home)
    assert answer.code == 0, answer
    # Long paths fold the lines.
    assert " ".join(answer.out.split()).startswith(f"backup {folder}: versions 1, 1 snapshot, lists of 1 night; ")
    expect(call("backup", folder, "-c", config, home=trained.home), "exists; choose another folder", "--replace")
    answer = call("restore", folder, home=home)
    assert answer.code == 0, answer
    text = " ".join(answer.out.split())
    assert text.startswith(f"restored 'mini' to {home}: ")
    assert f" readers see {RUN_DATE} " in text
    assert f"next: recsys doctor --config {folder / 'config' / config.name}" in answer.err
    expect(call("restore", folder, home=home), "is not empty")
    content = json.loads(call("restore", folder, "--json", home=tmp_path / "other").out)
    assert (content["run_date"], content["name"]) == (RUN_DATE, "mini")


def test_what_is_damaged_is_named_and_the_rest_is_backed_up(
    call: Call, write_config: Callable[..., Path], trained_copy: Path, tmp_path: Path
) -> None:
    (run,) = (path for path in (trained_copy / "runs").iterdir() if path.is_dir())
    table = next(path for path in sorted(run.rglob("*")) if path.is_file() and path.name != "manifest.json")
    table.unlink()
    table.write_bytes(b"damaged")
    answer = call("backup", tmp_path / "backup", "-c", write_config(), "--json", home=trained_copy)
    assert answer.code == 3
    assert f"refused: backup {tmp_path / 'backup'}: is complete except for files that are damaged" in answer.err
    content = json.loads(answer.out)
    assert content["versions"] == ["1"]
    (sentence,) = content["damaged"]
    assert sentence.startswith(f"run {run.name}: ")
    assert (tmp_path / "backup" / "manifest.json").is_file()


def test_nothing_is_restored_from_a_folder_that_is_no_backup(call: Call, tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    home = tmp_path / "home"
    expect(call("restore", tmp_path / "photos", home=home), "give the folder that 'recsys backup' wrote")
    expect(call("restore", tmp_path / "none", home=home), "no such folder")
    assert not home.exists()
