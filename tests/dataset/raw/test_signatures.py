import os

import pytest

from recsys.dataset.raw.signatures import identify, split_suffixes


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"id,name\n1,a\n", "csv"),
        ("id;name\n1;caf\u00e9\n".encode("latin-1"), "csv"),
        ("id,name\n1,书\n".encode("utf-16"), "csv"),
        ("id,name\n1,书\n".encode("utf-16-le"), "csv"),
        ("id,name\n1,a\n".encode("utf-16-be"), "csv"),
        ("id,name\n".encode("utf-32"), "csv"),
        (b"[id],[name]\n1,a\n", "csv"),
        (b"ORCID,name\n1,a\n", "csv"),
        (b'\n {"id": 1}\n', "json"),
        (b'[\n  {"id": 1}\n]', "json"),
        (b'["1", "a"]\n["2", "b"]\n', "json"),
        ('{"name": "书"}'.encode("utf-8-sig"), "json"),
        (b"PAR1\x15\x04", "parquet"),
        (b"PK\x03\x04\x14\0", "zip"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(100), "excel"),
    ],
)
def test_content_is_told_by_its_first_bytes(head, expected):
    assert identify(head) == expected


@pytest.mark.parametrize(
    ("head", "expected"),
    [
        (b"%PDF-1.7\n", "PDF"),
        (b"SQLite format 3\0" + bytes(40), "SQLite"),
        (b"\x89HDF\r\n\x1a\n", "HDF5"),
        (b"Obj\x01\x04", "Avro"),
        (b"ORC\x08\0\0\0\0" * 20, "ORC"),
        (b"\x80\x04\x95\x10", "pickle, which can run arbitrary code"),
        (b"7z\xbc\xaf\x27\x1c\0\x04", "7z archive; unpack it"),
        (b"Rar!\x1a\x07\0", "RAR"),
        (b"\xfd7zXZ\0", "xz"),
        (b"events.csv".ljust(257, b"\0") + b"ustar", "tar archive"),
        (b"<!DOCTYPE html><html>", "web page"),
        (b"<?xml version='1.0'?>", "XML"),
        (os.urandom(4000), "neither text nor a known format"),
    ],
)
def test_other_content_is_named_with_what_to_do(head, expected):
    with pytest.raises(ValueError, match=expected):
        identify(head)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("a/B.CSV.GZ", (".csv", "csv")),
        ("u.data", (".data", "csv")),
        ("part-0.snappy.parquet", (".parquet", "parquet")),
        ("a.csv.zip", (".zip", "zip")),
        ("u.item", (".item", "")),
        ("part-00000", ("", "")),
    ],
)
def test_suffix_is_what_is_left_without_compression(name, expected):
    assert split_suffixes(name) == expected


def test_a_few_control_characters_in_a_small_text_do_not_matter():
    assert identify(b"user_id,item_id\nu\0x,a\ny\0,b\n") == "csv"


def test_error_pages_are_no_tables():
    for page in (b"<Error><Code>AccessDenied</Code></Error>", b"<head>\n<title>x</title>"):
        with pytest.raises(ValueError, match="is XML or HTML, perhaps an error page"):
            identify(page)
    assert identify(b"<b>Title</b>,1\n") == "csv"
