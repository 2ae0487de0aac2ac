"""JSON lines and JSON arrays -> blocks of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

import numpy as np
import polars as pl

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.blocks import NO_COLUMN, RawBlock
from recsys.dataset.raw.columns import missing_column
from recsys.dataset.raw.encoding import Utf8Reader, detect_encoding
from recsys.dataset.raw.json_objects import is_lines, stream_objects
from recsys.dataset.raw.json_values import ABSENT, decode_each, decode_texts, flatten_keys, load, look_up
from recsys.errors import DataError

_HEAD_BYTES = 1 << 20
_BLOCK_BYTES = 1 << 23
_LARGEST_LINE = 1 << 24
# Objects that are decoded at a time: an odd one slows down its own slice only.
_SLICE = 20_000


class KeyCheck:
    """Checks that some object has each key: a misspelt name would otherwise be null in every row."""

    def __init__(self, names: Sequence[str]) -> None:
        """Check the keys `names`."""
        self._absent = set(names)
        self._keys: dict[str, None] = {}
        self._source = ""

    def see(self, source: str, lines: pl.Series, values: pl.DataFrame) -> None:
        """Look at objects of a source and at the values of the keys in them."""
        self._source = self._source or source
        self._absent = {name for name in self._absent if values[name].null_count() == values.height}
        if len(self._keys) < 30:
            for line in lines.head(100):
                self._keys |= dict.fromkeys(flatten_keys(json.loads(line, parse_constant=lambda _: None)))
        for name in sorted(self._absent):
            # A key that is null everywhere is there.
            likely = lines.filter(lines.str.contains(json.dumps(name.split(".")[-1]), literal=True))
            if any(look_up(json.loads(line, parse_constant=lambda _: None), name) is not ABSENT for line in likely):
                self._absent.discard(name)

    def finish(self, what: str) -> None:
        """Raise `DataError` if no object has a key."""
        if self._absent and self._source:
            raise missing_column(what, self._source, min(self._absent), list(self._keys)[:30])


def read_json(
    what: str, source: Source, files: RawFiles, names: Sequence[str], check: KeyCheck | None = None
) -> Iterator[RawBlock]:
    """Yield the rows of JSON lines, of a JSON array, or of an array in a single object.

    Args:
        what: the table's name for messages, such as `items`.
        source: of the text.
        files: settings; of them, `encoding` is used.
        names: keys; a dot reaches into nested objects and lists (`authors.0.name`) unless a key of exactly that name
            exists. Lists and objects are given as their JSON text.
        check: is shown all rows.

    Raises:
        DataError: a row is not a JSON object, or the text cannot be decoded.
    """
    first_row = 1
    for lines, numbers in read_objects(what, source, files, names=names):
        columns = {name: name for name in names}
        parts = [
            decode_lines(source.name, lines[start : start + _SLICE], numbers[start : start + _SLICE], columns)
            for start in range(0, len(lines), _SLICE)
        ]
        values = pl.concat(parts, rechunk=True)
        if not names:
            values = pl.DataFrame({NO_COLUMN: lines})
        if check is not None:
            check.see(source.name, lines, values)
        yield RawBlock(values, first_row, partial(_locate, numbers), partial(_content, lines))
        first_row += len(lines)


def _locate(numbers: np.ndarray, chosen: pl.Series) -> list[int]:
    return [int(number) for number in numbers[chosen.to_numpy()]]


def _content(lines: pl.Series, chosen: pl.Series) -> list[str]:
    return lines.gather(chosen).to_list()


def read_objects(
    what: str, source: Source, files: RawFiles, block_bytes: int = _BLOCK_BYTES, names: Sequence[str] = ()
) -> Iterator[tuple[pl.Series, np.ndarray]]:
    """Yield the texts of objects, each without line breaks, and the lines they start at."""
    with source.open() as stream:
        head = stream.read(_HEAD_BYTES)
        encoding = files.encoding or detect_encoding(what, source.name, head)
        fixed = files.encoding is not None
        text = Utf8Reader(what, source.name, stream, head, encoding, fixed=fixed)
        first = text.read(_HEAD_BYTES)
        if is_lines(first.decode(errors="replace"), names, whole=len(head) < _HEAD_BYTES):
            yield from _read_lines(source.name, text, first, block_bytes)
        else:
            for texts, numbers in stream_objects(source.name, text, first):
                yield pl.Series(texts, dtype=pl.String), np.array(numbers)


def _read_lines(name: str, text: Utf8Reader, first: bytes, block_bytes: int) -> Iterator[tuple[pl.Series, np.ndarray]]:
    line, tail, following, final = 1, b"", first, False
    while not final:
        data, following = following, text.read(block_bytes)
        final = not following
        block = tail + data
        cut = len(block) if final else block.rfind(b"\n") + 1
        tail, whole = block[cut:], block[:cut]
        if len(tail) > _LARGEST_LINE:
            cut_line = line + whole.count(b"\n")
            raise DataError(f"{name}: line {cut_line} has more than 16 MB; expected a JSON object per line")
        if whole:
            lines = pl.DataFrame({"text": whole.decode().split("\n")}).with_row_index("line", offset=line)
            lines = lines.with_columns(pl.col("text").str.strip_chars()).filter(pl.col("text") != "")
            line += whole.count(b"\n")
            if lines.height:
                yield lines["text"], lines["line"].to_numpy()


def decode_lines(name: str, lines: pl.Series, numbers: np.ndarray, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the fields of objects as text; lists and objects as their JSON text.

    Args:
        name: of the source, for messages.
        lines: an object each.
        numbers: of the lines in the file, for messages.
        columns: field -> key.

    Raises:
        DataError: a line is not a JSON object.
    """
    decoded = decode_texts(lines, columns)
    if decoded is not None:
        return decoded
    records = (load(name, int(number), line) for number, line in zip(numbers, lines, strict=True))
    return decode_each(records, columns)
