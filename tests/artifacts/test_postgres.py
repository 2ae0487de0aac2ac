"""Lists in a real PostgreSQL server."""

from pathlib import Path

import polars as pl
import pytest

from recsys.artifacts.postgres import URL, upsert_lists
from recsys.errors import ArtifactError

psycopg = pytest.importorskip("psycopg")

NASTY = "Because you chose “Robert'); DROP TABLE lists;--”\t\\N"


def write(folder: Path, name: str, *rows: tuple[str, int, str]) -> Path:
    """Write a part with (user, rank, item) rows."""
    frame = pl.DataFrame(rows, schema={"user_id": pl.String, "rank": pl.UInt16, "item_id": pl.String}, orient="row")
    more = {
        "reason": NASTY,
        "variant": "ranker",
        "model_version": "1",
    }
    frame = frame.with_columns(
        score=-pl.col("rank").cast(pl.Float32),
        sources=pl.lit(["text", "als"], dtype=pl.List(pl.String)),
        **{column: pl.lit(text) for column, text in more.items()},
    )
    frame.write_parquet(folder / name)
    return folder / name


def read(url: str, table: str = "lists") -> list[tuple[object, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute(
            f"SELECT user_id, rank, item_id, run_date::text FROM {table} ORDER BY 1, 2"
        ).fetchall()


def test_tonights_lists_replace_last_nights(database, tmp_path):
    first = [write(tmp_path, "a.parquet", ("u", 1, "i"), ("u", 2, "j")), write(tmp_path, "b.parquet", ("新", 1, "i"))]
    assert upsert_lists(first, "2025-02-01", "lists") == 3
    assert read(database) == [("u", 1, "i", "2025-02-01"), ("u", 2, "j", "2025-02-01"), ("新", 1, "i", "2025-02-01")]
    with psycopg.connect(database) as connection:
        row = connection.execute("SELECT score, sources, reason FROM lists WHERE user_id = 'u' AND rank = 2").fetchone()
    assert row == (-2.0, ["text", "als"], NASTY)
    # One user's list is shorter, one user is gone, one is new.
    second = [write(tmp_path, "c.parquet", ("u", 1, "k"), ("w", 1, "i"))]
    assert upsert_lists(second, "2025-02-02", "lists") == 2
    assert read(database) == [("u", 1, "k", "2025-02-02"), ("w", 1, "i", "2025-02-02")]
    # The same night again changes nothing, and an earlier night does not replace it.
    assert upsert_lists(second, "2025-02-02", "lists") == 2
    assert upsert_lists(first, "2025-02-01", "lists") == 2
    assert read(database) == [("u", 1, "k", "2025-02-02"), ("w", 1, "i", "2025-02-02")]


def test_the_same_night_again_replaces_its_rows(database, tmp_path):
    upsert_lists([write(tmp_path, "a.parquet", ("u", 1, "i"), ("v", 1, "i"))], "2025-02-01", "lists")
    # As after a block list was corrected: other items, one user less.
    assert upsert_lists([write(tmp_path, "b.parquet", ("u", 1, "j"))], "2025-02-01", "lists") == 1
    assert read(database) == [("u", 1, "j", "2025-02-01")]


def test_parts_in_a_folder_whose_name_is_a_pattern(database, tmp_path):
    for name, item in (("team p", "neighbour"), ("team [prod]", "i")):
        (tmp_path / name).mkdir()
        part = write(tmp_path / name, "a.parquet", ("u", 1, item))
    upsert_lists([part], "2025-02-01", "lists")
    assert read(database) == [("u", 1, "i", "2025-02-01")]


def test_readers_see_all_or_nothing(database, tmp_path):
    upsert_lists([write(tmp_path, "a.parquet", ("u", 1, "i"))], "2025-02-01", "lists")
    good = write(tmp_path, "b.parquet", ("u", 1, "j"), ("v", 1, "j"))
    twice = write(tmp_path, "c.parquet", ("v", 1, "k"))
    with pytest.raises(ArtifactError, match=r"table lists: .*cannot affect row a second time.*the table is unchanged"):
        upsert_lists([good, twice], "2025-02-02", "lists")
    assert read(database) == [("u", 1, "i", "2025-02-01")]


def test_a_name_is_a_name(database, tmp_path):
    part = [write(tmp_path, "a.parquet", ("u", 1, "i"))]
    with psycopg.connect(database) as connection:
        connection.execute('CREATE SCHEMA "night"')
    assert upsert_lists(part, "2025-02-01", "night.lists") == 1
    assert read(database, "night.lists") == [("u", 1, "i", "2025-02-01")]


def test_every_missing_part_is_named(server, monkeypatch, tmp_path):
    monkeypatch.delenv(URL, raising=False)
    with pytest.raises(ArtifactError, match="RECSYS_LISTS_URL is not set; give it as postgresql://"):
        upsert_lists([], "2025-02-01", "lists")
    monkeypatch.setenv(URL, "postgresql://lists@127.0.0.1:1/postgres?connect_timeout=2")
    with pytest.raises(ArtifactError, match=r"table lists: .*(refused|failed).*run the same night again"):
        upsert_lists([], "2025-02-01", "lists")
    monkeypatch.setitem(__import__("sys").modules, "psycopg", None)
    with pytest.raises(ArtifactError, match=r"psycopg is not installed; run pip install 'nightly-recsys\[postgres\]'"):
        upsert_lists([], "2025-02-01", "lists")
