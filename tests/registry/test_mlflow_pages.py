"""Where a person sees the runs: a real store is served, and the address of the page is that of its experiment."""

import shlex
from collections.abc import Callable
from pathlib import Path

import pytest
from miniature import settings
from mlflow_runs import log_run

from recsys.config import Config, parse_config
from recsys.registry.client import StoreClient
from recsys.registry.pages import Page, find_page
from recsys.registry.tracking import Store, connect
from recsys.storage.files import sqlite_url


@pytest.fixture
def config() -> Config:
    return parse_config(settings(), "test")


def test_a_home_of_its_own(config: Config, new_home: Callable[[], Path], tmp_path: Path) -> None:
    store = connect(new_home(), config)
    assert find_page(store).url == "http://127.0.0.1:5000/#/experiments"
    log_run(store, config, tmp_path)
    experiment = store.client.get_experiment_by_name("recsys").experiment_id
    page = find_page(store)
    assert page.url == f"http://127.0.0.1:5000/#/experiments/{experiment}/runs?workflowType=machine_learning"
    # As a shell reads it; the home's name has a space in it.
    assert shlex.split(page.command) == ["mlflow", "ui", "--backend-store-uri", store.uri]


def test_a_store_of_the_environment_is_not_shown(
    config: Config, new_home: Callable[[], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", sqlite_url(new_home() / "mlflow.db"))
    page = find_page(connect(new_home(), config))
    assert page.command == 'mlflow ui --backend-store-uri "$MLFLOW_TRACKING_URI"'


def test_a_server_has_its_own_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("recsys.registry.pages.find_experiment", lambda _: "7")
    client = StoreClient.__new__(StoreClient)
    page = find_page(Store("https://ana:secret@example.org/tracking/", client, "shop", None))
    assert page == Page("", "https://example.org/tracking/#/experiments/7/runs?workflowType=machine_learning")
