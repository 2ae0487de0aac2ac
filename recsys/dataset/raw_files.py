"""Raw files: which files a path of the config means, and their content as decompressed bytes and UTF-8 text."""

from __future__ import annotations

import codecs
import glob
import gzip
import os
import zlib
from collections.abc import Iterable
from pathlib import Path

import zstandard

from recsys.config import data_path
from recsys.errors import DataError

_FORMATS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
    ".parquet": "Parquet",
}
_SUFFIXES = f"{', '.join(_FORMATS)}, each also with .gz or .zst"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


def display_name(file: Path) -> str:
    """Return a file's name for messages: relative to the raw-data folder if it is inside."""
    root = data_path("")
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


def find_files(what: str, path: Path) -> tuple[list[Path], str]:
    """Return the data files that a path of the config means, sorted, and their common format.

    A path is a pattern only where no file or folder has exactly that name, and only below the raw-data folder: the
    characters of that folder's own name are not special. Linked files and folders are followed; a file that several
    links lead to is read once.

    Raises:
        DataError: no such path, no data file, an unreadable folder, or more than one format.
    """
    if path.is_file():
        files = [path]
        if _format(path) is None:
            raise DataError(f"{what} {path}: unknown format '{path.suffix}'; rename it to one of {_SUFFIXES}")
    elif path.is_dir():
        files = _drop_repeats(_walk(path))
    else:
        matches = _match(path)
        inside = [file for match in matches if match.is_dir() for file in _walk(match)]
        files = _drop_repeats([*inside, *(match for match in matches if _is_data(match))])
    formats: dict[str, Path] = {}
    for file in files:
        formats.setdefault(_format(file) or "", file)
    if not formats:
        reason = "no data file in this folder" if path.is_dir() else "no such file, and no file matches it"
        raise DataError(
            f"{what} {path}: {reason}; expected {_SUFFIXES}; "
            f"fix dataset.{what}.path, or set RECSYS_DATA to the folder it starts from"
        )
    if len(formats) > 1:
        examples = ", ".join(f"{name} ({file.name})" for name, file in formats.items())
        raise DataError(f"{what} {path}: mixed formats: {examples}; select one of them with a glob such as '*.csv'")
    return files, next(iter(formats))


def _match(pattern: Path) -> list[Path]:
    """Return what a glob pattern matches; in the part of the raw-data folder no character is special."""
    root = data_path("")
    if not pattern.is_relative_to(root):
        root = Path(pattern.anchor)
    names = glob.glob(str(pattern.relative_to(root)), root_dir=root, recursive=True)  # noqa: PTH207 - follows links
    return [root / name for name in names]


def _walk(folder: Path) -> list[Path]:
    """Return the data files below a folder, also behind links; a folder that contains itself is entered once."""

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    files: list[Path] = []
    entered: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(parent)
        entered.add(here.resolve())
        # Spark and others write `_SUCCESS`, `_temporary/` and `.part.crc` among the data.
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "_")) and (here / name).resolve() not in entered
        )
        files += [here / name for name in names if _is_data(here / name)]
    return files


def _is_data(file: Path) -> bool:
    return not file.name.startswith((".", "_")) and file.is_file() and _format(file) is not None


def _drop_repeats(files: Iterable[Path]) -> list[Path]:
    """Return the files sorted, each real file under the first of its names."""
    first = {file.resolve(): file for file in sorted(files, reverse=True)}
    return sorted(first.values())


def _format(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    return _FORMATS.get(Path(name).suffix)


def read_bytes(file: Path) -> bytes:
    """Return the content, decompressed if its first bytes are those of gzip or zstd, whatever its suffix.

    Raises:
        DataError: an empty, unreadable or damaged file.
    """
    try:
        data = file.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        elif data.startswith(zstandard.FRAME_HEADER):
            data = _unzstd(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise DataError(f"{file}: the compressed data is cut short or damaged ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check the file and its permissions") from error
    if not data or data.isspace():
        raise DataError(f"{file}: the file is empty; write it again or remove it")
    return data


def _unzstd(data: bytes) -> bytes:
    content = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        content.append(frame.decompress(data))
        if not frame.eof:
            raise zstandard.ZstdError("the last frame has no end")
        data = frame.unused_data
    return b"".join(content)


def as_utf8(file: Path, data: bytes) -> bytes:
    """Return text as UTF-8 without a byte-order mark; the mark says what it was written in, UTF-8 if there is none.

    Raises:
        DataError: the data is not text in that encoding; names the line.
    """
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        if encoding == "utf-8" and b"\0" in data[:2]:
            raise DataError(f"{file}: looks like UTF-16 without its mark; save it as UTF-8")
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise DataError(
            f"{file}: line {line_at(data, error.start)} is not {kind} text "
            f"(byte 0x{data[error.start]:02x}); save the file as UTF-8, "
            "for example with 'iconv -f WINDOWS-1252 -t UTF-8'"
        ) from error
    return data if encoding == "utf-8" else text.encode()


def line_at(data: bytes, offset: int) -> int:
    """Return the number, from 1, of the line that holds a byte."""
    return data.count(b"\n", 0, offset) + 1
