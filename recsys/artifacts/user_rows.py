"""What files of a home hold of some users, and the same files without it.

Tables lose the rows whose `user_id` is one of theirs, rejected rows those that mention them. JSON and text lose the
figures about them. Pages are deleted: they are made again by their command.
"""

from __future__ import annotations

import gzip
import html
import json
import re
import sqlite3
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from urllib.parse import quote

import polars as pl

from recsys.storage.files import encode_json, scan_parquet

# Writes a file again without the users.
Rewrite = Callable[[Path], object]
_USER, _CONTENT = "user_id", "content"
_FORGOTTEN = "forgotten"
# What reading packed files raises, besides `OSError`; the last one: a password.
_DAMAGE = (EOFError, zlib.error, zipfile.BadZipFile, sqlite3.Error, RuntimeError)
# Files that are read as text, and archives of numbers.
_NUMBERS = (".npz",)
_TEXTS = (".json", ".jsonl", ".csv", ".tsv", ".txt", ".prom", ".html", ".yaml", ".log", ".md")


class UserRows:
    """Finds and removes what files hold of some users.

    Args:
        ids: as the files have them: ids and pseudonyms.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._ids = sorted(set(ids))
        self._known = frozenset(self._ids)
        self._spellings = sorted({spelt for one in self._ids for spelt in _spell(one)})
        joined = "|".join(re.escape(spelt) for spelt in sorted(self._spellings, key=len, reverse=True))
        self._mention = re.compile(rf"(?<!\w)(?:{joined})(?!\w)")
        self._label = re.compile(rf"user: (?:{joined})(?!\w)")

    def find_rewrite(self, path: Path) -> Rewrite | None:
        """Return how to write a file without the users; None: it has nothing of them.

        Raises:
            OSError: it cannot be read.
            polars.exceptions.PolarsError: it is a damaged table.
        """
        if path.suffix == ".parquet":
            return self._find_rows(path)
        if path.suffix not in _TEXTS:
            return None
        text = path.read_text(encoding="utf-8", errors="replace")
        if not self._mention.search(text):
            return None
        if path.suffix == ".json":
            return self._find_json(text)
        clean = self._drop_lines(path, text)
        return None if clean == text else lambda target: target.write_text(clean, encoding="utf-8")

    def found_inside(self, path: Path) -> bool:
        """Return whether a packed file or a SQLite file mentions one of the users.

        recsys writes none with ids in it, so somebody else put it there. Other files are not looked at: a short id is
        also a word of code and a few bytes of a picture.

        Raises:
            OSError: it cannot be read.
        """
        try:
            return any(self._mention.search(text) for text in _read_texts(path))
        except _DAMAGE as error:
            raise OSError(f"{path}: {error}") from error

    def mentioned_in(self, path: Path) -> bool:
        """Return whether a page or another text mentions one of the users."""
        return self._mention.search(path.read_text(encoding="utf-8", errors="replace")) is not None

    def _find_rows(self, path: Path) -> Rewrite | None:
        table = scan_parquet(path)
        columns = table.collect_schema().names()
        if _USER in columns:
            gone = pl.col(_USER).is_in(pl.Series(self._ids, dtype=pl.String).implode())
            if not table.filter(gone).head(1).collect(engine="streaming").height:
                return None
            return lambda target: table.filter(~gone).sink_parquet(target)
        if _CONTENT in columns and "rule" in columns:
            return self._find_rejected(table)
        return None

    def _find_rejected(self, table: pl.LazyFrame) -> Rewrite | None:
        candidates = table.with_row_index("number").filter(pl.col(_CONTENT).str.contains_any(self._parts()))
        rows = candidates.select("number", _CONTENT).collect(engine="streaming").rows()
        numbers = [number for number, content in rows if self._is_about(content)]
        if not numbers:
            return None
        gone = pl.col("number").is_in(pl.Series(numbers, dtype=pl.UInt32).implode())
        kept = table.with_row_index("number").filter(~gone).drop("number")
        return lambda target: kept.sink_parquet(target)

    def _parts(self) -> list[str]:
        """Return what a raw row that mentions a user contains; an id of several columns is in several cells."""
        return sorted({part for spelt in self._spellings for part in spelt.split("|") if part})

    def _is_about(self, content: str) -> bool:
        if self._mention.search(content):
            return True
        several = [one.split("|") for one in self._ids if "|" in one]
        return any(all(part in content for part in parts) for parts in several)

    def _find_json(self, text: str) -> Rewrite | None:
        try:
            content = json.loads(text)
        except ValueError:
            return None
        clean = self._clean(content)
        return None if clean == content else lambda target: target.write_text(encode_json(clean), encoding="utf-8")

    def _clean(self, value: Any) -> Any:
        """Return a JSON value without figures about the users, which are labelled `user: ID`.

        An id alone says nothing: ids such as `12` are also words of a vocabulary, list lengths and settings.
        """
        if isinstance(value, dict):
            kept = [key for key in value if not self._label.search(key)]
            return {key: self._clean(value[key]) for key in kept}
        if isinstance(value, list):
            return [self._clean(inner) for inner in value]
        if isinstance(value, str):
            return self._label.sub(f"user: {_FORGOTTEN}", value)
        return value

    def _drop_lines(self, path: Path, text: str) -> str:
        lines = text.splitlines(keepends=True)
        if path.suffix in (".jsonl", ".csv", ".tsv"):
            return "".join(line for line in lines if not self._starts_with_user(path, line))
        return "".join(line for line in lines if not self._label.search(line))

    def _starts_with_user(self, path: Path, line: str) -> bool:
        """Return whether a line of a list is one of theirs; `user_id` is the first field."""
        if path.suffix == ".jsonl":
            try:
                return json.loads(line).get(_USER) in self._known
            except (ValueError, AttributeError):
                return False
        match = self._mention.match(line.lstrip("\"'"))
        return match is not None and line.lstrip("\"'")[match.end() : match.end() + 1] in ',\t"\n'


def _read_texts(path: Path) -> Iterator[str]:
    """Yield the content of a packed file and of a SQLite file as text; of others nothing."""
    with path.open("rb") as file:
        head = file.read(16)
    if head.startswith(b"SQLite format 3"):
        address = f"file:{quote(str(path))}?mode=ro"
        with closing(sqlite3.connect(address, uri=True)) as database:
            yield from database.iterdump()
    elif head.startswith(b"\x1f\x8b"):
        with gzip.open(path) as unpacked:
            yield unpacked.read().decode("utf-8", "replace")
    elif path.suffix not in _NUMBERS and zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            for name in archive.namelist():
                yield archive.read(name).decode("utf-8", "replace")


def _spell(identity: str) -> set[str]:
    """Return an id as JSON, HTML and plain text have it."""
    quoted = {json.dumps(identity)[1:-1], json.dumps(identity, ensure_ascii=False)[1:-1]}
    return {identity, *quoted, html.escape(identity)}
