import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from faulty_servers import Proxy

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw import database, deadline
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.places import find_sources
from recsys.errors import ConfigError, DataError, RecsysError


@pytest.fixture
def sockets(server: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of the server's socket, with the user in the environment."""
    monkeypatch.setenv("PGUSER", "lists")
    monkeypatch.setenv("PGPASSWORD", "very secret")
    return Path(parse_qs(urlsplit(server).query)["host"][0])


@pytest.fixture
def proxied(sockets: Path) -> Iterator[Callable[[int, str], Proxy]]:
    """Start proxies in front of the server; each gives the folder of its socket."""
    proxies: list[Proxy] = []

    def start(limit: int, fault: str) -> Proxy:
        folder = Path(tempfile.mkdtemp(prefix="recsys-proxy-"))
        proxies.append(Proxy(folder, sockets, limit, fault))
        return proxies[-1]

    yield start
    for proxy in proxies:
        proxy.close()
        shutil.rmtree(proxy.folder)


def source(folder: Path, query: str) -> Source:
    (found,) = find_sources("interactions", RawFiles(path=f"postgresql:///postgres?host={folder}", query=query))
    return found


def read(folder: Path, query: str) -> str:
    with source(folder, query).open() as content:
        return content.read().decode()


def failure(folder: Path, query: str) -> str:
    with pytest.raises(DataError) as caught:
        read(folder, query)
    message = str(caught.value)
    assert "very secret" not in message
    assert "\n" not in message
    return message


def test_rows_come_as_csv_with_a_header(sockets):
    query = """SELECT 7 AS id, 'a, "b"' AS title, NULL AS gone, timestamptz '2024-05-01 12:00+02' AS "at" -- all;"""
    assert read(sockets, query) == 'id,title,gone,at\n7,"a, ""b""",,2024-05-01 10:00:00+00\n'
    found = source(sockets, "SELECT '书' AS name;")
    assert (found.format, found.size) == ("csv", None)
    assert found.name == f"postgresql://{sockets}/postgres"
    with found.open_seekable() as content:
        content.seek(5)
        assert content.read().decode() == "书\n"


def test_long_results_stream_and_stop_when_the_reader_does(sockets):
    query = "SELECT n, repeat('x', 100) AS text FROM generate_series(1, 300000) AS n"
    with source(sockets, query).open() as content:
        lines = content.readlines()
    assert len(lines) == 300_001
    assert lines[-1] == b"300000," + b"x" * 100 + b"\n"

    with source(sockets, "SELECT generate_series(1, 1000000000000) AS n").open() as content:
        assert content.readline() == b"n\n"
    with psycopg.connect(f"host={sockets} dbname=postgres") as connection:
        for _ in range(100):
            running = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE 'COPY%' AND state = 'active'"
            if connection.execute(running).fetchone() == (0,):
                return
            time.sleep(0.05)
    pytest.fail("the query goes on after its stream was closed")


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("SELECT nothing FROM nowhere", 'relation "nowhere" does not exist'),
        ("SELECT 1/(n - 5) FROM generate_series(1, 9) AS n", "division by zero"),
        ("DROP TABLE a", "syntax error"),
        ("SELECT 1) TO STDOUT; COMMIT; CREATE TABLE b (n int); COPY (SELECT 1", "multiple commands"),
        ("WITH n AS (SELECT pg_advisory_lock(1)) INSERT INTO kept SELECT 1 RETURNING n", "read-only transaction"),
    ],
)
def test_queries_that_fail_or_write_are_refused(sockets, query, expected):
    with psycopg.connect(f"host={sockets} dbname=postgres", autocommit=True) as connection:
        connection.execute("CREATE TABLE IF NOT EXISTS kept (n int)")
        message = failure(sockets, query)
        assert connection.execute("SELECT count(*) FROM kept").fetchone() == (0,)
    assert expected in message
    assert f"postgresql://{sockets}/postgres" in message


@pytest.mark.parametrize(
    "address",
    [
        "postgresql://ann:very-secret@host/shop",
        "postgresql://ann@host/shop",
        "postgresql://host/shop?password=very-secret",
        "postgresql://host/shop?user=ann",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(address):
    with pytest.raises(ConfigError) as caught:
        find_sources("interactions", RawFiles(path=address, query="SELECT 1"))
    assert "dataset.interactions.path" in str(caught.value)
    assert "PGPASSWORD" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("ann", "secret"))


@pytest.mark.parametrize(
    ("address", "expected"),
    [
        ("postgresql://host:port/shop", "not a database address"),
        ("postgresql://host/shop?options=-c%20x", "unknown parameters ['options']"),
    ],
)
def test_addresses_that_cannot_be_right_are_refused(address, expected):
    with pytest.raises(RecsysError) as caught:
        find_sources("interactions", RawFiles(path=address, query="SELECT 1"))
    assert expected in str(caught.value)


def test_missing_driver_names_the_extra(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(DataError, match=r"pip install 'nightly-recsys\[postgres\]'"):
        find_sources("items", RawFiles(path="postgresql://host/shop", query="SELECT 1"))


def test_server_that_cannot_be_reached_says_what_to_check(tmp_path, monkeypatch):
    monkeypatch.delenv("PGUSER", raising=False)
    message = failure(tmp_path, "SELECT 1")
    assert "cannot connect" in message
    assert "PGUSER is not set" in message


# --- servers that fail half way ----------------------------------------------------------------------------

_LONG = "SELECT n, repeat('x', 100) AS text FROM generate_series(1, 300000) AS n"


@pytest.fixture
def curious(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "_SILENCE", 0.3)


@pytest.fixture
def impatient(curious: None, monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine connects in less.
    monkeypatch.setattr(deadline, "SECONDS", 2.0)


def test_connection_that_breaks_half_way_is_an_error(proxied):
    proxy = proxied(2_000_000, "cut")
    with source(proxy.folder, _LONG).open() as content:
        assert len(content.read(1_000_000)) == 1_000_000
        with pytest.raises(DataError, match="was lost during the transfer"):
            content.read()


def test_server_that_stops_answering_is_an_error(proxied, impatient):
    proxy = proxied(2_000_000, "hang")
    proxy.silent_from = 2
    with source(proxy.folder, _LONG).open() as content:
        assert len(content.read(1_000_000)) == 1_000_000
        with pytest.raises(DataError, match="stopped responding"):
            content.read()


def test_rows_that_do_not_arrive_are_an_error_though_the_server_runs(proxied, curious):
    proxy = proxied(2_000_000, "hang")
    with source(proxy.folder, _LONG).open() as content:
        assert len(content.read(1_000_000)) == 1_000_000
        with pytest.raises(DataError, match="was lost during the transfer"):
            content.read()


def test_server_that_never_answers_is_an_error(proxied, impatient):
    proxy = proxied(0, "hang")
    assert "did not respond within 2 s" in failure(proxy.folder, "SELECT 1")


def test_query_that_takes_long_is_waited_for(sockets, curious):
    assert read(sockets, "SELECT 1 AS n FROM pg_sleep(1.5)") == "n\n1\n"


def test_backend_that_is_stopped_is_an_error(sockets):
    def stop() -> None:
        with psycopg.connect(f"host={sockets} dbname=postgres", autocommit=True) as connection:
            for _ in range(100):
                stopped = connection.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'COPY%pg_sleep%'"
                )
                if stopped.fetchall():
                    return
                time.sleep(0.05)

    thread = threading.Thread(target=stop)
    thread.start()
    message = failure(sockets, "SELECT 1 FROM pg_sleep(20)")
    thread.join()
    assert "terminating connection" in message or "was lost during the transfer" in message
