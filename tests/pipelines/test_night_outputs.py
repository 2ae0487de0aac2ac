"""Every way through `generate` leaves every output with the night: files, pointer and a real PostgreSQL table."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists

from recsys.artifacts import recommendations
from recsys.artifacts.postgres import URL
from recsys.artifacts.recommendations import read_pointer
from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines import generate as generate_module
from recsys.pipelines.generate import generate, generate_range
from recsys.registry.tracking import connect
from recsys.registry.versions import set_champion

psycopg = pytest.importorskip("psycopg")

DAY = "2025-02-05"


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("outputs") / "home")
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path) -> Path:
    """Nothing but the trained home's one night is published."""
    for folder in (base / "recommendations").glob("run_date=*"):
        if folder.name != f"run_date={RUN_DATE}":
            rmtree(folder)
    (base / "recommendations" / "CURRENT").write_text(f"run_date={RUN_DATE}\n")
    return base


@pytest.fixture
def config(trained: Trained) -> Config:
    return change(trained.config, generation={"postgres_table": "lists"})


def read(url: str) -> list[tuple[Any, ...]]:
    """Return the rows of the table, each with the transaction that wrote it."""
    with psycopg.connect(url) as connection:
        query = "SELECT user_id, rank, item_id, model_version, run_date::text, xmin::text FROM lists ORDER BY 1, 2"
        return connection.execute(query).fetchall()


def published(home: Path, day: str) -> list[tuple[Any, ...]]:
    """Return the rows of the parquet files as the table should have them, without their transaction."""
    lists = read_lists(home, day).select("user_id", "rank", "item_id", "model_version")
    return sorted((*row, day) for row in lists.rows())


def assert_filled(url: str, home: Path, day: str) -> None:
    assert sorted(row[:5] for row in read(url)) == published(home, day)


def forbid_lists(patch: pytest.MonkeyPatch) -> None:
    """Let any attempt to make lists fail."""

    def fail(*given: object) -> None:
        raise AssertionError("lists were made again")

    patch.setattr(generate_module, "_make_lists", fail)


@pytest.mark.parametrize("way", ["plain", "range"])
def test_after_a_database_failure_the_table_is_filled(
    way: str, home: Path, config: Config, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setenv(URL, "postgresql://lists@127.0.0.1:1/postgres?connect_timeout=2")
        with pytest.raises(ArtifactError, match=r"table lists: .*run the same night again"):
            generate(config, home, DAY, NOW)
    assert read_pointer(home) == DAY
    before = read_files(home / "recommendations")
    forbid_lists(monkeypatch)

    def rerun() -> dict[str, int]:
        made = generate(config, home, DAY, NOW) if way == "plain" else generate_range(config, home, DAY, DAY, NOW)[0]
        return made.counts

    counts = rerun()
    assert counts["rows"] == len(read(database))
    assert_filled(database, home, DAY)
    # And once more there is nothing to do: neither files nor rows are written again.
    rows = read(database)
    assert rerun() == counts
    assert read(database) == rows
    assert read_files(home / "recommendations") == before


def test_a_range_fills_the_table_night_by_night_and_never_back_in_time(
    home: Path, config: Config, trained: Trained, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    generate_range(trained.config, home, DAY, "2025-02-06", NOW)
    forbid_lists(monkeypatch)
    generate_range(config, home, DAY, "2025-02-06", NOW)
    assert_filled(database, home, "2025-02-06")
    rows = read(database)
    generate(config, home, DAY, NOW)
    assert read(database) == rows


def test_another_champion_for_the_same_date_fills_every_output(
    home: Path, config: Config, trained: Trained, database: str
) -> None:
    generate(config, home, DAY, NOW)
    store = connect(home, trained.config)
    source = store.client.get_model_version("recsys", "1")
    number = store.client.create_model_version("recsys", source.source, source.run_id).version
    for key, value in source.tags.items():
        store.client.set_model_version_tag("recsys", number, key, value)
    set_champion(store, "recsys", str(number))
    try:
        generate(config, home, DAY, NOW)
        assert {row[3] for row in read(database)} == {str(number)}
        assert_filled(database, home, DAY)
    finally:
        set_champion(store, "recsys", "1")
    # Back to the first champion on the same day: its lists are published again.
    generate_range(config, home, DAY, DAY, NOW)
    assert {row[3] for row in read(database)} == {"1"}
    assert_filled(database, home, DAY)


def test_a_pointer_that_did_not_move_moves_with_the_next_run(
    home: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(home: Path, run_date: str) -> None:
        raise ArtifactError("file CURRENT: cannot be written")

    with monkeypatch.context() as patch:
        patch.setattr(recommendations, "point_at", fail)
        with pytest.raises(ArtifactError, match="CURRENT"):
            generate(trained.config, home, LAST_DAY, NOW)
    assert read_pointer(home) == RUN_DATE
    forbid_lists(monkeypatch)
    generate(trained.config, home, LAST_DAY, NOW)
    assert read_pointer(home) == LAST_DAY
    assert not list((home / "recommendations").glob(".run_date=*"))


def test_outputs_that_are_configured_later_are_filled_without_making_lists(
    home: Path, trained: Trained, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = generate(trained.config, home, DAY, NOW).folder
    parts = {path.name: path.stat().st_ino for path in folder.glob("part-*")}
    forbid_lists(monkeypatch)
    later = change(trained.config, generation={"outputs": ["csv"], "postgres_table": "lists", "keep_run_dates": 20})
    generate(later, home, DAY, NOW)
    assert_filled(database, home, DAY)
    assert (folder / "lists.csv").read_text().count("\n") == len(read(database)) + 1
    assert {path.name: path.stat().st_ino for path in folder.glob("part-*")} == parts
    # The table knows the lists, whatever other files the folder has.
    rows = read(database)
    generate(change(later, generation={"outputs": []}), home, DAY, NOW)
    assert not (folder / "lists.csv").exists()
    assert read(database) == rows
