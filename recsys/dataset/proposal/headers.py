"""Which files name the same columns at their starts: they may be one table."""

from __future__ import annotations

import bz2
import gzip
import json
import re
import zlib
from collections import Counter
from collections.abc import Callable, Hashable, Sequence
from pathlib import Path
from typing import Any, BinaryIO, cast

from recsys.dataset.proposal.names import match_file

# Columns that tell by themselves that files belong together, and files that must be alike where they do not.
_TELLING_COLUMNS, _MANY_ALIKE = 3, 5
# A person may be called as items or users are.
_USUAL = 0.9
_HEAD = 16_384
_PACKINGS: dict[str, Callable[[BinaryIO], BinaryIO]] = {
    ".gz": lambda raw: cast(BinaryIO, gzip.GzipFile(fileobj=raw)),
    ".bz2": lambda raw: cast(BinaryIO, bz2.BZ2File(raw)),
}
_KEY = re.compile(r'"((?:[^"\\]|\\.)*)"\s*:')
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f]")


def key_by_columns(firsts: Sequence[Path], *, in_folder: bool) -> Callable[[list[Path]], Hashable]:
    """Return the key of parts with the same columns: of those in one folder, or of those in several.

    Few columns, such as an id and a name, and several folders tell little: then many files must be alike, and their
    names must not tell items from users. The key is None where nothing tells.

    Args:
        firsts: first file of each part.
        in_folder: whether the files of the parts must be in one folder.
    """
    alike: dict[tuple[Path | None, str, int, str], list[Path]] = {}
    for first in firsts:
        columns, header = _read_columns(first)
        if columns:
            key = (first.parent if in_folder else None, first.suffix, columns, header)
            alike.setdefault(key, []).append(first)
    keys: dict[Path, Hashable] = {}
    for key, files in alike.items():
        columns = key[2]
        names = Counter(tuple(match_file(file.stem, kind) for kind in ("items", "users")) for file in files)
        tells = in_folder and columns >= _TELLING_COLUMNS
        if tells or (len(files) >= _MANY_ALIKE and max(names.values()) >= _USUAL * len(files)):
            keys |= dict.fromkeys(files, key)
    return lambda part: keys.get(part[0])


def _read_columns(file: Path) -> tuple[int, str]:
    """Return the number of columns and the header of a text file, or its sorted keys if it is JSON; 0 if it has none.

    A single word is a header, too: whether it is one, several files that start with it must show.
    """
    head = _read_head(file)
    start = head.lstrip("[ \r\n\t")
    if start.startswith("{"):
        keys = _list_keys(start)
        return len(keys), "\n".join(sorted(keys))
    line = head.split("\n", 1)[0].strip()
    fields = re.split(r"[,;\t|]", line)
    is_header = all(re.match(r'^"?[^\W\d]', field) for field in fields) and not _CONTROL.search(line)
    return (len(fields), line) if is_header else (0, "")


def _read_head(file: Path) -> str:
    """Return the start of a file as text; a header in an unknown encoding is still equal to others like it."""
    if file.is_dir():
        return ""
    try:
        with file.open("rb") as raw:
            packing = _PACKINGS.get(file.suffix.lower())
            head = packing(raw).read(_HEAD) if packing else raw.read(_HEAD)
    except (OSError, EOFError, zlib.error):
        return ""
    try:
        return head.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # The last character may be cut.
        return head.decode("utf-8-sig", "ignore") if error.start > len(head) - 4 else head.decode("latin-1")


def _list_keys(text: str) -> set[str]:
    """Return the keys of the object at the start of a text and of the objects in it."""
    try:
        content, _ = json.JSONDecoder().raw_decode(text)
    except ValueError:
        # The object is longer than the head of the file.
        return set(_KEY.findall(text))
    keys: set[str] = set()
    waiting: list[Any] = [content]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            keys |= value.keys()
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value
    return keys
