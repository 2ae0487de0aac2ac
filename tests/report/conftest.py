"""Two reports: a handmade one that shows everything, and one of the trained miniature."""

import shutil
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

import pytest
from handmade import make_home
from miniature import Trained, copy_home

from recsys.report.page import write_report


@pytest.fixture(scope="session")
def handmade_home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("handmade") / "home"
    make_home(home)
    return home


@pytest.fixture(scope="session")
def handmade_page(handmade_home: Path) -> Path:
    from handmade import make_config

    return write_report(make_config(), handmade_home)


@pytest.fixture(scope="session")
def reported_home(trained: Trained, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A copy of the trained home, to which a report may be logged."""
    home = copy_home(trained.home, tmp_path_factory.mktemp("reported") / "home")
    yield home
    shutil.rmtree(home)


@pytest.fixture
def other_homes_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Clear MLflow's cache of artifact folders by run id, because copies of a home share the ids."""
    monkeypatch.setattr("mlflow.tracking._tracking_service.utils._artifact_repos_cache", OrderedDict())


@pytest.fixture
def trained_page(trained: Trained, reported_home: Path, other_homes_forgotten: None) -> Path:
    return write_report(trained.config, reported_home)
