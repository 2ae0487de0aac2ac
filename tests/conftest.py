"""The trained miniature that tests of pipelines, registry and command line share, and a real browser."""

import fcntl
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import chdir, contextmanager
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from miniature import NOW, RUN_DATE, TRAINING_LOG, Trained, copy_home, settings
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

MakeOnce = Callable[[str, Callable[[Path], object]], Path]

# Nothing here asks the hub, or writes to a home or a store that a developer has set up.
os.environ["HF_HUB_OFFLINE"] = "1"
for name in ("RECSYS_CONFIG", "RECSYS_HOME", "RECSYS_DATA", "MLFLOW_TRACKING_URI", "MLFLOW_REGISTRY_URI"):
    os.environ.pop(name, None)


# The files that take minutes, run first, so that none keeps one process busy when the others have finished. The first
# trains the miniature, the next ones do not need it; so no process waits for it.
_LONGEST = (
    "pipelines/test_interrupted_nights.py",
    "dataset/proposal/test_layouts.py",
    "dataset/proposal/test_people.py",
    "pipelines/test_as_of.py",
    "airflow/test_dags.py",
    "registry/test_versions.py",
    "pipelines/tuning/test_search.py",
    "plugins/test_plugin_package.py",
    "pipelines/test_compare.py",
    "airflow/test_scheduler.py",
    "pipelines/test_real_server.py",
)

# A folder that all processes of a test run share.
SHARED = pytest.StashKey[Path]()


def pytest_configure(config: pytest.Config) -> None:
    # What mlflow does inside itself (deprecated calls of SQLAlchemy, type hints it cannot read) is not ours to mend.
    config.addinivalue_line("filterwarnings", r"ignore:::mlflow\..*")
    given = getattr(config, "workerinput", None)
    config.stash[SHARED] = Path(given["shared"] if given else tempfile.mkdtemp(prefix="recsys-tests-"))


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--every-step", action="store_true", help="kill a real MLflow server at every request, not at a few"
    )


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    folder = Path(__file__).parent
    ranks = {folder / name: rank for rank, name in enumerate(_LONGEST)}
    if missing := [str(path) for path in ranks if not path.exists()]:
        raise pytest.UsageError(f"tests/conftest.py: _LONGEST has files that do not exist: {', '.join(missing)}")
    items.sort(key=lambda item: ranks.get(item.path, len(ranks)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name bytes by their length: what is packed holds the time, and all processes must name a test alike."""
    return f"{argname}-{len(val)}-bytes" if isinstance(val, bytes) else None


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Tell a process of pytest-xdist which folder is shared."""
    node.workerinput["shared"] = str(node.config.stash[SHARED])


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.stash[SHARED], ignore_errors=True)


@pytest.fixture(scope="session")
def make_once(request: pytest.FixtureRequest) -> MakeOnce:
    """Make a folder in the first process that asks for it; the others wait for it. Nobody may change it afterwards."""
    shared = request.config.stash[SHARED]

    def make(name: str, fill: Callable[[Path], object]) -> Path:
        # A space and another script: homes have such names.
        folder, done = shared / f"{name} 家", shared / f"{name}.done"
        with (shared / f"{name}.lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if not done.exists():
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
                fill(folder)
                done.touch()
        return folder

    return make


@pytest.fixture(scope="session")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo catalogue: 150 users, 120 items, 40 days."""
    from recsys.dataset.demo import write_demo

    folder = tmp_path_factory.mktemp("raw")
    write_demo(folder, users=150, items=120, days=40, seed=0)
    return folder


@pytest.fixture(scope="session")
def new_home(make_once: MakeOnce, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Path]]:
    """Make homes that hold nothing but an empty MLflow store: making one takes seconds, copying none."""
    from recsys.registry.tracking import connect

    def fill(home: Path) -> None:
        with as_private():
            connect(home, parse_config(settings(), "test"))

    empty = make_once("empty", fill)
    base = tmp_path_factory.mktemp("homes")
    made: list[Path] = []

    def make() -> Path:
        made.append(base / f"home {len(made)} 家")
        made[-1].mkdir(mode=0o700)
        # The store names the folders of its first home, which the first use corrects.
        shutil.copy(empty / "mlflow.db", made[-1])
        return made[-1]

    yield make
    # Every bundle holds an encoder of 90 MB.
    shutil.rmtree(base)


@pytest.fixture(autouse=True)
def _same_umask() -> Iterator[None]:
    """Commands that run in this process make what it writes private; the servers of later tests need it as it was."""
    before = os.umask(0o022)
    os.umask(before)
    yield
    os.umask(before)


@contextmanager
def as_private() -> Iterator[None]:
    """Let everything that is written meanwhile be private, as commands do."""
    before = os.umask(0o077)
    try:
        yield
    finally:
        os.umask(before)


@contextmanager
def logged_to(path: Path) -> Iterator[None]:
    """Write everything that recsys logs meanwhile at INFO and above to a file."""
    logger, handler = logging.getLogger("recsys"), logging.FileHandler(path, encoding="utf-8")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(handler)
        handler.close()


@pytest.fixture(scope="session")
def trained(
    raw: Path, new_home: Callable[[], Path], make_once: MakeOnce, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Trained]:
    """Trained once for all tests, which must leave it as it is; `trained_copy` is there to be changed."""
    from recsys.pipelines.run import run_all
    from recsys.registry.tracking import connect

    config = parse_config(settings(), "test")
    # Homes have such names too: with what ends or escapes a part of an address, or is a pattern.
    name = "trained 家 [a] ?b #c %41 100%"

    def train(folder: Path) -> None:
        shutil.copytree(new_home(), folder / name)
        (folder / "bystander").mkdir()
        with chdir(folder / "bystander"), pytest.MonkeyPatch.context() as patch:
            patch.setenv("RECSYS_DATA", str(raw))
            with logged_to(folder / TRAINING_LOG), as_private():
                run_all(config, folder / name, RUN_DATE, NOW)

    folder = make_once("trained", train)
    # Commands that only read take locks, so each process has a copy.
    home = copy_home(folder / name, tmp_path_factory.mktemp("trained") / name)
    # The first use corrects the folders that the store names.
    connect(home, config)
    yield Trained(config, home, folder / "bystander")
    shutil.rmtree(home)


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
    # Some tests move it away.
    if home.exists():
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
