"""After a rollback the earlier champion's lists are published again, in every output and without being made."""

from collections.abc import Iterator
from pathlib import Path
from shutil import rmtree
from typing import Any

import pytest
from miniature import LAST_DAY, NOW, RUN_DATE, Trained, change, copy_home, read_files, read_lists
from second_version import forget_nights, register_second

from recsys.artifacts.postgres import URL
from recsys.artifacts.recommendations import read_pointer
from recsys.config import Config
from recsys.errors import ArtifactError
from recsys.pipelines import generate as generate_module
from recsys.pipelines.canary import start_canary, stop_canary
from recsys.pipelines.generate import generate
from recsys.pipelines.republish import republish_lists
from recsys.pipelines.rollback import rollback
from recsys.registry.promotion_log import PromotionLog
from recsys.registry.tracking import connect
from recsys.registry.versions import set_champion
from recsys.storage.locks import lock

psycopg = pytest.importorskip("psycopg")

DAY = "2025-02-05"


@pytest.fixture(scope="module")
def base(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    home = copy_home(trained.home, tmp_path_factory.mktemp("republish") / "home")
    register_second(home, trained)
    yield home
    rmtree(home)


@pytest.fixture
def home(base: Path, trained: Trained) -> Iterator[Path]:
    """Nothing but the trained home's one night is published."""
    forget_nights(base, RUN_DATE)
    yield base
    serve(base, trained.config, "1")


def serve(home: Path, config: Config, version: str) -> None:
    """Let a version serve, as a promotion or a rollback does."""
    store = connect(home, config)
    log = PromotionLog.open(store, home, "recsys")
    entry = log.append("force" if version == "2" else "rollback", to_version=version, reason="test")
    set_champion(store, "recsys", version)
    log.confirm(entry)


def forbid_lists(patch: pytest.MonkeyPatch) -> None:
    def fail(*given: object) -> None:
        raise AssertionError("lists were made again")

    patch.setattr(generate_module, "_make_lists", fail)


def test_the_lists_of_both_versions_can_be_published_in_turn(
    home: Path, trained: Trained, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(trained.config, generation={"outputs": ["csv"]})
    folder = generate(config, home, DAY, NOW).folder
    nights = {"1": read_files(folder)}
    serve(home, config, "2")
    generate(config, home, DAY, NOW)
    nights["2"] = read_files(folder)
    assert nights["1"] != nights["2"]
    forbid_lists(monkeypatch)
    for version in ("1", "2", "1", "1"):
        serve(home, config, version)
        assert republish_lists(config, home, version) == DAY
        assert read_files(folder) == nights[version]
        assert read_pointer(home) == DAY
        # A rerun finds the lists published.
        counts = generate(config, home, DAY, NOW).counts
        assert counts["rows"] == read_lists(home, DAY).height
        assert read_files(folder) == nights[version]


def test_a_rollback_publishes_them(home: Path, trained: Trained) -> None:
    folder = generate(trained.config, home, DAY, NOW).folder
    before = read_files(folder)
    serve(home, trained.config, "2")
    generate(trained.config, home, DAY, NOW)
    done = rollback(trained.config, home, "1")
    assert (done.version, done.run_date, done.republished) == ("1", DAY, True)
    assert read_files(folder) == before


def test_files_and_table_follow(home: Path, trained: Trained, database: str) -> None:
    generate(trained.config, home, DAY, NOW)
    serve(home, trained.config, "2")
    config = change(trained.config, generation={"outputs": ["csv"], "postgres_table": "lists"})
    generate(config, home, DAY, NOW)
    assert {row[2] for row in read(database)} == {"2"}
    serve(home, config, "1")
    assert republish_lists(config, home, "1") == DAY
    assert read(database) == sorted(
        read_lists(home, DAY).select("user_id", "rank", "model_version", "item_id").iter_rows()
    )
    folder = home / "recommendations" / f"run_date={DAY}"
    assert (folder / "lists.csv").read_text().count("\n") == len(read(database)) + 1


def test_after_a_database_failure_the_next_run_fills_the_table(
    home: Path, trained: Trained, database: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = change(trained.config, generation={"postgres_table": "lists"})
    generate(config, home, DAY, NOW)
    serve(home, config, "2")
    generate(config, home, DAY, NOW)
    serve(home, config, "1")
    with monkeypatch.context() as patch:
        patch.setenv(URL, "postgresql://lists@127.0.0.1:1/postgres?connect_timeout=2")
        with pytest.raises(ArtifactError, match="table lists: "):
            republish_lists(config, home, "1")
    assert set(read_lists(home, DAY)["model_version"]) == {"1"}
    assert {row[2] for row in read(database)} == {"2"}
    forbid_lists(monkeypatch)
    generate(config, home, DAY, NOW)
    assert {row[2] for row in read(database)} == {"1"}


def test_without_kept_lists_nothing_changes(home: Path, trained: Trained) -> None:
    before = read_files(home / "recommendations")
    assert republish_lists(trained.config, home, "2") is None
    assert read_files(home / "recommendations") == before
    # Lists that readers do not see are not published again either.
    generate(trained.config, home, DAY, NOW)
    serve(home, trained.config, "2")
    generate(trained.config, home, DAY, NOW)
    generate(trained.config, home, LAST_DAY, NOW)
    assert republish_lists(trained.config, home, "1") is None
    assert read_pointer(home) == LAST_DAY


def test_no_lists_of_a_canary_are_published_again(home: Path, trained: Trained) -> None:
    start_canary(trained.config, home, 0.3, "2")
    generate(trained.config, home, DAY, NOW)
    serve(home, trained.config, "2")
    generate(trained.config, home, DAY, NOW)
    serve(home, trained.config, "1")
    assert republish_lists(trained.config, home, "1") is None
    assert stop_canary(trained.config, home).canary is None


def test_while_lists_are_made_it_stops(home: Path, trained: Trained) -> None:
    with lock(home, "generation"), pytest.raises(ArtifactError, match="another process holds the lock"):
        republish_lists(trained.config, home, "1")


def read(url: str) -> list[tuple[Any, ...]]:
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT user_id, rank, model_version, item_id FROM lists ORDER BY 1, 2").fetchall()
