import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from threading import Thread
from typing import IO, Any

import pytest
from stand_ins import Receiver, Stub

HERE = Path(__file__).parent
CHECKOUT = HERE.parents[1]


class Airflow:
    """A running `dag_driver.py` with its own metadata store."""

    def __init__(self, requests: IO[str], answers: IO[str], log: Path) -> None:
        self._requests, self._answers, self._log = requests, answers, log

    def describe(self) -> dict[str, Any]:
        return self._ask({})

    def run(
        self,
        dag_id: str,
        environment: dict[str, str],
        *,
        logical_date: str | None = None,
        run_after: str | None = None,
        conf: dict[str, Any] | None = None,
        unchecked: bool = False,
    ) -> dict[str, Any]:
        dates = {"logical_date": logical_date, "run_after": run_after}
        settings = {"conf": conf or {}, "environment": environment, "unchecked": unchecked}
        return self._ask({"dag_id": dag_id, **dates, **settings})

    def log(self) -> str:
        """Return the end of the log."""
        return "\n".join(self.whole_log().splitlines()[-200:])

    def whole_log(self) -> str:
        return self._log.read_text()

    def _ask(self, request: dict[str, Any]) -> dict[str, Any]:
        self._requests.write(json.dumps(request) + "\n")
        self._requests.flush()
        answer = self._answers.readline()
        assert answer, f"the driver died:\n{self.log()}"
        return json.loads(answer)


@pytest.fixture(scope="session")
def airflow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Airflow]:
    try:
        version("apache-airflow")
    except PackageNotFoundError:
        pytest.skip("needs the [airflow] extra")
    home = tmp_path_factory.mktemp("airflow")
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "RECSYS", "MLFLOW"))},
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(CHECKOUT / "airflow_dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGS_ARE_PAUSED_AT_CREATION": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home}/airflow.db",
    }
    migrate = [sys.executable, "-m", "airflow", "db", "migrate"]
    done = subprocess.run(migrate, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    log = home / "driver.log"
    with (
        log.open("w") as sink,
        subprocess.Popen(
            [sys.executable, str(HERE / "dag_driver.py")],
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=sink,
            text=True,
        ) as driver,
    ):
        assert driver.stdin
        assert driver.stdout
        yield Airflow(driver.stdin, driver.stdout, log)
        driver.stdin.close()
        driver.wait(timeout=30)


@pytest.fixture
def stub(tmp_path: Path) -> Stub:
    return Stub(tmp_path)


@pytest.fixture(scope="session")
def receiver() -> Iterator[Receiver]:
    """A webhook on the loopback interface."""
    with Receiver() as server:
        Thread(target=server.serve_forever).start()
        yield server
        server.shutdown()
