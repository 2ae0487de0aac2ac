"""What both caches rely on; what each adds is in tests/text and tests/collab."""

import os
from pathlib import Path

import numpy as np
import pytest
from faults import DiskLog
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from recsys.storage.array_cache import ArrayCache

MODEL, OTHER, THIRD = "a" * 64, "b" * 64, "c" * 64


def open_cache(root: Path, model: str = MODEL, run: str = "", size: int = 3) -> ArrayCache:
    return ArrayCache(root, model, 2, size, run)


def make_keys(*numbers: int) -> NDArray[np.uint64]:
    return np.array([(number, number + 100) for number in numbers], dtype=np.uint64).reshape(-1, 2)


def make_values(*numbers: int, size: int = 3) -> NDArray[np.float32]:
    return np.array([[number] * size for number in numbers], dtype=np.float32).reshape(-1, size)


def test_rows_come_back_in_the_order_of_the_keys(tmp_path: Path) -> None:
    open_cache(tmp_path).write(make_keys(5, 1, 9), make_values(5, 1, 9), "x")
    open_cache(tmp_path).write(make_keys(4), make_values(4), "x")
    values, known = open_cache(tmp_path).look_up(make_keys(9, 7, 4, 1, 9))
    assert known.tolist() == [True, False, True, True, True]
    assert values.dtype == np.float32
    assert values[:, 0].tolist() == [9, 0, 4, 1, 9]


@given(written=st.lists(st.integers(0, 30), max_size=20), asked=st.lists(st.integers(0, 40), max_size=20))
def test_known_are_the_keys_that_were_written(
    written: list[int], asked: list[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    root = tmp_path_factory.mktemp("cache")
    open_cache(root).write(make_keys(*written), make_values(*written), "x")
    values, known = open_cache(root).look_up(make_keys(*asked))
    assert known.tolist() == [key in written for key in asked]
    assert values[known][:, 0].tolist() == [key for key in asked if key in written]


def test_all_words_of_a_key_count(tmp_path: Path) -> None:
    open_cache(tmp_path).write(make_keys(1), make_values(1), "x")
    assert not open_cache(tmp_path).look_up(np.array([[1, 102]], dtype=np.uint64))[1].any()


def test_files_written_meanwhile_are_known_after_a_reload(tmp_path: Path) -> None:
    cache = open_cache(tmp_path)
    assert not cache.look_up(make_keys(1))[1].any()
    open_cache(tmp_path).write(make_keys(1), make_values(1), "x")
    assert not cache.look_up(make_keys(1))[1].any()
    cache.reload()
    assert cache.look_up(make_keys(1))[1].all()


def test_equal_rows_are_kept_once_and_order_does_not_show_in_the_file(tmp_path: Path) -> None:
    open_cache(tmp_path / "a").write(make_keys(2, 1, 2), make_values(2, 1, 2), "x")
    open_cache(tmp_path / "b").write(make_keys(1, 2), make_values(1, 2), "x")
    (first,), (second,) = ([*(tmp_path / name).rglob("*.npy")] for name in ("a", "b"))
    assert first.name == second.name
    assert first.read_bytes() == second.read_bytes()


def test_rows_of_another_model_or_size_are_not_used(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_cache(tmp_path, OTHER).write(make_keys(1), make_values(1), "x")
    assert not open_cache(tmp_path).look_up(make_keys(1))[1].any()
    assert caplog.records == []
    assert not open_cache(tmp_path, OTHER, size=4).look_up(make_keys(1))[1].any()
    assert "1 damaged file, such as" in caplog.text


def test_files_of_all_runs_are_read_and_other_runs_forgotten(tmp_path: Path) -> None:
    for number, run in enumerate(("monday", "tuesday")):
        open_cache(tmp_path, run=run).write(make_keys(number), make_values(number), "x")
    tonight = open_cache(tmp_path, run="tuesday")
    assert tonight.look_up(make_keys(0, 1))[1].all()
    tonight.forget_runs()
    assert open_cache(tmp_path).look_up(make_keys(0, 1))[1].tolist() == [False, True]


def test_the_models_used_last_are_kept(tmp_path: Path) -> None:
    for number, model in enumerate((MODEL, OTHER, THIRD)):
        assert open_cache(tmp_path, model).write(make_keys(1), make_values(1), "x")
        os.utime(tmp_path / model, (number, number))
    assert not open_cache(tmp_path).write(make_keys(2), make_values(2), "x")
    (tmp_path / "not a model").mkdir()
    # The own folder is kept even where it is the oldest.
    os.utime(tmp_path / MODEL, (0, 0))
    open_cache(tmp_path).forget_models(2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL, THIRD, "not a model"]
    open_cache(tmp_path).forget_models(1)
    assert sorted(path.name for path in tmp_path.iterdir()) == [MODEL, "not a model"]
    open_cache(tmp_path / "none").forget_models(1)
    open_cache(tmp_path / "none").forget_runs()


def test_a_damaged_file_is_reported_and_deleted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    open_cache(tmp_path).write(make_keys(1), make_values(1), "x")
    (path,) = tmp_path.rglob("*.npy")
    path.write_bytes(path.read_bytes()[:-1])
    assert not open_cache(tmp_path).look_up(make_keys(1))[1].any()
    assert f"1 damaged file, such as {path}; their rows are computed again" in caplog.text
    assert not path.exists()


def test_after_a_failure_nothing_more_is_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("in the way")
    cache = open_cache(tmp_path / "file")
    for _ in range(2):
        assert not cache.write(make_keys(1), make_values(1), "x")
    (record,) = caplog.records
    assert "cannot be written (Not a directory)" in record.getMessage()


def test_a_file_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = DiskLog(monkeypatch)
    open_cache(tmp_path).write(make_keys(1), make_values(1), "x")
    (path,) = tmp_path.rglob("*.npy")
    log.check_file(path)
