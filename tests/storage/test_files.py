"""Single files: replaced in one step, read by their exact path, the same bytes for the same content."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path

import polars as pl
import pytest
import sqlalchemy
from faults import DiskLog
from miniature import read_files
from worlds import make_interactions, make_items

from recsys.errors import ArtifactError, DataError
from recsys.storage import files
from recsys.storage.files import (
    encode_json,
    hash_file,
    read_csv,
    read_json,
    read_parquet,
    read_table,
    replace_file,
    replace_text,
    scan_parquet,
    sqlite_url,
    write_blocks,
    write_json,
    write_table,
)
from recsys.tables import Interactions, Items, Rejected

ABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
# Each has a neighbour that it matches as a pattern.
PATTERNS = {"team [prod]": "team p", "a*": "ab", "a?": "ab", "{a,b}": "a", "a#b": "a", "a%41": "aA", "a b": "a"}


class TestReplaceFile:
    def test_the_second_text_replaces_the_first(self, tmp_path: Path) -> None:
        replace_text(tmp_path / "a/pointer", "first\n")
        replace_text(tmp_path / "a/pointer", "second\n")
        assert read_files(tmp_path) == {"a/pointer": b"second\n"}

    def test_a_full_disk_leaves_the_existing_file(self, small_disk: Path) -> None:
        replace_text(small_disk / "pointer", "old")
        (small_disk / "ballast").write_bytes(bytes(280_000))
        before = read_files(small_disk)
        expected = r"pointer: cannot be written \(No space left on device\); free some space .*file is unchanged$"
        with pytest.raises(ArtifactError, match=expected):
            replace_text(small_disk / "pointer", "new" * 10_000)
        assert read_files(small_disk) == before

    def test_a_full_disk_in_the_words_of_polars(self, small_disk: Path) -> None:
        replace_text(small_disk / "table", "old")
        rows = pl.DataFrame({"a": range(200_000)}).sample(fraction=1, shuffle=True, seed=0)
        with pytest.raises(ArtifactError, match="cannot be written"), replace_file(small_disk / "table") as staging:
            rows.write_parquet(staging, compression="uncompressed")
        assert read_files(small_disk) == {"table": b"old"}

    @pytest.mark.parametrize("error", [ValueError("a bug"), KeyboardInterrupt(), DataError("(os error 28)")])
    def test_another_error_comes_through_and_leaves_the_existing_file(
        self, error: BaseException, tmp_path: Path
    ) -> None:
        replace_text(tmp_path / "file", "old")

        def write_half() -> None:
            with replace_file(tmp_path / "file") as staging:
                staging.write_text("half of the n")
                raise error

        with pytest.raises(type(error)) as caught:
            write_half()
        assert caught.value is error
        assert read_files(tmp_path) == {"file": b"old"}

    def test_the_next_step_is_the_callers(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        expected = r"cannot be written \(.*\); choose another --out; the existing"
        with pytest.raises(ArtifactError, match=expected), replace_file(tmp_path / "file/x", "choose another --out"):
            pass

    def test_content_is_on_the_disk_before_the_name(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        log = DiskLog(monkeypatch)
        replace_text(tmp_path / "pointer", "new")
        log.check_file(tmp_path / "pointer")


class TestExactPath:
    @pytest.mark.parametrize("name", PATTERNS)
    def test_a_pattern_in_the_folders_name_matches_no_neighbour(self, name: str, tmp_path: Path) -> None:
        table = pl.DataFrame({"a": ["own"]})
        for folder, frame in ((PATTERNS[name], pl.DataFrame({"a": ["neighbour"]})), (name, table)):
            (tmp_path / folder).mkdir()
            frame.write_parquet(tmp_path / folder / "table")
            frame.write_csv(tmp_path / folder / "table.csv")
        own = tmp_path / name
        assert read_parquet(own / "table").equals(table)
        assert read_parquet(own / "table", ["a"]).equals(table)
        assert scan_parquet(own / "table").collect().equals(table)
        assert scan_parquet([own / "table", own / "table"]).collect().equals(pl.concat([table, table]))
        assert read_csv(own / "table.csv").equals(table)

    @pytest.mark.parametrize("name", PATTERNS)
    def test_a_missing_file_is_not_its_neighbour(self, name: str, tmp_path: Path) -> None:
        (tmp_path / PATTERNS[name]).mkdir()
        make_items("a").write_parquet(tmp_path / PATTERNS[name] / "items.parquet")
        with pytest.raises(ArtifactError, match="items: no file"):
            read_table(tmp_path / name / "items.parquet", Items, "items", "ingest again")

    def test_csv_cells_are_strings(self, tmp_path: Path) -> None:
        (tmp_path / "ids.csv").write_text("id\n007\n")
        assert read_csv(tmp_path / "ids.csv")["id"].to_list() == ["007"]

    @pytest.mark.parametrize("name", [*PATTERNS, "100%", "家"])
    def test_an_sqlite_url_names_the_file(self, name: str, tmp_path: Path) -> None:
        (tmp_path / name).mkdir()
        engine = sqlalchemy.create_engine(sqlite_url(tmp_path / name / "store.db"))
        with engine.begin() as connection:
            connection.execute(sqlalchemy.text("CREATE TABLE a (b)"))
        engine.dispose()
        with closing(sqlite3.connect(tmp_path / name / "store.db")) as store:
            assert store.execute("SELECT name FROM sqlite_master").fetchall() == [("a",)]
        assert [path.name for path in tmp_path.iterdir()] == [name]


class TestTable:
    def test_is_read_as_it_was_written(self, tmp_path: Path) -> None:
        items = make_items("a", "文")
        write_table(items, Items, tmp_path / "items.parquet", "items")
        assert read_table(tmp_path / "items.parquet", Items, "items", "ingest again").equals(items)

    def test_is_checked_when_written_and_when_read(self, tmp_path: Path) -> None:
        with pytest.raises(DataError, match=r"no column 'title'.*internal error in the stage that wrote it"):
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

    def test_chunks_of_a_table_do_not_show_in_its_file(self, tmp_path: Path) -> None:
        # A smaller table is one row group, whatever its chunks.
        rows = pl.select(row=pl.int_range(600_000, dtype=pl.UInt64))
        texts = {name: pl.lit("x") for name in ("table", "file", "rule", "content")}
        whole = rows.with_columns(**texts).select(Rejected.column_names())
        chunked = pl.concat([whole[:270_000], whole[270_000:]], rechunk=False)
        for name, table in (("whole", whole), ("chunked", chunked)):
            write_table(table, Rejected, tmp_path / name, "rejected rows")
        assert (tmp_path / "whole").read_bytes() == (tmp_path / "chunked").read_bytes()


def test_json_comes_back_and_equal_content_is_equal_text(tmp_path: Path) -> None:
    write_json(tmp_path / "a", {"b": 1, "a": "文"})
    assert (tmp_path / "a").read_text("utf-8") == encode_json({"a": "文", "b": 1}) == '{\n  "a": "文",\n  "b": 1\n}\n'
    assert read_json(tmp_path / "a") == {"a": "文", "b": 1}
    assert list(json.loads(encode_json({"b": 1, "a": 2}, sort_keys=False))) == ["b", "a"]


def test_the_hash_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"abc")
    assert hash_file(tmp_path / "a") == ABC


@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 0, 5, 1]])
def test_blocks_of_any_size_give_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, sizes: list[int]
) -> None:
    monkeypatch.setattr(files, "_GROUP_ROWS", 2)
    events = make_interactions(*((f"u{n}", "a", n) for n in range(7)))
    starts = [sum(sizes[:n]) for n in range(len(sizes))]
    blocks = (events[start : start + size] for start, size in zip(starts, sizes, strict=True))
    assert write_blocks(blocks, Interactions, tmp_path / "blocks.parquet", "events") == 7
    write_blocks([events], Interactions, tmp_path / "whole.parquet", "events")
    assert (tmp_path / "blocks.parquet").read_bytes() == (tmp_path / "whole.parquet").read_bytes()
    assert read_table(tmp_path / "blocks.parquet", Interactions, "events", "").equals(events)


def test_blocks_of_an_empty_table_and_a_bad_one(tmp_path: Path) -> None:
    assert write_blocks([], Interactions, tmp_path / "empty.parquet", "events") == 0
    assert read_table(tmp_path / "empty.parquet", Interactions, "events", "").height == 0
    good = make_interactions(("u", "a", 0))
    with pytest.raises(DataError, match=r"events: .*weight"):
        write_blocks([good, good.with_columns(weight=pl.lit(-1, pl.Float32))], Interactions, tmp_path / "bad", "events")
