"""Shards of a night that is not published yet: finished, or not there."""

import json
from pathlib import Path

import polars as pl
import pytest
from faults import DiskLog
from miniature import read_files

from recsys.artifacts.shards import ShardFolder
from recsys.errors import ArtifactError
from recsys.tables import Recommendations, check


def make_lists(*users: str) -> pl.DataFrame:
    rows = pl.DataFrame({"user_id": users}, schema_overrides={"user_id": pl.String}).with_columns(
        rank=pl.lit(1, pl.UInt16),
        item_id=pl.lit("i"),
        score=pl.lit(0.5, pl.Float32),
        sources=pl.lit(["als"], dtype=pl.List(pl.String)),
        reason=pl.lit("why"),
        variant=pl.lit("ranker"),
        model_version=pl.lit("1"),
    )
    return check(Recommendations, rows.select(Recommendations.column_names()), "test lists", "fix the test")


@pytest.fixture
def shards(tmp_path: Path) -> ShardFolder:
    shards = ShardFolder.open(tmp_path / "team [prod]" / "shards", {"snapshot": "s"})
    shards.write(0, make_lists("a", "b"), {"users": 2}, "shard 0")
    shards.write(1, make_lists("c"), {"users": 1}, "shard 1")
    return shards


def test_finished_shards_are_known_to_the_next_process(shards: ShardFolder, tmp_path: Path) -> None:
    again = ShardFolder.open(shards.folder, {"snapshot": "s"})
    assert again.find_finished() == {0: {"users": 2}, 1: {"users": 1}}
    assert again.scan().collect()["user_id"].to_list() == ["a", "b", "c"]
    (tmp_path / "lists").mkdir()
    again.link_into(tmp_path / "lists")
    assert sorted(read_files(tmp_path / "lists")) == ["part-00000.parquet", "part-00001.parquet"]
    again.remove()
    assert not shards.folder.exists()


def test_shards_of_other_inputs_are_deleted(shards: ShardFolder) -> None:
    assert ShardFolder.open(shards.folder, {"snapshot": "other"}).find_finished() == {}
    assert list(read_files(shards.folder)) == ["key.json"]


@pytest.mark.parametrize("damage", ["no shard", "other bytes", "no note", "half a note", "another note"])
def test_a_damaged_shard_is_not_finished(shards: ShardFolder, damage: str) -> None:
    shard, note = shards.folder / "part-00000.parquet", shards.folder / "part-00000.json"
    if damage == "no shard":
        shard.unlink()
    elif damage == "other bytes":
        shard.write_bytes(shard.read_bytes()[:-1] + b"x")
    elif damage == "no note":
        note.unlink()
    elif damage == "half a note":
        note.write_bytes(note.read_bytes()[:10])
    else:
        note.write_text(json.dumps([1]))
    assert shards.find_finished() == {1: {"users": 1}}


def test_shard_and_note_are_on_the_disk_before_their_names(
    shards: ShardFolder, monkeypatch: pytest.MonkeyPatch
) -> None:
    log = DiskLog(monkeypatch)
    shards.write(2, make_lists("d"), {"users": 1}, "shard 2")
    shard, note = shards.folder / "part-00002.parquet", shards.folder / "part-00002.json"
    log.check_file(shard)
    log.check_file(note)
    assert [path for kind, path in log.events if kind == "rename"] == [shard, note]


def test_a_folder_that_cannot_be_written(shards: ShardFolder) -> None:
    (shards.folder / "part-00002.parquet").mkdir()
    expected = r"part-00002\.parquet: cannot be written .*shards are kept, and the current lists remain published"
    with pytest.raises(ArtifactError, match=expected):
        shards.write(2, make_lists("d"), {"users": 1}, "shard 2")
    assert len(shards.find_finished()) == 2
