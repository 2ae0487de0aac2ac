"""Servers that fail on purpose, and a real S3-compatible server, on the loopback interface."""

import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

SOCKET = ".s.PGSQL.5432"


class Proxy:
    """Forwards connections to a PostgreSQL server until it is told to fail.

    Args:
        folder: where its socket is made.
        there: folder of the server's socket.
        limit: bytes of each connection from the server after which `fault` sets in.
        fault: cut: the connection is closed; hang: nothing more is forwarded.
    """

    def __init__(self, folder: Path, there: Path, limit: int, fault: str) -> None:
        self.folder, self.there, self.limit, self.fault = folder, there, limit, fault
        self.connections = 0
        # The connections from this one on are accepted and never answered.
        self.silent_from: int | None = None
        self._open: list[socket.socket] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(folder / SOCKET))
        self._listener.listen(50)
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        with suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                self._open.append(client)
                self.connections += 1
                if self.silent_from is not None and self.connections >= self.silent_from:
                    continue
                server = socket.socket(socket.AF_UNIX)
                server.connect(str(self.there / SOCKET))
                self._open.append(server)
                threading.Thread(target=self._forward, args=(client, server, None), daemon=True).start()
                threading.Thread(target=self._forward, args=(server, client, self.limit), daemon=True).start()

    def _forward(self, source: socket.socket, target: socket.socket, limit: int | None) -> None:
        sent = 0
        with suppress(OSError):
            while data := source.recv(4096):
                sent += len(data)
                if limit is not None and sent > limit:
                    if self.fault == "hang":
                        return
                    break
                target.sendall(data)
            for end in (source, target):
                end.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        for end in (self._listener, *self._open):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()


@contextmanager
def silent_server() -> Iterator[int]:
    """Give the port of a server that accepts connections and never answers."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(50)
        yield listener.getsockname()[1]


@contextmanager
def object_store() -> Iterator[str]:
    """Start an S3-compatible server and give its address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port = listener.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(600):
            if process.poll() is not None:
                raise RuntimeError("moto.server does not start; install the extra 'dev'")
            with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            time.sleep(0.05)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()
