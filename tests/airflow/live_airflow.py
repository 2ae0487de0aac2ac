"""A real Airflow on the loopback interface: scheduler, dag processor, triggerer and api server."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import quote
from urllib.request import Request, urlopen

DAGS = Path(__file__).parents[2] / "airflow_dags"
_SERVICES = (
    ("api-server", "--workers", "1"),
    ("dag-processor",),
    ("scheduler", "--skip-serve-logs"),
    ("triggerer", "--skip-serve-logs"),
)


class LiveAirflow:
    """Starts the services in one session, which ends with all that they have started.

    Args:
        home: an empty folder.
        database: URL of an empty PostgreSQL database: with SQLite, services that write at once fail now and then.
        environment: of the services, and so of the tasks.
    """

    def __init__(self, home: Path, database: str, environment: dict[str, str]) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        self.address = f"http://127.0.0.1:{port}"
        self._home = home
        inherited = {
            name: value for name, value in os.environ.items() if not name.startswith(("AIRFLOW", "RECSYS", "MLFLOW"))
        }
        settings = {
            "CORE__DAGS_FOLDER": str(DAGS),
            "CORE__LOAD_EXAMPLES": "False",
            "CORE__DAGS_ARE_PAUSED_AT_CREATION": "True",
            "CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
            "CORE__PARALLELISM": "4",
            "CORE__EXECUTION_API_SERVER_URL": f"{self.address}/execution/",
            "API__BASE_URL": self.address,
            "API__HOST": "127.0.0.1",
            "API__PORT": str(port),
            "API_AUTH__JWT_SECRET": "only for this test, and as long as the signature asks for: " + 64 * "x",
            **dict.fromkeys(
                ("DATABASE__SQL_ALCHEMY_CONN", "DATABASE__SQL_ALCHEMY_CONN_ASYNC"),
                database.replace("postgresql:", "postgresql+psycopg:"),
            ),
            "SCHEDULER__SCHEDULER_IDLE_SLEEP_TIME": "0.2",
            "SCHEDULER__SCHEDULER_HEARTBEAT_SEC": "1",
            "LOGGING__BASE_LOG_FOLDER": str(home / "logs"),
            "USAGE_DATA_COLLECTION__ENABLED": "False",
        }
        self._environment = {
            **inherited,
            "AIRFLOW_HOME": str(home),
            **{f"AIRFLOW__{name}": value for name, value in settings.items()},
            **environment,
        }
        self._services: list[subprocess.Popen[bytes]] = []
        self._headers = {"Content-Type": "application/json"}

    def start(self) -> None:
        self.command("db", "migrate")
        leader: int = 0
        for service in _SERVICES:
            with (self._home / f"{service[0]}.log").open("wb") as log:
                process = subprocess.Popen(
                    [sys.executable, "-m", "airflow", *service],
                    env=self._environment,
                    cwd=self._home,
                    stdout=log,
                    stderr=log,
                    process_group=leader,
                )
            leader = leader or process.pid
            self._services.append(process)
        wait_for(lambda: self._is_up(), 120, "the api server", self.log)
        token = self.get("/auth/token")["access_token"]
        self._headers["Authorization"] = f"Bearer {token}"

    def stop(self) -> None:
        """End the group of the services, and wait for it."""
        if self._services:
            with suppress(ProcessLookupError):
                os.killpg(self._services[0].pid, signal.SIGTERM)
            for process in self._services:
                try:
                    process.wait(timeout=20)
                except subprocess.TimeoutExpired:
                    break
            with suppress(ProcessLookupError):
                os.killpg(self._services[0].pid, signal.SIGKILL)
            for process in self._services:
                process.wait()

    def command(self, *arguments: str) -> str:
        """Run a command of Airflow."""
        done = subprocess.run(
            [sys.executable, "-m", "airflow", *arguments],
            env=self._environment,
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def get(self, path: str) -> Any:
        return self._call("GET", path)

    def change(self, method: str, path: str, **content: Any) -> Any:
        return self._call(method, path, content)

    def _call(self, method: str, path: str, content: Any = None) -> Any:
        body = None if content is None else json.dumps(content).encode()
        with urlopen(Request(self.address + path, body, self._headers, method=method), timeout=30) as answer:
            return json.loads(answer.read() or "null")

    def runs(self, dag_id: str) -> list[dict[str, Any]]:
        """Return the runs of a DAG, the first one first."""
        found: list[dict[str, Any]] = self.get(f"/api/v2/dags/{dag_id}/dagRuns?order_by=id")["dag_runs"]
        return found

    def tasks(self, run: dict[str, Any]) -> dict[str, str | None]:
        """Return the state of each task of a run."""
        path = f"/api/v2/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances"
        return {task["task_id"]: task["state"] for task in self.get(path)["task_instances"]}

    def xcom(self, run: dict[str, Any], task: str, key: str) -> Any:
        path = f"/api/v2/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances/{task}"
        return self.get(f"{path}/xcomEntries/{key}")["value"]

    def tries(self, run: dict[str, Any], task: str) -> int:
        path = f"/api/v2/dags/{run['dag_id']}/dagRuns/{quote(run['dag_run_id'], safe='')}/taskInstances/{task}"
        number: int = self.get(path)["try_number"]
        return number

    def finish(self, dag_id: str, number: int, seconds: float = 240) -> dict[str, Any]:
        """Wait until the DAG's run of this number, from 0, has ended, and return it."""

        def ended() -> dict[str, Any] | None:
            runs = self.runs(dag_id)
            done = len(runs) > number and runs[number]["state"] in ("success", "failed")
            return runs[number] if done else None

        found: dict[str, Any] = wait_for(ended, seconds, f"run {number} of {dag_id}", self.log)
        return found

    def read_log(self, service: str) -> str:
        return (self._home / f"{service}.log").read_text()

    def log(self) -> str:
        """Return the ends of the services' logs, and those of the tasks."""
        files = [*self._home.glob("*r.log"), *sorted(self._home.glob("logs/**/*.log"))]
        return "\n".join(f"== {file.name}\n" + "\n".join(file.read_text().splitlines()[-15:]) for file in files)

    def _is_up(self) -> bool:
        try:
            health = self.get("/api/v2/monitor/health")
        except (HTTPError, URLError, OSError):
            return False
        return all(health[name]["status"] == "healthy" for name in ("scheduler", "dag_processor", "triggerer"))


def wait_for(condition: Callable[[], Any], seconds: float, what: str, describe: Callable[[], str]) -> Any:
    """Wait until a condition holds and return its value."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if value := condition():
            return value
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:g} seconds for {what}\n{describe()}")
