import gzip
import http.server
import io
import threading
import time
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from typing import ClassVar

import polars as pl
import pyarrow.parquet as pq
import pytest
from faulty_servers import silent_server

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw import deadline, web
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.places import find_sources
from recsys.errors import DataError

CSV = b"id,name\n1,a\n"
ROWS = b"".join(b"%d,name of %d\n" % (number, number * 7919) for number in range(100_000))


class Handler(http.server.BaseHTTPRequestHandler):
    """Serves a few files in folders that say how: in parts, cut short, late, or at the second try only."""

    files: ClassVar[dict[str, bytes]] = {}
    requests: ClassVar[list[tuple[str, str | None]]] = []

    def do_GET(self):
        folder, _, name = self.path.partition("?")[0].strip("/").partition("/")
        self.requests.append((self.path, self.headers["Range"]))
        content = self.files.get(name)
        if content is None:
            return self.send_error(404)
        if folder == "private" and self.headers["Authorization"] != "Basic " + b64encode(b"ann:pass").decode():
            return self.send_error(401)
        if folder == "busy" and len(self.requests) == 1:
            return self.send_error(503)
        if folder == "ranged" and self.headers["Range"]:
            first, last = map(int, self.headers["Range"].removeprefix("bytes=").split("-"))
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
            content = content[first : last + 1]
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content[: len(content) // 2] if folder in ("short", "stuck") else content)
        if folder == "stuck":
            time.sleep(1)
        return None

    def log_message(self, *args):
        pass


@pytest.fixture
def address(monkeypatch) -> Iterator[str]:
    monkeypatch.setenv("NETRC", "/nowhere")
    parquet, archive = io.BytesIO(), io.BytesIO()
    pl.DataFrame({"id": range(200_000), "text": ["some text"] * 200_000}).write_parquet(parquet)
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.csv", CSV)
        packed.writestr("b.csv", ROWS)
    Handler.files = {
        "a.csv": CSV,
        "rows.csv": ROWS,
        "a.csv.gz": gzip.compress(ROWS),
        "export": b'{"id": 1}\n',
        "p.parquet": parquet.getvalue(),
        "all.zip": archive.getvalue(),
    }
    Handler.requests = []
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def find(path: str) -> Source:
    (found,) = find_sources("items", RawFiles(path=path))
    return found


def read(path: str) -> bytes:
    with find(path).open() as content:
        return content.read()


def failure(path: str) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_file_is_read_plain_and_compressed(address):
    assert read(f"{address}/x/a.csv") == CSV
    assert read(f"{address}/x/a.csv.gz") == ROWS
    source = find(f"{address}/day=3/export?format=lines")
    assert (source.name, source.format, source.partitions) == (f"{address}/day=3/export", "json", {"day": "3"})


@pytest.mark.parametrize("folder", ["ranged", "whole"])
def test_parquet_and_archives_are_read_in_parts_where_the_server_allows_it(address, folder):
    with find(f"{address}/{folder}/p.parquet").open_seekable() as content:
        assert pq.ParquetFile(content).read(columns=["id"]).column("id").to_pylist() == list(range(200_000))
    with find(f"{address}/{folder}/all.zip/b.csv").open() as content:
        assert content.read() == ROWS


def test_ranges_leave_the_rest_of_a_file_where_it_is(address):
    source = find(f"{address}/ranged/rows.csv")
    Handler.requests.clear()
    with source.open_seekable() as content:
        content.seek(-10, io.SEEK_END)
        assert content.read() == ROWS[-10:]
    assert ("/ranged/rows.csv", f"bytes={len(ROWS) - 10}-{len(ROWS) - 1}") in Handler.requests


def test_refusals_say_what_to_do(address, tmp_path, monkeypatch):
    assert "the server returned 404 Not Found; check the address" in failure(f"{address}/x/absent.csv")
    assert "401 Unauthorized; check that the file is public, or put" in failure(f"{address}/private/a.csv")
    (tmp_path / "netrc").write_text("machine 127.0.0.1 login ann password pass\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert read(f"{address}/private/a.csv") == CSV


def test_busy_server_is_asked_a_second_time(address):
    assert read(f"{address}/busy/a.csv") == CSV


def test_body_that_ends_early_is_an_error(address):
    assert f"the connection ended after {len(ROWS) // 2:,} of {len(ROWS):,} bytes" in failure(
        f"{address}/short/rows.csv"
    )


def test_server_that_hangs_is_an_error_at_the_start_and_half_way(address, monkeypatch):
    monkeypatch.setattr(web, "_TIMEOUT", 0.3)
    with silent_server() as port:
        assert "cannot be reached (timed out; 2 tries)" in failure(f"http://127.0.0.1:{port}/a.csv")
    assert "the connection was lost (timed out)" in failure(f"{address}/stuck/rows.csv")
    monkeypatch.setattr(web, "_TIMEOUT", 10)
    monkeypatch.setattr(deadline, "SECONDS", 0.3)
    with silent_server() as port:
        assert "did not respond within 0.3 s" in failure(f"http://127.0.0.1:{port}/a.csv")
