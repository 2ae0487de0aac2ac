"""Each output of a night, asked and filled on its own: files, pointer, and a table in a real PostgreSQL server."""

import csv
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from recsys.artifacts import recommendations
from recsys.artifacts.night import Night, Output, hash_lists
from recsys.artifacts.outputs import (
    ListFolder,
    clear_shards,
    fill_outputs,
    list_outputs,
)
from recsys.artifacts.postgres import URL
from recsys.artifacts.recommendations import list_folder, open_shards, read_pointer
from recsys.artifacts.shards import ShardFolder
from recsys.artifacts.table_output import check_table
from recsys.config.serving import GenerationConfig
from recsys.errors import ArtifactError
from recsys.storage.folders import verify_folder

psycopg = pytest.importorskip("psycopg")

DAY = "2025-02-02"


def describe(day: str = DAY, version: str = "1") -> Night:
    return Night(day, {"model_version": version, "snapshot": "abc"})


class Maker:
    """Makes the lists of two users in two shards, and counts how often it is asked."""

    def __init__(self, home: Path, **notes: int) -> None:
        self.home, self.calls, self.notes = home, 0, notes

    def __call__(self, night: Night) -> tuple[ShardFolder, dict[str, Any]]:
        self.calls += 1
        shards = open_shards(self.home, night.run_date, night.facts)
        for number, user in enumerate(("u", "新")):
            lists = pl.DataFrame(
                {
                    "user_id": [user, user],
                    "rank": pl.Series([1, 2], dtype=pl.UInt16),
                    "item_id": ["i", "j"],
                    "score": pl.Series([1.0, 0.5], dtype=pl.Float32),
                    "sources": [["text", "als"], ["als"]],
                    "reason": ["Popular now", "Popular now"],
                    "variant": ["ranker", "ranker"],
                    "model_version": [night.facts["model_version"]] * 2,
                }
            )
            shards.write(number, lists, {"users": 1, "rows": 2}, "lists")
        return shards, {"counts": {"users": 2, "rows": 4}, **self.notes}


@pytest.fixture
def maker(tmp_path: Path) -> Maker:
    return Maker(tmp_path)


@pytest.fixture
def fill(maker: Maker) -> Callable[..., list[str]]:
    """Fill the outputs of a night and return the names of those that had something to do."""

    def run(night: Night | None = None, kinds: tuple[str, ...] = (), table: str | None = None) -> list[str]:
        lists = ListFolder(maker.home, "mini", kinds, maker)
        return names(
            fill_outputs(
                list_outputs(lists, GenerationConfig(outputs=kinds, postgres_table=table)), night or describe()
            )
        )

    return run


def names(outputs: list[Output]) -> list[str]:
    return [type(output).__name__ for output in outputs]


def read(url: str, table: str = "lists") -> list[tuple[Any, ...]]:
    """Return the rows of a table, each with the transaction that wrote it."""
    with psycopg.connect(url) as connection:
        query = f"SELECT user_id, rank, item_id, model_version, run_date::text, xmin::text FROM {table} ORDER BY 1, 2"
        return connection.execute(query).fetchall()


def count(url: str) -> int:
    with psycopg.connect(url) as connection:
        (known,) = connection.execute("SELECT to_regclass('lists')").fetchone()
        return connection.execute("SELECT count(*) FROM lists").fetchone()[0] if known else 0


def disconnect(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(URL, "postgresql://lists@127.0.0.1:1/postgres?connect_timeout=2")


class TestFiles:
    def test_a_second_run_has_nothing_to_do(self, fill: Callable[..., list[str]], maker: Maker) -> None:
        assert fill() == ["ListFolder"]
        assert read_pointer(maker.home) == DAY
        before = {path: path.stat().st_mtime_ns for path in (maker.home / "recommendations").rglob("*")}
        assert fill() == []
        assert maker.calls == 1
        clear_shards(maker.home, describe())
        after = {path: path.stat().st_mtime_ns for path in list_folder(maker.home, DAY).rglob("*")}
        assert after.items() <= before.items()
        assert not list((maker.home / "recommendations").glob(".*"))

    def test_other_facts_and_damaged_parts_are_made_again(self, fill: Callable[..., list[str]], maker: Maker) -> None:
        fill()
        assert fill(describe(version="2")) == ["ListFolder"]
        part = list_folder(maker.home, DAY) / "part-00001.parquet"
        whole = part.read_bytes()
        part.write_bytes(whole[:-40])
        assert fill(describe(version="2")) == ["ListFolder"]
        assert part.read_bytes() == whole

    def test_a_pointer_that_did_not_move_is_moved_without_making_lists(
        self, fill: Callable[..., list[str]], maker: Maker, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        fill(describe("2025-02-01"))

        def fail(home: Path, run_date: str) -> None:
            raise ArtifactError("file CURRENT: cannot be written")

        with monkeypatch.context() as patched:
            patched.setattr(recommendations, "point_at", fail)
            with pytest.raises(ArtifactError, match="CURRENT"):
                fill()
        assert read_pointer(maker.home) == "2025-02-01"
        assert fill() == ["Pointer"]
        assert read_pointer(maker.home) == DAY
        assert maker.calls == 2

    def test_a_pointer_never_moves_back(self, fill: Callable[..., list[str]], maker: Maker) -> None:
        fill()
        fill(describe("2025-02-01"))
        assert fill(describe("2025-02-01")) == []
        assert read_pointer(maker.home) == DAY

    def test_files_that_are_configured_later_are_added(self, fill: Callable[..., list[str]], maker: Maker) -> None:
        fill()
        folder = list_folder(maker.home, DAY)
        identity, part = hash_lists(maker.home, DAY), (folder / "part-00000.parquet").stat().st_ino
        assert fill(kinds=("jsonl", "csv")) == ["ListFiles"]
        assert fill(kinds=("csv", "jsonl")) == []
        manifest = verify_folder(folder, "")
        assert set(manifest["files"]) == {"part-00000.parquet", "part-00001.parquet", "lists.csv", "lists.jsonl"}
        assert manifest["counts"] == {"users": 2, "rows": 4}
        assert [json.loads(line)["item_id"] for line in (folder / "lists.jsonl").read_text().splitlines()] == [
            "i",
            "j",
            "i",
            "j",
        ]
        with (folder / "lists.csv").open(newline="") as file:
            assert [row["sources"] for row in csv.DictReader(file)] == ["text|als", "als", "text|als", "als"]
        # The same lists: neither made nor copied again, and known by the same hash.
        assert (folder / "part-00000.parquet").stat().st_ino == part
        assert hash_lists(maker.home, DAY) == identity
        assert maker.calls == 1

    def test_the_folder_depends_on_the_night_and_not_on_its_past(
        self, fill: Callable[..., list[str]], maker: Maker, tmp_path_factory: pytest.TempPathFactory
    ) -> None:
        fill(kinds=("jsonl",))
        assert fill(kinds=("csv",)) == ["ListFiles"]
        fresh = Maker(tmp_path_factory.mktemp("fresh"))
        fill_outputs(
            list_outputs(ListFolder(fresh.home, "mini", ("csv",), fresh), GenerationConfig(outputs=("csv",))),
            describe(),
        )
        folders = [list_folder(home, DAY) for home in (maker.home, fresh.home)]
        contents = [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]
        assert contents[0] == contents[1]


class TestTable:
    def test_a_second_run_has_nothing_to_do(self, fill: Callable[..., list[str]], maker: Maker, database: str) -> None:
        assert fill(table="lists") == ["ListFolder", "Table"]
        before = read(database)
        assert [row[:5] for row in before] == [
            (user, rank, item, "1", DAY) for user in ("u", "新") for rank, item in ((1, "i"), (2, "j"))
        ]
        assert fill(table="lists") == []
        # Not even written again with the same values.
        assert read(database) == before

    def test_a_table_that_failed_is_filled_by_the_next_run(
        self, fill: Callable[..., list[str]], maker: Maker, database: str, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as patched:
            disconnect(patched)
            with pytest.raises(ArtifactError, match=r"table lists: .*fix the database or RECSYS_LISTS_URL.*unchanged"):
                fill(table="lists")
        assert count(database) == 0
        assert read_pointer(maker.home) == DAY
        assert fill(table="lists") == ["Table"]
        assert count(database) == 4
        assert maker.calls == 1

    def test_a_table_that_is_configured_later_is_filled(
        self, fill: Callable[..., list[str]], maker: Maker, database: str
    ) -> None:
        fill()
        assert fill(table="lists") == ["Table"]
        assert count(database) == 4
        assert maker.calls == 1

    def test_other_lists_for_the_same_date_replace_those_of_the_table(
        self, fill: Callable[..., list[str]], database: str
    ) -> None:
        fill(table="lists")
        assert fill(describe(version="2"), table="lists") == ["ListFolder", "Table"]
        assert {row[3] for row in read(database)} == {"2"}
        assert fill(describe(version="1"), table="lists") == ["ListFolder", "Table"]
        assert {row[3] for row in read(database)} == {"1"}

    def test_rows_that_are_missing_are_filled_in(self, fill: Callable[..., list[str]], database: str) -> None:
        fill(table="lists")
        for damage in ("DELETE FROM lists WHERE user_id = 'u'", "TRUNCATE lists", "DROP TABLE lists_night"):
            with psycopg.connect(database) as connection:
                connection.execute(damage)
            assert fill(table="lists") == ["Table"], damage
            assert count(database) == 4

    def test_a_later_run_date_stays(self, fill: Callable[..., list[str]], database: str) -> None:
        fill(describe("2025-02-03"), table="lists")
        before = read(database)
        # As a recsys that wrote no companion table left it: the rows themselves know their run date.
        for prepare in ("SELECT 1", "DROP TABLE lists_night"):
            with psycopg.connect(database) as connection:
                connection.execute(prepare)
            assert "Table" not in fill(table="lists")
            assert read(database) == before

    def test_more_files_are_no_other_lists(self, fill: Callable[..., list[str]], database: str) -> None:
        fill(table="lists")
        assert fill(kinds=("csv",), table="lists") == ["ListFiles"]

    def test_rows_and_record_are_written_together_or_not_at_all(
        self, fill: Callable[..., list[str]], database: str
    ) -> None:
        fill(table="lists")
        before = read(database)
        with psycopg.connect(database) as connection:
            connection.execute("DROP TABLE lists_night; CREATE TABLE lists_night (run_date text)")
        with pytest.raises(ArtifactError, match="table lists: column"):
            fill(describe(version="2"), table="lists")
        assert read(database) == before

    def test_a_table_in_a_schema(self, fill: Callable[..., list[str]], database: str) -> None:
        with psycopg.connect(database) as connection:
            connection.execute('CREATE SCHEMA "night"')
        assert fill(table="night.Every User") == ["ListFolder", "Table"]
        assert len(read(database, '"night"."Every User"')) == 4
        assert fill(table="night.Every User") == []

    def test_a_name_that_is_too_long_for_its_companion_is_refused(
        self, database: str, fill: Callable[..., list[str]]
    ) -> None:
        check_table("n" * 57)
        assert fill(table="n" * 57) == ["ListFolder", "Table"]
        assert fill(table="n" * 57) == []
        with pytest.raises(ArtifactError, match=r"longer than the 63 bytes .* generation\.postgres_table a shorter"):
            check_table("schema." + "n" * 58)
        with psycopg.connect(database) as connection:
            connection.execute(f"DROP TABLE {'n' * 57}, {'n' * 57}_night")


def test_a_run_date_that_is_not_published_has_no_hash(tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match=r"no manifest\.json.*run 'recsys generate --run-date 2025-02-02'"):
        hash_lists(tmp_path, DAY)


def test_lists_are_the_same_whichever_promotion_made_the_champion(tmp_path: Path) -> None:
    hashes = []
    for number in (1, 5):
        maker = Maker(tmp_path / str(number), promotion=number)
        fill_outputs(list_outputs(ListFolder(maker.home, "mini", (), maker), GenerationConfig()), describe())
        assert verify_folder(list_folder(maker.home, DAY), "")["promotion"] == number
        hashes.append(hash_lists(maker.home, DAY))
    assert hashes[0] == hashes[1]
