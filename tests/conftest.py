"""The trained miniature that tests of pipelines, registry and command line share, and a real browser."""

import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import chdir
from pathlib import Path

import hypothesis
import pytest
from miniature import NOW, RUN_DATE, Trained, copy_home, settings
from postgres_server import run_server
from selenium import webdriver
from selenium.webdriver.chrome.service import Service

from recsys.artifacts.postgres import URL
from recsys.artifacts.snapshots import Snapshot, read_snapshot
from recsys.config import parse_config
from recsys.serving.bundle import Bundle

# A busy machine is no finding; and CI tries the same examples each time.
hypothesis.settings.register_profile("steady", deadline=None, derandomize="CI" in os.environ)
hypothesis.settings.load_profile("steady")

# Nothing here asks the hub, or writes to a home or a store that a developer has set up.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("RECSYS_HOME", "RECSYS_DATA", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
    os.environ.pop(name, None)


def pytest_configure(config: pytest.Config) -> None:
    # What mlflow does inside itself (deprecated calls of SQLAlchemy, type hints it cannot read) is not ours to mend.
    config.addinivalue_line("filterwarnings", r"ignore:::mlflow\..*")


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo catalogue: 150 users, 120 items, 40 days."""
    from recsys.dataset.demo import write_demo

    folder = tmp_path_factory.mktemp("raw")
    write_demo(folder, users=150, items=120, days=40, seed=0)
    return folder


@pytest.fixture(scope="session")
def new_home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Make homes that hold nothing but an empty MLflow store: making one takes seconds, copying none."""
    from recsys.registry.tracking import connect

    base = tmp_path_factory.mktemp("homes")
    made: list[Path] = []

    def make() -> Path:
        # A space and another script: homes have such names.
        made.append(base / f"home {len(made)} 家")
        made[-1].mkdir()
        # The store names the folders of `base`, which the first use corrects.
        shutil.copy(base / "mlflow.db", made[-1])
        return made[-1]

    connect(base, parse_config(settings(), "test"))
    yield make
    # Every bundle holds an encoder of 90 MB.
    shutil.rmtree(base)


@pytest.fixture(scope="session")
def trained(raw: Path, new_home: Callable[[], Path], tmp_path_factory: pytest.TempPathFactory) -> Trained:
    """Trained once for all tests, which must leave it as it is; `trained_copy` is there to be changed."""
    from recsys.pipelines.run import run_all

    config, made, bystander = parse_config(settings(), "test"), new_home(), tmp_path_factory.mktemp("bystander")
    # Homes have such names too: with what ends or escapes a part of an address, or is a pattern.
    home = made.rename(made.with_name("trained 家 [a] ?b #c %41 100%"))
    with chdir(bystander), pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw))
        run_all(config, home, RUN_DATE, NOW)
    return Trained(config, home, bystander)


@pytest.fixture(scope="session")
def bundle(trained: Trained) -> Bundle:
    """Version 1 of the trained home."""
    from recsys.pipelines.promote import load_champion

    return load_champion(trained.config, trained.home)[1]


@pytest.fixture(scope="session")
def snapshot(trained: Trained) -> Snapshot:
    """The whole demo, events after the run date included."""
    return read_snapshot(trained.home, trained.config.name, trained.config.dataset.model_dump(mode="json"))


@pytest.fixture
def raw_in_place(raw: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The demo catalogue, where the settings look for it."""
    monkeypatch.setenv("RECSYS_DATA", str(raw))
    return raw


@pytest.fixture
def trained_copy(trained: Trained, tmp_path: Path) -> Iterator[Path]:
    """A copy of the trained home."""
    home = copy_home(trained.home, tmp_path / "copied home")
    yield home
    shutil.rmtree(home)


@pytest.fixture(scope="session")
def browser() -> Iterator[webdriver.Chrome]:
    """Headless Chromium that remembers what its console and its network said."""
    if os.environ.get("RECSYS_TEST_BROWSER") == "none":
        pytest.skip("RECSYS_TEST_BROWSER is none")
    names = ("chromium", "chromium-browser", "google-chrome")
    binary, driver = next(filter(None, map(shutil.which, names)), None), shutil.which("chromedriver")
    if binary is None or driver is None:
        pytest.fail(
            f"pages are tested in a real browser: found chromium at {binary}, chromedriver at {driver}; install "
            "both ('apt-get install chromium chromium-driver') or set RECSYS_TEST_BROWSER=none to go without"
        )
    options = webdriver.ChromeOptions()
    options.binary_location = binary
    for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--window-size=1280,900"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    started = webdriver.Chrome(options=options, service=Service(executable_path=driver))
    yield started
    started.quit()


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of a PostgreSQL server."""
    with run_server() as url:
        yield url


@pytest.fixture
def database(server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An empty database, named by the environment."""
    import psycopg

    monkeypatch.setenv(URL, server)
    yield server
    with psycopg.connect(server) as connection:
        connection.execute('DROP TABLE IF EXISTS lists, lists_night; DROP SCHEMA IF EXISTS "night" CASCADE')
