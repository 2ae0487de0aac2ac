from datetime import UTC, datetime

import polars as pl
import pytest
from raw_shop import NOW, Shop

from recsys.dataset.ingestion.arrival import find_newest_time
from recsys.errors import DataError


@pytest.fixture
def shop(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return Shop(tmp_path.resolve())


def test_the_newest_time_is_found_wherever_it_is(shop):
    shop.interactions("user_id,item_id,at", "u,a,2025-01-02T10:00:00", "u,z,2025-01-03T10:00:00+02:00", "u,b,")
    # The newest event is of an unknown item: it has arrived, whatever ingest makes of it.
    assert find_newest_time(shop.config(columns={"time": "at"}), NOW) == datetime(2025, 1, 3, 8, tzinfo=UTC)


def test_times_that_ingest_rejects_do_not_count(shop):
    shop.interactions("user_id,item_id,at", "u,a,2025-01-02", "u,a,2099-01-01", "u,a,never")
    assert find_newest_time(shop.config(columns={"time": "at"}), NOW) == datetime(2025, 1, 2, tzinfo=UTC)


def test_the_zone_of_the_config_counts(shop):
    shop.interactions("user_id,item_id,at", "u,a,2025-01-02 00:30")
    config = shop.config(columns={"time": "at"}, time_zone="Europe/Berlin")
    assert find_newest_time(config, NOW) == datetime(2025, 1, 1, 23, 30, tzinfo=UTC)


def test_all_files_of_a_folder_count(shop):
    shop.folder.joinpath("log").mkdir()
    for day in (3, 1, 2):
        rows = {"user_id": ["u"], "item_id": ["a"], "at": [datetime(2025, 1, day, 5, tzinfo=UTC)]}
        pl.DataFrame(rows).write_parquet(shop.folder / "log" / f"{9 - day}.parquet")
    config = shop.config(path="log", columns={"time": "at"})
    assert find_newest_time(config, NOW) == datetime(2025, 1, 3, 5, tzinfo=UTC)


def test_data_without_times_has_none(shop):
    shop.interactions("user_id,item_id", "u,a")
    assert find_newest_time(shop.config(), NOW) is None


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (["user_id,item_id", "u,a"], "no column 'at'"),
        (["user_id,item_id,at"], "no rows of data"),
    ],
)
def test_files_that_cannot_be_read(shop, lines, message):
    shop.interactions(*lines)
    with pytest.raises(DataError, match=message):
        find_newest_time(shop.config(columns={"time": "at"}), NOW)
