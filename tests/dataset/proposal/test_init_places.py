"""Exports in a database, an archive, an object store or a Delta table are read where they are."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

import polars as pl
import psycopg
import pytest
from dataset.proposal.layouts import write_amazon, write_us_or_eu
from dataset.proposal.world import make_world
from faulty_servers import object_store

from recsys.config import parse_config
from recsys.dataset.ingestion import ingest
from recsys.dataset.proposal.proposal import Proposal, propose
from recsys.dataset.proposal.questions import Decisions
from recsys.errors import ConfigError, DataError

ORDERS = "SELECT customer, product, at FROM orders"
PRODUCTS = "SELECT * FROM products"


@pytest.fixture(autouse=True)
def data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    return tmp_path


def count_read(proposal: Proposal) -> int:
    """Return how many events ingest reads with a proposed config."""
    config = parse_config(proposal.content, "proposed")
    return ingest(config.dataset, now=datetime(2026, 1, 1, tzinfo=UTC)).interactions.height


class TestDatabase:
    @pytest.fixture
    def address(self, server: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
        world = make_world()
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("CREATE TABLE orders (customer int, product text, at timestamptz)")
            connection.execute("CREATE TABLE products (sku text, name text, brand text)")
            rows: list[tuple[Any, ...]] = [(e.user, f"P{e.item.number}", e.time) for e in world.events]
            connection.cursor().executemany("INSERT INTO orders VALUES (%s, %s, %s)", rows)
            rows = [(f"P{i.number}", i.title, i.author) for i in world.items]
            connection.cursor().executemany("INSERT INTO products VALUES (%s, %s, %s)", rows)
        monkeypatch.setenv("PGUSER", "lists")
        yield f"postgresql:///postgres?host={parse_qs(urlsplit(server).query)['host'][0]}"
        with psycopg.connect(server, autocommit=True) as connection:
            connection.execute("DROP TABLE orders, products")

    def test_a_query_for_each_table(self, address: str) -> None:
        proposal = propose([address], "x", Decisions(), [ORDERS, PRODUCTS])
        dataset = proposal.content["dataset"]
        assert dataset["interactions"]["query"] == ORDERS
        assert dataset["interactions"]["columns"] == {"user_id": "customer", "item_id": "product", "time": "at"}
        assert dataset["items"]["query"] == PRODUCTS
        assert dataset["items"]["columns"]["title"] == "name"
        assert "2,760 rows; the result of a query" in proposal.text
        assert count_read(proposal) == len(make_world().events)

    def test_one_query_for_both(self, address: str) -> None:
        query = "SELECT o.*, name FROM orders o JOIN products p ON p.sku = o.product"
        proposal = propose([address], "x", Decisions(), [query])
        assert proposal.content["dataset"]["items"]["query"] == query
        assert count_read(proposal) == len(make_world().events)

    def test_what_the_database_refuses(self, address: str) -> None:
        with pytest.raises(DataError, match=r"no table can be read: .*the database rejected or cancelled the query"):
            propose([address], "x", Decisions(), ["SELECT * FROM nothing"])
        with pytest.raises(ConfigError, match="contains a user or a password"):
            propose(["postgresql://me:secret@host/shop"], "x", Decisions(), [ORDERS])


def test_a_database_and_its_queries_go_together(data: Path) -> None:
    with pytest.raises(ConfigError, match="a database needs a query for each table"):
        propose(["postgresql://host/shop"], "x", Decisions())
    with pytest.raises(ConfigError, match="--query works only with a database"):
        propose(["orders.csv"], "x", Decisions(), [ORDERS])


def test_an_archive_of_two_tables(data: Path) -> None:
    write_amazon(data)
    with zipfile.ZipFile(data / "export.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for file in sorted((data / "export").iterdir()):
            archive.write(file, f"dump/{file.name}")
        archive.writestr("dump/README.txt", "An export.")
    proposal = propose(["export.zip"], "x", Decisions())
    assert proposal.content["dataset"]["interactions"]["path"] == "export.zip/dump/reviews.jsonl.gz"
    assert proposal.content["dataset"]["items"]["path"] == "export.zip/dump/meta.jsonl.gz"
    assert count_read(proposal) == len(make_world().events)


def test_a_delta_table(data: Path) -> None:
    world = make_world()
    events = {"member": [e.user for e in world.events], "book": [e.item.number + 500 for e in world.events]}
    frame = pl.DataFrame(events | {"borrowed_at": [e.time for e in world.events]})
    frame.write_delta(str(data / "x" / "loans"))
    books = {"book": [i.number + 500 for i in world.items], "title": [i.title for i in world.items]}
    pl.DataFrame(books).write_csv(data / "x" / "books.csv")
    proposal = propose(["x"], "x", Decisions())
    interactions = proposal.content["dataset"]["interactions"]
    assert interactions["path"] == "x/loans"
    assert interactions["columns"] == {"user_id": "member", "item_id": "book", "time": "borrowed_at"}
    assert count_read(proposal) == len(world.events)


def test_an_object_store(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_amazon(data)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "key")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    with object_store() as address:
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        import boto3

        client = boto3.client("s3", endpoint_url=address)
        client.create_bucket(Bucket="shop")
        for file in (data / "export").iterdir():
            client.put_object(Bucket="shop", Key=f"raw/{file.name}", Body=file.read_bytes())
        proposal = propose(["s3://shop/raw"], "x", Decisions())
        assert proposal.content["dataset"]["interactions"]["path"] == "s3://shop/raw/reviews.jsonl.gz"
        assert proposal.content["dataset"]["items"]["path"] == "s3://shop/raw/meta.jsonl.gz"
        assert count_read(proposal) == len(make_world().events)


def test_a_web_server(data: Path) -> None:
    write_us_or_eu(data)
    (file,) = (data / "export").iterdir()
    handler = partial(SimpleHTTPRequestHandler, directory=str(file.parent))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as web:
        Thread(target=web.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{web.server_port}/{file.name}"
        proposal = propose([address], "x", Decisions(answers={"time_format": "%d/%m/%Y"}))
        assert proposal.content["dataset"]["interactions"]["path"] == address
        assert count_read(proposal) > 1000
        web.shutdown()
