"""A search for a text through every file of a folder, unpacked, so that a claim that nothing holds it can fail."""

import bz2
import gzip
import io
import sqlite3
import tempfile
import zipfile
from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow.parquet as pq
import zstandard

_LAYERS = 4


def find_holders(folder: Path, *texts: str) -> list[str]:
    """Return the files below a folder, or names of theirs, that hold one of the texts, by relative path, sorted."""
    found = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if any(text in path.name for text in texts) or (path.is_file() and holds(path.read_bytes(), *texts)):
            found.append(name)
    return sorted(found)


def holds(content: bytes, *texts: str) -> bool:
    """Return whether the content of a file holds one of the texts in plain or packed form."""
    wanted = [spelt for text in texts for spelt in (text.encode(), text.encode("utf-16-le"), text.encode("utf-32-le"))]
    return any(spelt in layer for layer in _unfold(content, _LAYERS) for spelt in wanted)


def _unfold(content: bytes, layers: int) -> Iterator[bytes]:
    yield content
    for inner in _unpack(content) if layers else ():
        yield from _unfold(inner, layers - 1)


def _unpack(content: bytes) -> Iterator[bytes]:
    if content[:2] == b"\x1f\x8b":
        yield gzip.decompress(content)
    elif content[:4] == b"\x28\xb5\x2f\xfd":
        yield zstandard.ZstdDecompressor().stream_reader(content).read()
    elif content[:3] == b"BZh":
        yield bz2.decompress(content)
    elif content[:4] == b"PAR1":
        yield from _read_parquet(content)
    elif content[:15] == b"SQLite format 3":
        yield from _read_sqlite(content)
    elif zipfile.is_zipfile(io.BytesIO(content)):
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            yield "\n".join(archive.namelist()).encode()
            yield from map(archive.read, archive.namelist())


def _read_parquet(content: bytes) -> Iterator[bytes]:
    yield str(pq.ParquetFile(io.BytesIO(content)).schema_arrow.metadata).encode()
    frame = pl.read_parquet(content)
    numbers = [name for name, kind in frame.schema.items() if kind.is_numeric() or kind.is_temporal()]
    yield frame.drop(numbers).write_ndjson().encode()


def _read_sqlite(content: bytes) -> Iterator[bytes]:
    with tempfile.NamedTemporaryFile(suffix=".db") as copy:
        copy.write(content)
        copy.flush()
        database = sqlite3.connect(copy.name)
        for (table,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            for row in database.execute(f'SELECT * FROM "{table}"'):
                yield from (value if isinstance(value, bytes) else str(value).encode() for value in row if value)
        database.close()
