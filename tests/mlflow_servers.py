"""A real `mlflow server` on a real PostgreSQL, which passes artifacts on: what a team has in production."""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from urllib.error import URLError
from urllib.request import urlopen

from postgres_server import run_server

_START_SECONDS = 60


@contextmanager
def run_mlflow_server(backend: str) -> Iterator[str]:
    """Start a server on a database and give its address; its artifacts are in a temporary folder.

    Args:
        backend: URL of the database, as SQLAlchemy reads it.
    """
    folder = Path(tempfile.mkdtemp(prefix="recsys-mlflow-"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", backend, "--serve-artifacts", "--artifacts-destination", folder.as_uri()]
    environment = {**os.environ, "MLFLOW_DISABLE_TELEMETRY": "true", "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    with (folder / "log").open("w") as log:
        server = subprocess.Popen([*command, *places], env=environment, stdout=log, stderr=log, start_new_session=True)
    address = f"http://127.0.0.1:{port}"
    try:
        _wait(address, server, folder / "log")
        yield address
    finally:
        # The server has workers of its own.
        os.killpg(server.pid, 9)
        server.wait()
        rmtree(folder, ignore_errors=True)


def _wait(address: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline and server.poll() is None:
        try:
            with urlopen(f"{address}/health", timeout=5):
                return
        except (URLError, OSError):
            time.sleep(0.2)
    raise RuntimeError(f"mlflow server did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def run_postgres_mlflow() -> Iterator[str]:
    """Start PostgreSQL and a server on it, and give the address of the server."""
    with run_server() as url, run_mlflow_server(url.replace("postgresql://", "postgresql+psycopg://")) as address:
        yield address
