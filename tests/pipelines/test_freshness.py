from datetime import UTC, datetime
from pathlib import Path

import pytest
from miniature import change, settings

from recsys.config import Config, parse_config
from recsys.errors import DataError
from recsys.pipelines.freshness import examine_freshness

NOW = datetime(2025, 2, 3, 3, 0, tzinfo=UTC)


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return parse_config(settings() | {"dataset": _dataset()}, "test")


def _dataset() -> dict[str, object]:
    return {
        "items": {"path": "items.csv"},
        "interactions": {"path": "log.csv", "columns": {"time": "at"}},
    }


def write(folder: Path, *times: str) -> None:
    (folder / "log.csv").write_text("user_id,item_id,at\n" + "".join(f"u,a,{time}\n" for time in times))


@pytest.mark.parametrize(
    ("newest", "tolerance", "fresh"),
    [
        ("2025-02-02T21:00:00", 3, True),
        ("2025-02-02T20:59:59", 3, False),
        ("2025-02-03T01:00:00", 3, True),  # the next day's events have begun to arrive
        ("2025-02-03T00:00:00", 0, True),
        ("2025-02-02T23:59:59", 0, False),
        ("2025-02-02T00:00:00", None, True),  # 24 hours
        ("2025-02-01T23:59:59", None, False),
    ],
)
def test_the_newest_event_decides(
    config: Config, tmp_path: Path, newest: str, tolerance: float | None, fresh: bool
) -> None:
    write(tmp_path, "2025-01-01T00:00:00", newest)
    found = examine_freshness(config, tmp_path, "2025-02-03", tolerance, NOW)
    assert (found.fresh, found.run_date, found.lists) == (fresh, "2025-02-03", None)
    # Without a run date, it is today's night.
    assert examine_freshness(config, tmp_path, None, tolerance, NOW) == found


def test_the_limit_of_generate_is_the_tolerance(config: Config, tmp_path: Path) -> None:
    write(tmp_path, "2025-02-02T20:00:00")
    for hours, fresh in ((5, True), (3, False)):
        limited = change(config, generation={"max_snapshot_age_hours": hours})
        assert examine_freshness(limited, tmp_path, "2025-02-03", None, NOW).fresh is fresh


def test_files_that_are_not_there_yet_are_not_fresh(config: Config, tmp_path: Path) -> None:
    found = examine_freshness(config, tmp_path, "2025-02-03", None, NOW)
    assert not found.fresh
    assert "log.csv" in found.describe()


def test_data_without_times_is_never_waited_for(config: Config, tmp_path: Path) -> None:
    write(tmp_path, "2025-02-02")
    untimed = change(config, dataset={"interactions": {"columns": {"time": None}}}, windows={"protocol": "random"})
    found = examine_freshness(untimed, tmp_path, "2025-02-03", None, NOW)
    assert found.fresh
    assert found.describe() == "the data has no times, so freshness is not checked"


def test_a_run_date_is_a_date(config: Config, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run date '2025-2-3': expected YYYY-MM-DD"):
        examine_freshness(config, tmp_path, "2025-2-3", None, NOW)
