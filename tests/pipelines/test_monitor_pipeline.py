"""`recsys monitor` from snapshots and published lists to figures, alerts and files."""

import json
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from miniature import change, settings
from monitored_home import put_night
from night_world import FAULTS, World

from recsys.config import Config, parse_config
from recsys.errors import ArtifactError, DataError
from recsys.pipelines.monitor import accept, monitor
from recsys.pipelines.night_inputs import hash_list_settings

NOW = datetime(2025, 6, 1, tzinfo=UTC)
FIRST = 35


@pytest.fixture(scope="module")
def world() -> World:
    return World.draw(users=1_000, items=150, days=60, seed=2)


@pytest.fixture
def config() -> Config:
    return change(parse_config(settings(), "test"), monitoring={"min_reference_nights": 3, "reference_nights": 5})


def test_nights_are_compared_with_the_last_good_ones(config: Config, world: World, tmp_path: Path) -> None:
    for day in range(FIRST, FIRST + 5):
        feed = world.night(day)
        put_night(tmp_path, config, feed)
        done = monitor(config, tmp_path, None, NOW)
        # Readers follow this night.
        assert done.night.run_date == feed.run_date
        assert done.night.verdict == "calm", done.night.alerts
    assert len(done.reference) == 4
    assert done.night.figures["lists.age_days"] == 0
    assert done.night.figures["lists.other_snapshot"] == 0
    assert done.night.figures["data.users_kept"] == 1
    folder = tmp_path / "monitoring/mini"
    assert json.loads((folder / f"nights/{feed.run_date}.json").read_text())["figures"] == done.night.figures
    assert "recsys_monitor_alerts" in (folder / "metrics.txt").read_text()
    # The same night again: the same result, and it is not its own reference.
    again = monitor(config, tmp_path, None, NOW)
    assert again == done

    wrong = FAULTS[5].apply(world.night(FIRST + 5), world)
    put_night(tmp_path, config, wrong)
    bad = monitor(config, tmp_path, wrong.run_date, NOW)
    assert [alert["cause"] for alert in bad.night.alerts][:1] == ["texts_permuted"]
    put_night(tmp_path, config, FAULTS[5].apply(world.night(FIRST + 6), world))
    second = monitor(config, tmp_path, None, NOW)
    assert second.reference[-1] == feed.run_date
    assert second.night.alerts[0]["since"] == wrong.run_date

    accept(config, tmp_path, second.night.run_date, "new catalogue")
    put_night(tmp_path, config, FAULTS[5].apply(world.night(FIRST + 7), world))
    after = monitor(config, tmp_path, None, NOW)
    assert after.reference == (second.night.run_date,)


def test_lists_of_an_older_night_are_noticed(config: Config, world: World, tmp_path: Path) -> None:
    put_night(tmp_path, config, world.night(FIRST))
    put_night(tmp_path, config, world.night(FIRST + 2), lists=False)
    done = monitor(config, tmp_path, world.night(FIRST + 2).run_date, NOW)
    assert [alert["cause"] for alert in done.night.alerts] == ["lists_old"]
    assert done.night.figures["lists.age_days"] == 2


def test_before_the_first_lists(config: Config, world: World, tmp_path: Path) -> None:
    put_night(tmp_path, config, world.night(FIRST), lists=False)
    done = monitor(config, tmp_path, None, NOW)
    assert done.night.run_date == world.night(FIRST).run_date
    assert done.night.verdict == "calm"
    assert not [name for name in done.night.figures if name.startswith(("lists.", "model."))]


def test_data_without_times(world: World, tmp_path: Path) -> None:
    content = settings()
    content["dataset"]["interactions"]["columns"] = {"event": "event"}
    content["windows"] = {"protocol": "random"}
    config = parse_config(content, "test")
    feed = world.night(FIRST)
    events = feed.events.with_columns(time=pl.lit(None, dtype=pl.Datetime("us", "UTC")))
    put_night(tmp_path, config, replace(feed, events=events), lists=False)
    done = monitor(config, tmp_path, None, NOW)
    assert done.night.run_date == "2025-06-01"
    assert done.night.figures["data.events"] == events.height
    assert not [name for name in done.night.figures if name.startswith("arrival.")]


def test_bad_input(config: Config, world: World, tmp_path: Path) -> None:
    with pytest.raises(ArtifactError, match="run 'recsys ingest'"):
        monitor(config, tmp_path, None, NOW)
    put_night(tmp_path, config, world.night(FIRST), lists=False)
    with pytest.raises(DataError, match="expected YYYY-MM-DD"):
        monitor(config, tmp_path, "yesterday", NOW)
    with pytest.raises(ArtifactError, match="run 'recsys monitor --run-date 2025-02-01' first"):
        accept(config, tmp_path, "2025-02-01", "why")


def test_settings_of_the_monitor_do_not_make_lists_again(config: Config) -> None:
    assert hash_list_settings(config) == hash_list_settings(change(config, monitoring={"tolerance": 9.0}))
