"""The result of a query of a PostgreSQL database, as a stream of CSV."""

from __future__ import annotations

import io
import os
import selectors
import time
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO, cast
from urllib.parse import unquote

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.containers import Layer, spool
from recsys.dataset.raw.deadline import answer
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import ConfigError, DataError
from recsys.extras import needs_extra
from recsys.storage.addresses import CONNECTION_LIMITS, Address, clean

# Parameters that an address may have; libpq knows more, credentials among them.
_PARAMETERS = ("host", "port", "sslmode", "sslrootcert", "target_session_attrs")
_CREDENTIALS = "PGUSER and PGPASSWORD or PGPASSFILE"
# Seconds without a byte after which the server is asked whether it still works on the query.
_SILENCE = 8.0
# Bytes of rows that are handed on at a time.
_BLOCK = 1 << 18
# States of a result of libpq.
_COPY_OUT, _FATAL_ERROR = 3, 7
_CONNECT = {**CONNECTION_LIMITS, "client_encoding": "UTF8", "application_name": "recsys"}
# Dates and times are written in one way, and the query can change nothing.
_BEGIN = b"BEGIN READ ONLY; SET LOCAL datestyle = 'ISO'; SET LOCAL timezone = 'UTC'; SET LOCAL extra_float_digits = 1"


def query_source(what: str, files: RawFiles) -> Source:
    """Return the result of a query as a source of CSV with a header, in UTF-8.

    User and password come from `PGUSER` and `PGPASSWORD` or `PGPASSFILE` only.

    Raises:
        ConfigError: an address that holds a user or a password, or has unknown parameters.
        DataError: psycopg is not installed.
    """
    _import_psycopg(what)
    settings, name = _parse_address(what, files.path)
    if files.format not in ("auto", "csv"):
        raise ConfigError(
            f"{name_setting(what, 'format')} is {files.format}, but a query returns rows; remove the format"
        )
    open_query = partial(_open_query, name, settings, files.query or "")
    return Source(name=name, format="csv", open=open_query, open_seekable=partial(_spool, name, open_query))


def _parse_address(what: str, address: str) -> tuple[dict[str, str], str]:
    """Return the parameters of a connection, and the address for messages."""
    setting = name_setting(what, "path")
    parts = Address.parse(address)
    query = dict(parts.parameters)
    if parts.holds_credentials:
        raise ConfigError(
            f"{setting}: the address contains a user or a password; remove them from the config and set them in the "
            f"environment ({_CREDENTIALS})"
        )
    if unknown := sorted(set(query) - set(_PARAMETERS)):
        raise ConfigError(f"{setting}: unknown parameters {unknown}; expected some of {', '.join(_PARAMETERS)}")
    if not parts.is_certain:
        raise ConfigError(f"{setting}: is not a database address; expected postgresql://HOST/NAME")
    port, database = parts.port, unquote(parts.path.strip("/"))
    settings = {"host": unquote(parts.hostname), "port": port, "dbname": database} | query
    settings = {key: value for key, value in settings.items() if value}
    return settings, f"postgresql://{settings.get('host', '')}{f':{port}' if port else ''}/{database}"


def _open_query(name: str, settings: dict[str, str], query: str) -> BinaryIO:
    return cast(BinaryIO, io.BufferedReader(Layer(_Rows(name, settings, query), name), 1 << 20))


def _spool(name: str, open_query: Any) -> BinaryIO:
    with open_query() as stream:
        return spool(name, stream)


class _Rows(io.RawIOBase):
    """The rows that the server sends, one CSV line after the other; the connection closes with the stream."""

    def __init__(self, name: str, settings: dict[str, str], query: str) -> None:
        import psycopg

        super().__init__()
        self._name, self._settings, self._errors = name, settings, (psycopg.Error,)
        self._rest, self._ended = b"", False
        self._connection = _connect(name, settings)
        self._pq = self._connection.pgconn
        try:
            self._run(self._pq.send_query, _BEGIN)
            # A pool of connections gives another number than the server's own until the transaction starts.
            self._process = int(self._run(self._pq.send_query, b"SELECT pg_backend_pid()").get_value(0, 0))
            copy = f"COPY ({query.strip().rstrip(';')}\n) TO STDOUT (FORMAT csv, HEADER)"
            # Unlike the plain protocol, this one allows a single statement only.
            self._run(lambda text: self._pq.send_query_params(text, None), copy.encode())
        except BaseException:
            self.close()
            raise

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        while not self._rest and not self._ended:
            self._rest = self._receive()
        count = min(len(buffer), len(self._rest))
        buffer[:count] = self._rest[:count]
        self._rest = self._rest[count:]
        return count

    def close(self) -> None:
        if not self.closed:
            super().close()
            if not self._ended:
                self._cancel()
            self._connection.close()

    def _receive(self) -> bytes:
        """Return the next rows, empty at the end."""
        rows, size, receive = [], 0, self._pq.get_copy_data
        while size < _BLOCK:
            try:
                length, row = receive(1)
            except self._errors as error:
                raise self._broken(error) from error
            if length > 0:
                rows.append(bytes(row))
                size += length
            elif length < 0:
                self._check(self._guard(self._pq.get_result))
                self._ended = True
                break
            elif rows:
                break
            else:
                self._wait()
        return b"".join(rows)

    def _run(self, send: Any, text: bytes) -> Any:
        """Send statements, wait until they are carried out or rows start to come, and return the last result."""
        self._guard(lambda: send(text))
        while self._guard(self._pq.flush):
            self._wait(selectors.EVENT_WRITE | selectors.EVENT_READ)
        last = None
        while True:
            while self._guard(self._pq.is_busy):
                self._wait()
            result = self._guard(self._pq.get_result)
            if result is None:
                return last
            self._check(result)
            if result.status == _COPY_OUT:
                return result
            last = result

    def _wait(self, events: int = selectors.EVENT_READ) -> None:
        """Wait for the server; a silent one has to say that it still works on the query."""
        with selectors.DefaultSelector() as selector:
            selector.register(self._pq.socket, events)
            while not selector.select(_SILENCE):
                # What is sent while the server is asked comes a moment later.
                if not self._is_working() and not selector.select(1):
                    raise DataError(
                        f"{self._name}: the connection was lost during the transfer; check the network, then run again"
                    )
        self._guard(self._pq.consume_input)

    def _is_working(self) -> bool:
        """Ask the server, by another connection, whether it still works on the query; if not, its rows are lost.

        Raises:
            DataError: it does not answer.
        """
        started = time.monotonic()
        try:
            state = answer(self._name, partial(_find_state, self._name, self._settings, self._process))
        except DataError as error:
            seconds = _SILENCE + time.monotonic() - started
            raise DataError(
                f"{self._name}: the server stopped responding ({seconds:.0f} s); check that it is running, then run "
                "again"
            ) from error
        return state is not None and state[0] == "active" and state[1] != "Client"

    def _guard(self, request: Any) -> Any:
        try:
            return request()
        except self._errors as error:
            raise self._broken(error) from error

    def _broken(self, error: Exception) -> DataError:
        return DataError(f"{self._name}: the connection was lost during the transfer ({_reason(error)}); run again")

    def _check(self, result: Any) -> None:
        if result is not None and result.status == _FATAL_ERROR:
            reason = result.get_error_message().strip().splitlines()[0]
            raise DataError(f"{self._name}: the database rejected or cancelled the query ({reason}); fix the query")

    def _cancel(self) -> None:
        """Stop a query whose rows are no longer read; a server that does not answer is left alone."""
        with suppress(*self._errors):
            self._connection.cancel_safe(timeout=2)


def _connect(name: str, settings: dict[str, str]) -> Any:
    import psycopg

    try:
        return answer(name, lambda: psycopg.connect(**_CONNECT, **settings, autocommit=True))
    except psycopg.Error as error:
        missing = "" if os.environ.get("PGUSER") else "; PGUSER is not set"
        raise DataError(
            f"{name}: cannot connect ({_reason(error)}); check the server, and the user and password in "
            f"the environment ({_CREDENTIALS}){missing}"
        ) from error


def _find_state(name: str, settings: dict[str, str], process: int) -> tuple[str, str] | None:
    """Return what the server does for a connection, and what it waits for; None: it has no such connection."""
    with _connect(name, settings) as connection:
        found = connection.execute(
            "SELECT state, wait_event_type FROM pg_stat_activity WHERE pid = %s", [process]
        ).fetchone()
        return cast("tuple[str, str] | None", found)


def _reason(error: Exception) -> str:
    return clean((str(error).strip() or type(error).__name__).splitlines()[0])


def _import_psycopg(what: str) -> None:
    with needs_extra("postgres", f"{name_setting(what, 'path')} (a database)", DataError):
        import psycopg  # noqa: F401
