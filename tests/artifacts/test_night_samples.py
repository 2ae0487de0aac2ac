"""Samples below the lists: complete files, linked into the published folder, unread by others."""

from pathlib import Path

import polars as pl

from recsys.artifacts.night_samples import BASELINES, VECTORS, link_samples, read_sample, write_samples
from recsys.storage.home import list_folder
from recsys.tables import BaselineLists

LISTS = pl.DataFrame(
    {"user_id": ["u", "u"], "baseline": ["blend", "blend"], "rank": [1, 2], "item_id": ["a", "b"]},
    schema={name: column.dtype for name, column in BaselineLists.columns().items()},
)


def test_shards_come_back_in_order(tmp_path: Path) -> None:
    shards, folder = tmp_path / "shards", list_folder(tmp_path, "2025-02-01")
    shards.mkdir()
    folder.mkdir(parents=True)
    write_samples(shards, 1, {BASELINES: LISTS.with_columns(user_id=pl.lit("v"))}, "free some space")
    write_samples(shards, 0, {BASELINES: LISTS}, "free some space")
    link_samples(shards, folder)
    found = read_sample(tmp_path, "2025-02-01", BASELINES)
    assert found is not None
    assert found["user_id"].to_list() == ["u", "u", "v", "v"]
    assert read_sample(tmp_path, "2025-02-01", VECTORS) is None
    # Readers of the lists see only the lists.
    assert list(folder.glob("*.parquet")) == []


def test_lists_without_samples(tmp_path: Path) -> None:
    target = tmp_path / "target"
    target.mkdir()
    link_samples(tmp_path, target)
    assert list(target.iterdir()) == []
    assert read_sample(tmp_path, "2025-02-01", BASELINES) is None


def test_a_file_of_another_form_is_no_sample(tmp_path: Path) -> None:
    folder = list_folder(tmp_path, "2025-02-01") / "_sample"
    folder.mkdir(parents=True)
    pl.DataFrame({"x": [1]}).write_parquet(folder / "baselines-00000.parquet")
    assert read_sample(tmp_path, "2025-02-01", BASELINES) is None
