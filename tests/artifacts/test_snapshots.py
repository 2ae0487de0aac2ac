from pathlib import Path
from typing import Any

import polars as pl
import pytest
from miniature import read_files
from worlds import make_interactions, make_items

from recsys.artifacts.snapshots import read_snapshot, write_snapshot
from recsys.errors import ArtifactError, DataError
from recsys.storage.files import replace_text
from recsys.tables import Rejected, empty


class TestSnapshot:
    dataset: dict[str, Any] = {"items": {"path": "items.csv"}, "repeats": False}  # noqa: RUF012 - never changed

    def tables(self, *ids: str) -> dict[str, pl.DataFrame]:
        interactions = make_interactions(*(("u", item, day) for day, item in enumerate(ids)))
        return {"items": make_items(*ids), "interactions": interactions, "rejected": empty(Rejected)}

    def write(self, home: Path, *ids: str, name: str = "books") -> str:
        return write_snapshot(home, name, self.tables(*ids), self.dataset)

    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        identity = self.write(tmp_path, "a", "b")
        snapshot = read_snapshot(tmp_path, "books", self.dataset)
        assert snapshot.id == identity
        assert snapshot.items.equals(make_items("a", "b"))
        assert snapshot.interactions.equals(make_interactions(("u", "a", 0), ("u", "b", 1)))
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
        # Both are kept: a run may be compared on an older snapshot.
        assert read_snapshot(tmp_path, "books", self.dataset, first).items["item_id"].to_list() == ["a", "b"]
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a", "c"]

    def test_each_config_has_its_own_pointer(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a", name="books")
        self.write(tmp_path, "b", name="films")
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a"]

    def test_damage_is_noticed_and_the_next_ingest_repairs_it(self, tmp_path: Path) -> None:
        identity = self.write(tmp_path, "a", "b")
        path = tmp_path / "snapshots" / identity / "items.parquet"
        path.write_bytes(path.read_bytes()[:100])
        with pytest.raises(ArtifactError, match=r"items\.parquet is changed; run 'recsys ingest'"):
            read_snapshot(tmp_path, "books", self.dataset)
        assert self.write(tmp_path, "a", "b") == identity
        assert read_snapshot(tmp_path, "books", self.dataset).items["item_id"].to_list() == ["a", "b"]

    def test_a_failure_leaves_the_current_snapshot(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a", "b")
        before = read_files(tmp_path)
        bad = make_interactions(("u", "a", 0)).with_columns(weight=pl.lit(-1.0, dtype=pl.Float32))
        tables = {"items": make_items("a"), "interactions": bad, "rejected": empty(Rejected)}
        with pytest.raises(DataError, match="snapshot table 'interactions'"):
            write_snapshot(tmp_path, "books", tables, self.dataset)
        assert read_files(tmp_path) == before

    def test_settings_that_changed_since(self, tmp_path: Path) -> None:
        self.write(tmp_path, "a")
        with pytest.raises(
            ArtifactError, match="other dataset settings than those of this config; run 'recsys ingest'"
        ):
            read_snapshot(tmp_path, "books", {**self.dataset, "repeats": True})

    def test_the_same_tables_with_other_settings_are_another_snapshot(self, tmp_path: Path) -> None:
        first = self.write(tmp_path, "a", "b")
        other = {**self.dataset, "repeats": True}
        second = write_snapshot(tmp_path, "again", self.tables("a", "b"), other)
        assert second != first
        # Were they one folder, the second ingest would replace the first config's settings.
        assert read_snapshot(tmp_path, "books", self.dataset).id == first
        assert read_snapshot(tmp_path, "again", other).id == second

    def test_none_yet(self, tmp_path: Path) -> None:
        with pytest.raises(ArtifactError, match=rf"snapshot of 'books': none in {tmp_path}; run 'recsys ingest'"):
            read_snapshot(tmp_path, "books", self.dataset)

    def test_a_pointer_to_a_missing_snapshot(self, tmp_path: Path) -> None:
        replace_text(tmp_path / "snapshots/books.current", "0123456789ab\n")
        with pytest.raises(ArtifactError, match=r"0123456789ab: no manifest\.json"):
            read_snapshot(tmp_path, "books", self.dataset)
