"""The MLflow run of a monitored night."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from miniature import change, settings

from recsys.config import Config, parse_config
from recsys.monitoring.monitored_nights import Night
from recsys.pipelines.monitor import track
from recsys.registry.monitored_run import log_night
from recsys.registry.tracking import connect

ALERT = {"cause": "lists_worse", "sentence": "kind <b>view</b>: our lists got worse"}


@pytest.fixture
def config() -> Config:
    return parse_config(settings(), "test")


@pytest.fixture
def page(tmp_path: Path) -> Path:
    (tmp_path / "page.html").write_text("<p>night</p>")
    return tmp_path / "page.html"


def make_night(value: float = 0.1, *alerts: dict[str, str]) -> Night:
    figures = {"outcomes.hit_rate": value, 'data.events.a/b "%"': 7.0}
    limits = {"outcomes.hit_rate": {"value": 0.1, "low": 0.08, "high": None}}
    verdict = "alert" if alerts else "calm"
    return Night("2025-02-01", "", "s", "3", "c", verdict, figures, {}, limits, list(alerts), retrain=bool(alerts))  # type: ignore[arg-type]


def test_a_night_is_a_run_of_its_own_experiment(config: Config, new_home: Callable[[], Path], page: Path) -> None:
    store = connect(new_home(), config)
    first = log_night(store, make_night(), page, datetime(2025, 2, 1, 4, tzinfo=UTC))
    experiment = store.client.get_experiment_by_name("recsys-monitoring")
    run = store.client.get_run(first)
    assert (run.info.experiment_id, run.info.run_name, run.info.status) == (
        experiment.experiment_id,
        "2025-02-01",
        "FINISHED",
    )
    assert run.data.metrics["outcomes/hit_rate"] == 0.1
    assert run.data.metrics["low/outcomes.hit_rate"] == 0.08
    assert [value for name, value in run.data.metrics.items() if name.startswith("data/events.a")] == [7.0]
    assert (run.data.tags["verdict"], run.data.tags["retrain"]) == ("calm", "false")
    assert [file.path for file in store.client.list_artifacts(first)] == ["page.html"]
    # The same night again, with another result.
    again = log_night(store, make_night(0.02, ALERT), page, datetime(2025, 2, 1, 9, tzinfo=UTC))
    assert again == first
    run = store.client.get_run(first)
    assert run.data.metrics["outcomes/hit_rate"] == 0.02
    assert (run.data.tags["causes"], run.data.tags["retrain"]) == ("lists_worse", "true")
    # Kinds of events are names from raw files.
    assert run.data.tags["mlflow.note.content"] == "kind &lt;b&gt;view&lt;/b&gt;&#58; our lists got worse"
    assert "`recsys monitor`" in experiment.tags["mlflow.note.content"]
    # Trainings are not mixed with nights.
    assert store.client.get_experiment_by_name("recsys") is None


def test_a_dead_store_is_a_warning(
    config: Config, tmp_path: Path, page: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with caplog.at_level(logging.WARNING):
        assert track(config, tmp_path, make_night(), page, datetime(2025, 2, 1, tzinfo=UTC)) is None
    assert "the night's result and its page are complete without it" in caplog.text


def test_nothing_is_logged_if_it_is_not_wanted(config: Config, tmp_path: Path, page: Path) -> None:
    quiet = change(config, monitoring={"mlflow": False})
    assert track(quiet, tmp_path, make_night(), page, datetime(2025, 2, 1, tzinfo=UTC)) is None
    assert not (tmp_path / "mlflow.db").exists()
