import gzip
import io
import socket
import time
import zipfile
from collections.abc import Iterator

import polars as pl
import pyarrow.parquet as pq
import pytest
from faulty_servers import object_store, silent_server
from pyarrow import fs

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw import deadline
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.places import find_sources
from recsys.errors import ConfigError, DataError

CSV = b"id,name\n1,a\n"
FRAME = pl.DataFrame({"id": range(50_000), "text": [f"text {number}" for number in range(50_000)]})


@pytest.fixture(scope="module")
def endpoint() -> Iterator[str]:
    with object_store() as address:
        yield address


@pytest.fixture(scope="module")
def bucket(endpoint: str) -> str:
    """A bucket with events in partitions, a Delta table, an archive and a Parquet file."""
    files = fs.S3FileSystem(
        access_key="key",
        secret_key="secret",
        endpoint_override=endpoint.removeprefix("http://"),
        scheme="http",
        region="us-east-1",
        allow_bucket_creation=True,
    )
    files.create_dir("shop")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr("a.csv", CSV)
        packed.writestr("b/c.csv", CSV)
    parquet = io.BytesIO()
    FRAME.write_parquet(parquet)
    objects = {
        "events/day=1/x.csv": CSV,
        "events/day=2/y.csv.gz": gzip.compress(CSV),
        "events/_SUCCESS": b"",
        "events/day=1/.y.csv.crc": b"?",
        "odd/a[1].csv": CSV,
        "odd/a1.csv": CSV,
        "odd/renamed.csv": b"PAR1" + bytes(20),
        "lake/items/_delta_log/00000000000000000000.json": b"{}",
        "lake/items/part-0.parquet": parquet.getvalue(),
        "all.zip": archive.getvalue(),
        "items.parquet": parquet.getvalue(),
        "u.item": b"1|a\n",
    }
    for key, content in objects.items():
        with files.open_output_stream(f"shop/{key}") as stream:
            stream.write(content)
    return "s3://shop"


@pytest.fixture(autouse=True)
def credentials(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very secret")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    if "endpoint" in request.fixturenames or "bucket" in request.fixturenames:
        monkeypatch.setenv("AWS_ENDPOINT_URL", request.getfixturevalue("endpoint"))


def find(path: str, **settings) -> list[Source]:
    return find_sources("items", RawFiles(path=path, **settings))


def names(path: str) -> list[str]:
    return [source.name for source in find(path)]


def read(path: str) -> None:
    for source in find(path):
        with source.open() as content:
            content.read()


def failure(path: str) -> str:
    with pytest.raises(DataError) as caught:
        read(path)
    message = str(caught.value)
    assert "very secret" not in message
    assert "\n" not in message
    return message


@pytest.mark.parametrize(
    "path", ["events", "events/", "events/*", "events/day=*/*", "events/**/*.csv*", "ev*s/day=[12]", "**/day=*/*.csv*"]
)
def test_folders_and_patterns_list_their_data_files(bucket, path):
    sources = find(f"{bucket}/{path}")
    assert [source.name for source in sources] == [
        "s3://shop/events/day=1/x.csv",
        "s3://shop/events/day=2/y.csv.gz",
    ]
    assert [source.partitions for source in sources] == [{"day": "1"}, {"day": "2"}]
    assert [source.format for source in sources] == ["csv", "csv"]
    assert sources[0].size == len(CSV)
    for source in sources:
        with source.open() as content, source.open_seekable() as again:
            assert content.read() == again.read() == CSV


def test_exact_keys_come_before_patterns(bucket):
    assert names(f"{bucket}/odd/a[1].csv") == ["s3://shop/odd/a[1].csv"]
    assert names(f"{bucket}/odd/a?.csv") == names(f"{bucket}/odd/a[0-9].csv") == ["s3://shop/odd/a1.csv"]


def test_single_object_is_known_by_its_bytes(bucket):
    (source,) = find(f"{bucket}/u.item")
    assert (source.format, source.place) == ("csv", "")
    (source,) = find(f"{bucket}/odd/renamed.csv")
    assert source.format == "parquet"
    assert "s3://shop/odd/renamed.csv: is Parquet, not CSV as its name suggests; rename it" in failure(f"{bucket}/odd")


def test_archive_and_its_members_are_read_in_place(bucket):
    assert names(f"{bucket}/all.zip") == ["s3://shop/all.zip/a.csv", "s3://shop/all.zip/b/c.csv"]
    (source,) = find(f"{bucket}/all.zip/b/*.csv")
    with source.open() as content:
        assert content.read() == CSV


def test_delta_table_is_one_source(bucket):
    for path in ("lake/items", "lake", "lake/*"):
        (source,) = find(f"{bucket}/{path}")
        assert (source.format, source.place) == ("delta", "s3://shop/lake/items")


def test_parquet_is_read_in_parts(bucket, monkeypatch):
    (source,) = find(f"{bucket}/items.parquet")
    with source.open_seekable() as content:
        file = pq.ParquetFile(content)
        assert pl.from_arrow(file.read(columns=["id"]))["id"].to_list() == list(range(50_000))
        content.seek(0)
        assert content.read(4) == b"PAR1"


def test_absent_objects_and_buckets_are_errors(bucket):
    for path in (f"{bucket}/absent.csv", f"{bucket}/absent/*.csv", "s3://nowhere/a.csv"):
        message = failure(path)
        assert "no such object" in message
        assert "dataset.items.path" in message


def test_missing_credentials_name_the_variables(monkeypatch):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        port = closed.getsockname()[1]
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    message = failure("s3://shop/a.csv")
    assert "s3://shop/a.csv: cannot be read" in message
    assert "AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY not set" in message
    monkeypatch.delenv("AZURE_STORAGE_ACCOUNT_NAME", raising=False)
    assert "AZURE_STORAGE_ACCOUNT_NAME" in failure("az://box/a.csv")


def test_store_that_does_not_answer_is_an_error(monkeypatch):
    monkeypatch.setattr(deadline, "SECONDS", 0.5)
    with silent_server() as port:
        monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        started = time.monotonic()
        assert "s3://shop/a.csv: the server did not respond" in failure("s3://shop/a.csv")
        assert "gs://shop/a.csv: the server did not respond" in failure("gs://shop/a.csv")
        assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    "address",
    [
        "s3://KEY:hidden@shop/a.csv",
        "https://ann:hidden@host/a.csv",
        "https://host/a.csv?X-Amz-Signature=hidden",
        "https://host/a.csv?sv=1&sig=hidden",
    ],
)
def test_credentials_in_an_address_are_refused_and_not_shown(address):
    with pytest.raises(ConfigError) as caught:
        find(address)
    assert "dataset.items.path" in str(caught.value)
    assert not any(word in str(caught.value) for word in ("hidden", "KEY:", "ann"))
