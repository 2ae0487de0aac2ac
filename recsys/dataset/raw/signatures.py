"""What a raw file is: by the suffix of its name, and by its first bytes."""

from __future__ import annotations

import codecs
import json
import re
from pathlib import PurePosixPath

# Suffixes that only tables have, and those that other texts have too.
TABLE_SUFFIXES = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "json",
    ".ndjson": "json",
    ".json": "json",
    ".parquet": "parquet",
    ".pq": "parquet",
    ".xlsx": "excel",
    ".xlsm": "excel",
    ".xlsb": "excel",
    ".xls": "excel",
    ".ods": "excel",
}
TEXT_SUFFIXES = {".txt": "csv", ".tab": "csv", ".psv": "csv", ".dat": "csv", ".data": "csv", ".log": "csv"}
SUFFIXES = (
    f"{', '.join(TABLE_SUFFIXES)}, {', '.join(TEXT_SUFFIXES)}, each also with .gz, .zst or .bz2 or in a .zip archive"
)
FORMAT_NAMES = {
    "csv": "CSV",
    "json": "JSON lines",
    "parquet": "Parquet",
    "excel": "an Excel workbook",
    "delta": "a Delta table",
    "zip": "a zip archive",
}
ZIP = "zip"
# Bytes of the start that are enough to tell.
HEAD = 1 << 14

_COMPRESSED = (".gz", ".gzip", ".zst", ".bz2")
_AS_TEXT = "export it as CSV, JSON lines or Parquet"
_UNPACK = "unpack it"
# First bytes -> what has them, and what to do.
_FOREIGN = (
    (b"version https://git-lfs", "a Git LFS pointer, not the data itself", "fetch the data with 'git lfs pull'"),
    (b"PARE", "an encrypted Parquet file", "write it without encryption"),
    (b"%PDF", "a PDF document", _AS_TEXT),
    (b"SQLite format 3\0", "an SQLite database", _AS_TEXT),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file", _AS_TEXT),
    (b"Obj\x01", "an Avro file", _AS_TEXT),
    (b"ORC", "an ORC file", _AS_TEXT),
    (b"ARROW1", "an Arrow or Feather file", "write it as Parquet"),
    (b"FEA1", "a Feather file", "write it as Parquet"),
    (b"\x93NUMPY", "a NumPy array", _AS_TEXT),
    (b"PGDMP", "a PostgreSQL dump", "restore it, and give the database as postgresql://HOST/NAME with a query"),
    (b"\xff\xd8\xff", "a picture", _AS_TEXT),
    (b"\x89PNG", "a picture", _AS_TEXT),
    (b"GIF8", "a picture", _AS_TEXT),
    (b"{\\rtf", "a formatted text (RTF)", _AS_TEXT),
    (b"MATLAB 5.0", "a MATLAB file", _AS_TEXT),
    (b"<stata_dta>", "a Stata file", _AS_TEXT),
    (b"$FL2", "an SPSS file", _AS_TEXT),
    (b"RDX2\n", "an R data file", _AS_TEXT),
    (b"RDX3\n", "an R data file", _AS_TEXT),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive", _UNPACK),
    (b"Rar!\x1a\x07", "a RAR archive", _UNPACK),
    (b"\xfd7zXZ\0", "an xz file", "unpack it, or compress it with gzip, zstd or bzip2"),
    (b"\x04\x22\x4d\x18", "an LZ4 file", "unpack it, or compress it with gzip, zstd or bzip2"),
    (b"\xff\x06\0\0sNaPpY", "a Snappy file", "unpack it, or compress it with gzip, zstd or bzip2"),
)
# Bytes that text does not have.
_CONTROLS = bytes(byte for byte in range(32) if byte not in b"\t\n\v\f\r\x1a\x1b")
_SMALL_TEXT = 200
# An element, and another inside or below it.
_ELEMENTS = re.compile(r"<[A-Za-z][\w:.-]*(?:\s[^<>]*)?>\s*<")
_MARKS = (codecs.BOM_UTF8, codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF32_BE)


def split_suffixes(name: str) -> tuple[str, str]:
    """Return a file's suffix in lower case, without those of compression, and what it says the format is.

    The format is `zip` for an archive, and `` for an unknown suffix.
    """
    name = PurePosixPath(name).name.lower()
    while name.endswith(_COMPRESSED):
        name = name.rpartition(".")[0]
    suffix = PurePosixPath(name).suffix
    known = TABLE_SUFFIXES | TEXT_SUFFIXES | {".zip": ZIP}
    return suffix, known.get(suffix, "")


def identify(head: bytes) -> str:
    """Return the format that the first bytes of decompressed content show: one of `FORMAT_NAMES`, or `zip`.

    Text that does not start like JSON is `csv`. A zip archive may be a workbook; its members tell.

    Raises:
        ValueError: content that is not a table; says what it looks like and what to do.
    """
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return ZIP
    if head.startswith(b"PAR1"):
        return "parquet"
    if head.startswith(b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"):
        return "excel"
    text = _as_text(head)
    for magic, kind, advice in _FOREIGN:
        # A header may start with the letters ORC.
        if head.startswith(magic) and not (magic.isalnum() and text is not None):
            raise ValueError(f"is {kind}; {advice}")
    if head[257:262] == b"ustar":
        raise ValueError(f"is a tar archive; {_UNPACK}")
    if head[:1] == b"\x80" and head[1:2] in b"\x02\x03\x04\x05" and head[1:2]:
        raise ValueError(f"is a Python pickle, which can run arbitrary code when it is loaded; {_AS_TEXT}")
    if text is None:
        raise ValueError(f"is neither text nor a known format; {_AS_TEXT}")
    start = text[:100].lower()
    if start.startswith(("<!doctype html", "<html")):
        raise ValueError("is a web page (HTML), perhaps a login page; download the table itself as CSV")
    if start.startswith("<?xml") or _ELEMENTS.match(text):
        raise ValueError(f"is XML or HTML, perhaps an error page; {_AS_TEXT}")
    return "json" if _starts_like_json(text) else "csv"


def _as_text(head: bytes) -> str | None:
    """Return the start of text without its byte-order mark and leading white space; None: it is not text.

    Single-byte encodings are read as Latin-1, which is enough to recognise the first characters.
    """
    if head.startswith(_MARKS[0]):
        return head[len(_MARKS[0]) :].decode("utf-8", "replace").lstrip()
    if head.startswith(_MARKS[1:]):
        wide = head.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE))
        return head.decode("utf-32" if wide else "utf-16", "replace").lstrip("\ufeff \t\r\n")
    if head.count(0) * 100 > len(head):
        decoded = next(filter(None, (_as_wide_text(head, name) for name in ("utf-16-le", "utf-16-be"))), None)
        if decoded is not None:
            return decoded
    controls = len(head) - len(head.translate(None, _CONTROLS))
    # A few stand in damaged cells of a small text.
    return None if controls * 50 > max(len(head), _SMALL_TEXT) else head.decode("latin-1").lstrip()


def _as_wide_text(head: bytes, encoding: str) -> str | None:
    # The last character may be cut.
    text = head[: len(head) // 4 * 4].decode(encoding, "replace")
    odd = sum(not (letter.isprintable() or letter in "\t\r\n") or letter == "\ufffd" for letter in text)
    return None if odd * 50 > len(text) else text.lstrip()


def _starts_like_json(text: str) -> bool:
    """Return whether a text starts with an object, or with a list of objects or lists."""
    if not text.startswith(("{", "[")):
        return False
    inside = text[1:].lstrip()
    if text[0] == "{":
        return inside[:1] in ('"', "}") or not inside
    if inside[:1] in ("{", "]") or not inside:
        return True
    try:
        return isinstance(json.loads(text.partition("\n")[0]), list)
    except ValueError:
        return inside.startswith("[")
