"""A real MLflow server over a real PostgreSQL, with proxied artifacts, and with MLflow's own authentication."""

import importlib.util
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

USER = "admin"
# Each of these letters ends some part of an address.
PASSWORD = "pa/ss@w%rd?41 &#:x"


@dataclass
class MlflowServer:
    """A server that can be killed and started again on the same port, over the same data.

    Attributes:
        folder: of its artifacts, its log and its settings.
        database: URL of a database, such as of `postgres_server.run_server`.
        user_database: URL of another database, for users; None: everybody may do everything.
        artifacts: the folder that it stores files in.
    """

    folder: Path
    database: str
    user_database: str | None = None
    port: int = 0
    _process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def uri(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def artifacts(self) -> Path:
        return self.folder / "artifacts"

    def start(self) -> None:
        """Start it and wait until it answers."""
        if not self.port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.port = free.getsockname()[1]
        command = [sys.executable, "-W", "ignore", "-m", "mlflow", "server", "--workers", "1", "--port", str(self.port)]
        command += ["--backend-store-uri", self.database, "--artifacts-destination", str(self.artifacts)]
        environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
        if self.user_database is not None:
            command += ["--app-name", "basic-auth"]
            environment |= self._write_auth(self.user_database)
        with (self.folder / "log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, cwd=self.folder, env=environment, start_new_session=True
            )
        for _ in range(1200):
            if self._process.poll() is not None:
                raise RuntimeError((self.folder / "log").read_text("utf-8")[-3000:])
            with suppress(OSError), urllib.request.urlopen(f"{self.uri}/health", timeout=5):
                return
            time.sleep(0.1)
        raise RuntimeError("the MLflow server does not answer")

    def kill(self) -> None:
        """Kill it with all its processes, as a machine that loses power would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def freeze(self) -> None:
        """Stop all its processes: it accepts connections and never answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, number)

    def _write_auth(self, database: str) -> Mapping[str, str]:
        settings = self.folder / "auth.ini"
        lines = ["[mlflow]", "default_permission = NO_PERMISSIONS", f"database_uri = {database}"]
        settings.write_text("\n".join([*lines, f"admin_username = {USER}", ""]), "utf-8")
        return {
            "MLFLOW_AUTH_CONFIG_PATH": str(settings),
            "MLFLOW_AUTH_ADMIN_PASSWORD": PASSWORD,
            "MLFLOW_FLASK_SERVER_SECRET_KEY": "a key of the tests",
        }


def need_authentication() -> None:
    """Skip where MLflow's authentication cannot run."""
    if importlib.util.find_spec("flask_wtf") is None:
        pytest.skip("MLflow's authentication needs Flask-WTF; install the extra 'dev'")


@contextmanager
def run_mlflow(folder: Path, postgres: str, *, authentication: bool) -> Iterator[MlflowServer]:
    """Start a server over databases of its own in a PostgreSQL server.

    Args:
        folder: for its files.
        postgres: URL of the server's database `postgres`.
        authentication: only `USER` with `PASSWORD` may do anything.
    """
    import psycopg

    names = ["mlflow", "mlflow_users"] if authentication else ["mlflow_open"]
    with psycopg.connect(postgres, autocommit=True) as connection:
        for name in names:
            connection.execute(f"CREATE DATABASE {name}")
    urls = [postgres.replace("/postgres?", f"/{name}?") for name in names]
    server = MlflowServer(folder, *urls)
    server.start()
    try:
        yield server
    finally:
        server.kill()


def ask(uri: str) -> int:
    """Return the status that a server answers with."""
    try:
        with urllib.request.urlopen(uri, timeout=20) as reply:
            return int(reply.status)
    except urllib.error.HTTPError as error:
        return error.code
