"""Servers that are dead, hang or refuse are an error in time, with the next step and without credentials."""

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest
from faulty_servers import silent_server
from miniature import settings
from mlflow.exceptions import MlflowException

from recsys.config import Config, parse_config
from recsys.errors import RegistryError
from recsys.registry import client as client_module
from recsys.registry.client import explain
from recsys.registry.tracking import connect
from recsys.storage.addresses import Address


@pytest.fixture
def config() -> Config:
    return parse_config(settings(), "test")


@contextmanager
def answering(reply: bytes, pause: float = 0.0) -> Iterator[str]:
    """A server that sends the same bytes to each request, and then leaves the connection open for a while."""
    listener = socket.create_server(("127.0.0.1", 0))
    connections: list[socket.socket] = []

    def serve() -> None:
        with suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connections.append(connection)
                connection.recv(65536)
                connection.sendall(reply)
                if not pause:
                    connection.shutdown(socket.SHUT_RDWR)

    threading.Thread(target=serve, daemon=True).start()
    try:
        yield f"http://ana:hunter22@127.0.0.1:{listener.getsockname()[1]}"
    finally:
        for end in (listener, *connections):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same limits, in fractions of their seconds."""
    monkeypatch.setattr(client_module, "_TIMEOUT", 2)
    monkeypatch.setattr(client_module, "_PATIENCE", 1.0)
    monkeypatch.setitem(client_module._LIMITS, "MLFLOW_HTTP_REQUEST_TIMEOUT", "2")


def check_error(config: Config, home: Path, uri: str, monkeypatch: pytest.MonkeyPatch, expected: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    before, started = dict(os.environ), time.monotonic()
    with pytest.raises(RegistryError, match=expected) as caught:
        connect(home, config)
    # The import of MLflow and a busy machine included.
    assert time.monotonic() - started < 15
    assert "hunter22" not in str(caught.value)
    assert "ana" not in str(caught.value)
    assert dict(os.environ) == before


def test_the_limits_leave_time_for_an_error_within_30_seconds() -> None:
    assert client_module._TIMEOUT <= 20
    assert client_module._PATIENCE <= 10


_CONNECT = """
import os, sys
from pathlib import Path
from miniature import settings
from recsys.config import parse_config
from recsys.errors import RegistryError
from recsys.registry import client
from recsys.registry.tracking import connect
from recsys.storage.addresses import Address
client._TIMEOUT = 2
try:
    connect(Path(sys.argv[1]), parse_config(settings(), "test"))
except RegistryError as error:
    print(error, flush=True)
# Without waiting for the thread that is still trying.
os._exit(0)
"""


@pytest.mark.usefixtures("quick")
class TestFaults:
    def test_a_server_that_never_answers(self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        with silent_server() as port:
            check_error(config, tmp_path, f"http://ana:hunter22@127.0.0.1:{port}", monkeypatch, "does not answer")

    def test_a_database_that_never_answers(self, tmp_path: Path) -> None:
        # In another process: MLflow goes on trying to reach a database, and no other store opens meanwhile.
        with silent_server() as port:
            uri = f"postgresql+psycopg://ana:hunter22@127.0.0.1:{port}/mlflow"
            environment = {**os.environ, "MLFLOW_TRACKING_URI": uri, "PYTHONPATH": os.pathsep.join(sys.path)}
            started = time.monotonic()
            asked = subprocess.run(
                [sys.executable, "-W", "ignore", "-c", _CONNECT, str(tmp_path)],
                env=environment,
                capture_output=True,
                text=True,
                check=False,
            )
        assert time.monotonic() - started < 60
        assert f"127.0.0.1:{port}/mlflow: does not answer" in asked.stdout
        assert "hunter22" not in asked.stdout + asked.stderr

    @pytest.mark.parametrize("head", [b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"HTTP/1.1 200 OK\r\n"])
    def test_a_server_that_stops_half_way(
        self, head: bytes, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering(head, pause=60) as uri:
            check_error(config, tmp_path, uri, monkeypatch, "does not answer")

    def test_a_dead_server(self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        check_error(config, tmp_path, "http://ana:hunter22@127.0.0.1:1", monkeypatch, "does not answer")

    @pytest.mark.parametrize(
        ("status", "expected"),
        [
            (b"401 Unauthorized", r"rejects the credentials \(401\); set MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING"),
            (b"403 Forbidden", r"does not allow this user to do that \(403\); set MLFLOW_TRACKING_USERNAME"),
            (b"500 Internal Server Error", "does not answer"),
            (b"404 Not Found", "does not answer"),
        ],
    )
    def test_a_server_that_refuses(
        self, status: bytes, expected: str, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        # It answers, however busy the machine is.
        monkeypatch.setattr(client_module, "_TIMEOUT", 12)
        with answering(b"HTTP/1.1 " + status + b"\r\nContent-Length: 2\r\nConnection: close\r\n\r\nno") as uri:
            check_error(config, tmp_path, uri, monkeypatch, expected)

    def test_a_server_that_answers_something_else(
        self, config: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with answering(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\nConnection: close\r\n\r\n<html>") as uri:
            check_error(config, tmp_path, uri, monkeypatch, "does not answer")


def test_a_number_in_the_path_of_a_store_is_no_answer_of_a_server() -> None:
    error = MlflowException("cannot write /srv/run-403/mlflow.db: readonly")
    assert explain(Address.parse("sqlite:////srv/run-403/mlflow.db"), error) == str(error)
    assert "does not allow this user" in explain(Address.parse("http://host"), MlflowException("403 Forbidden"))
