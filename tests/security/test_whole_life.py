"""The life of a home, from ingest to forget, under an open umask: modes, the log, and credentials."""

import logging
import os
import re
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import pytest
import yaml
from miniature import LAST_DAY, Trained, copy_home, settings
from traces import find_holders

from recsys.artifacts.postgres import URL
from recsys.cli import app as cli

USER, ITEM = re.compile(r"\bu\d{7}\b"), re.compile(r"\bi\d{6}\b")
SECRET = "hun/ter@22%41"
THREADS = ("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MKL_NUM_THREADS", "POLARS_MAX_THREADS", "RAYON_NUM_THREADS")


@dataclass(frozen=True)
class Life:
    """What the commands left: a home, their log at INFO, and the users who were forgotten."""

    home: Path
    log: str
    forgotten: list[str]


Call = Callable[..., tuple[int, str]]


@pytest.fixture(scope="module")
def call(tmp_path_factory: pytest.TempPathFactory, raw: Path) -> Iterator[Call]:
    """Run a command as the shell would, but in this process; return its exit code and its log."""
    folder = tmp_path_factory.mktemp("life")
    config = folder / "mini.yaml"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RECSYS_DATA", str(raw))
        for name in THREADS:
            patch.setenv(name, os.environ.get(name, "1"))

        def run(home: Path, *arguments: object, **sections: object) -> tuple[int, str]:
            config.write_text(yaml.safe_dump({**settings(), **sections}), "utf-8")
            log = folder / "log"
            log.unlink(missing_ok=True)
            patch.setenv("RECSYS_HOME", str(home))
            patch.setattr(
                sys, "argv", ["recsys", "--log-file", str(log), *map(str, arguments), "--config", str(config)]
            )
            level = logging.getLogger("recsys").level
            # Commands close it; so that this shows, it is open.
            before = os.umask(0)
            try:
                cli.main()
                code = 0
            except SystemExit as left:
                code = int(left.code or 0)
            finally:
                os.umask(before)
                logging.getLogger("recsys").setLevel(level)
            assert stat.S_IMODE(log.stat().st_mode) == 0o600
            return code, log.read_text("utf-8")

        yield run


@pytest.fixture(scope="module")
def life(trained: Trained, call: Call, tmp_path_factory: pytest.TempPathFactory) -> Life:
    home = copy_home(trained.home, tmp_path_factory.mktemp("whole life") / "home")
    leavers = home.parent / "leavers.txt"
    forgotten = ["u0000001", "u0000002", "u0000003"]
    leavers.write_text("\n".join(forgotten), "utf-8")
    logs = [trained.log.read_text("utf-8")]
    for command in (
        ("ingest",),
        ("generate", "--run-date", LAST_DAY),
        ("monitor", "--run-date", LAST_DAY),
        ("report", "--users", 5),
        ("doctor",),
        ("prune",),
        ("forget", "--file", leavers),
    ):
        code, log = call(home, *command)
        assert code in (0, 2 if command[0] == "doctor" else 4), log
        logs.append(log)
    return Life(home, "\n".join(logs), forgotten)


def test_everything_is_private(life: Life) -> None:
    paths = [life.home, *life.home.rglob("*")]
    names = {path.relative_to(life.home).parts[0] for path in paths[1:]}
    assert {"snapshots", "runs", "recommendations", "monitoring", "reports", "mlartifacts", "mlflow.db"} <= names
    modes = {path.relative_to(life.home).as_posix(): stat.S_IMODE(path.lstat().st_mode) for path in paths}
    assert {name: f"{mode:o}" for name, mode in modes.items() if mode & 0o077} == {}


def test_the_log_names_no_user_and_holds_no_history(life: Life) -> None:
    stages = ("ingest", "fine-tuning", "ranker", "intervals", "lists", "monitor", "forget")
    assert [stage for stage in stages if stage not in life.log] == []
    assert [line for line in life.log.splitlines() if USER.search(line)] == []
    assert [line for line in life.log.splitlines() if len(ITEM.findall(line)) > 2] == []


def test_the_forgotten_are_gone(life: Life) -> None:
    assert find_holders(life.home, *life.forgotten) == []


ENCODED = quote(SECRET, safe="")


@pytest.mark.parametrize(
    ("name", "address", "command"),
    [
        ("MLFLOW_TRACKING_URI", f"http://ana:{ENCODED}@127.0.0.1:1", ("history",)),
        ("MLFLOW_TRACKING_URI", f"http://ana:{SECRET}@127.0.0.1:1", ("doctor",)),
        (URL, f"postgresql://ana:{ENCODED}@127.0.0.1:1/lists?connect_timeout=2", ("forget", "--user", "u1")),
        (URL, f"postgresql://ana:{SECRET}@127.0.0.1:1/lists?connect_timeout=2", ("forget", "--user", "u1")),
        (URL, f"host=127.0.0.1 port=1 user=ana password='{SECRET}'", ("forget", "--user", "u1")),
    ],
)
def test_no_command_shows_a_password(
    name: str,
    address: str,
    command: tuple[str, ...],
    call: Call,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(name, address)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    code, log = call(tmp_path / "home", "--verbose", *command, generation={"postgres_table": "lists"})
    assert code == 2, log
    printed = capfd.readouterr()
    text = "\n".join([printed.out, printed.err, log])
    # The traceback, with what other packages say about the address.
    assert command == ("doctor",) or "Traceback (most recent call last):" in text
    assert "127.0.0.1" in text or "***" in text
    for spelling in (SECRET, quote(SECRET), ENCODED, "hun/ter", "hun%2Fter", "ter@22", "ter%4022"):
        assert spelling not in text
        assert find_holders(tmp_path / "home", spelling) == []
