import bz2
import gzip
import io
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest
import zstandard

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.archives import list_members
from recsys.dataset.raw.containers import StoredFile, open_content, open_seekable_content
from recsys.dataset.raw.local import store_local
from recsys.dataset.raw.reading import read_all
from recsys.errors import DataError

ROWS = b"".join(b"%d,name of %d\n" % (number, number * 7919) for number in range(30_000))
PACKERS = {"gzip": gzip.compress, "zstd": zstandard.ZstdCompressor(write_checksum=True).compress, "bz2": bz2.compress}


def stored(path: Path, content: bytes) -> StoredFile:
    path.write_bytes(content)
    return store_local(path)


def read(file: StoredFile) -> bytes:
    with open_content(file) as content:
        return content.read()


def failure(file: StoredFile) -> str:
    with pytest.raises(DataError) as caught:
        read(file)
    assert "\n" not in str(caught.value)
    return str(caught.value)


@pytest.mark.parametrize("packer", PACKERS)
def test_compressed_content_is_read_whatever_the_name(tmp_path, packer):
    pack = PACKERS[packer]
    # Two members, as two files that were put one after the other.
    file = stored(tmp_path / "a.csv", pack(ROWS[:1000]) + pack(ROWS[1000:]))
    assert read(file) == ROWS
    with open_seekable_content(file) as content:
        content.seek(-5, io.SEEK_END)
        assert content.read() == ROWS[-5:]
    assert read(stored(tmp_path / "twice.csv", pack(pack(ROWS)))) == ROWS


@pytest.mark.parametrize("packer", PACKERS)
def test_damage_is_an_error_that_names_the_file(tmp_path, packer):
    packed = PACKERS[packer](ROWS)
    assert "cut.csv: the compressed data is truncated or damaged" in failure(stored(tmp_path / "cut.csv", packed[:-9]))
    middle = len(packed) // 2
    broken = packed[:middle] + bytes(byte ^ 255 for byte in packed[middle : middle + 99]) + packed[middle + 99 :]
    assert "odd.csv: the compressed data is truncated or damaged" in failure(stored(tmp_path / "odd.csv", broken))


@pytest.mark.parametrize("packer", PACKERS)
def test_content_far_larger_than_its_file_is_refused_before_it_is_unpacked(tmp_path, packer):
    def stored(path: Path, content: bytes) -> StoredFile:
        path.write_bytes(content)
        return replace(store_local(path), limit=2_000_000)

    file = stored(tmp_path / "bomb.csv", PACKERS[packer](bytes(8_000_000)))
    assert "expands to more than 0.002 GB and 200 times its stored size" in failure(file)
    with pytest.raises(DataError, match="200 times its stored size"):
        open_seekable_content(file)
    # Large or dense alone is no bomb.
    assert len(read(stored(tmp_path / "small.csv", PACKERS[packer](b"1" * 1_900_000)))) == 1_900_000
    assert read(stored(tmp_path / "large.csv", PACKERS[packer](ROWS * 4))) == ROWS * 4


@pytest.mark.parametrize("content", [b"", b" \r\n\n", gzip.compress(b"")])
def test_empty_files_are_errors(tmp_path, content):
    path = tmp_path / "a.csv"
    assert failure(stored(path, content)) == f"{path}: the file is empty; write it again or remove it"


def test_members_of_an_archive_are_read_and_checked(tmp_path):
    path = tmp_path / "all.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b/rows.csv.gz", gzip.compress(ROWS))
        archive.writestr("a.csv", ROWS)
        archive.mkdir("void")
    members = list_members(store_local(path))
    assert [member.path.rpartition("all.zip/")[2] for member in members] == ["a.csv", "b/rows.csv.gz"]
    assert [read(member) for member in members] == [ROWS, ROWS]
    with open_seekable_content(members[0]) as content:
        content.seek(10)
        assert content.read() == ROWS[10:]

    whole = path.read_bytes()
    path.write_bytes(whole[:2000] + b"\0" * 50 + whole[2050:])
    assert "b/rows.csv.gz: the compressed data is truncated or damaged" in failure(members[1])
    path.write_bytes(whole[:-50])
    with pytest.raises(DataError, match=r"all\.zip: the compressed data is truncated or damaged"):
        list_members(store_local(path))

    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.csv", bytes(5_000_000))
        archive.writestr("bomb.csv.gz", gzip.compress(bytes(5_000_000)))
    for member in list_members(replace(store_local(path), limit=2_000_000)):
        assert f"{member.name}: expands to more than" in failure(member)


def test_the_limit_of_a_table_reaches_its_files(tmp_path, monkeypatch):
    monkeypatch.setenv("RECSYS_DATA", str(tmp_path))
    rows = b"user_id,item_id\n" + b"u1,i1\n" * 1_000_000
    (tmp_path / "a.csv.gz").write_bytes(gzip.compress(rows))
    with zipfile.ZipFile(tmp_path / "b.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("b.csv", rows)
    for path in ("a.csv.gz", "b.zip", "b.zip/b.csv", "*.csv.gz"):
        small = RawFiles(path=path, max_unpacked_gb=0.001)
        with pytest.raises(DataError, match="set max_unpacked_gb of this table higher, or unpack it"):
            read_all("interactions", small, {"user_id": "user_id"})
        assert read_all("interactions", RawFiles(path=path), {"user_id": "user_id"}).height == 1_000_000


def test_unreadable_files_say_why(tmp_path):
    file = stored(tmp_path / "a.csv", ROWS)
    (tmp_path / "a.csv").unlink()
    assert "a.csv: cannot be read (No such file or directory)" in failure(file)
