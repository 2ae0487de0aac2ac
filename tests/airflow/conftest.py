import json
import os
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, Any

import pytest

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
        """Return the end of the log, the output of the commands first."""
        lines = self._log.read_text().splitlines()
        return "\n".join([*[line for line in lines if "SubprocessHook" in line][-60:], *lines[-30:]])

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
def stub(tmp_path: Path) -> "Stub":
    return Stub(tmp_path)


class Stub:
    """A stand-in for the CLI that records its arguments and exits with a given code."""

    def __init__(self, folder: Path) -> None:
        self.calls_file = folder / "calls.jsonl"
        self.command = folder / "a folder" / "recsys"  # a space: the DAG must quote
        self.command.parent.mkdir()
        self.exit_codes: dict[str, int] = {}

    def environment(self, **more: str) -> dict[str, str]:
        source = (
            f"#!{sys.executable}\n"
            "import json, os, sys\n"
            f"open({str(self.calls_file)!r}, 'a').write(json.dumps(sys.argv[1:] + [os.getcwd()]) + '\\n')\n"
            f"sys.exit({self.exit_codes!r}.get(sys.argv[1], 0))\n"
        )
        self.command.write_text(source)
        self.command.chmod(0o755)
        return {"RECSYS_COMMAND": str(self.command), "RECSYS_CONFIG": "configs/demo.yaml", **more}

    def calls(self) -> list[list[str]]:
        if not self.calls_file.exists():
            return []
        return [json.loads(line) for line in self.calls_file.read_text().splitlines()]
