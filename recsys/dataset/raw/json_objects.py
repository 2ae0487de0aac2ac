"""A JSON array, or objects over several lines -> the text of each object."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence

from recsys.dataset.raw.encoding import Utf8Reader
from recsys.errors import DataError

_BLOCK_BYTES = 1 << 22
_LARGEST_OBJECT = 1 << 24
_OBJECTS = 20_000
_SPACE = re.compile(r"\s*")
# `{"page": 1, "items": [{`: an object with an array of objects, after plain values at most.
_KEY = r'\s*"(?:[^"\\]|\\.)*"\s*:\s*'
_WRAPPER = re.compile(rf'\s*\{{(?:{_KEY}(?:"(?:[^"\\]|\\.)*"|[\w.+-]+)\s*,)*{_KEY}\[(?=\s*[{{\]])')
_DECODER = json.JSONDecoder(parse_constant=lambda _: None)


def is_lines(head: str, names: Sequence[str], *, whole: bool) -> bool:
    """Return whether JSON has an object per line.

    Args:
        head: the first characters; the last line may be cut.
        names: keys of the rows, which an object that holds the array of the rows does not have.
        whole: whether they are the whole text.
    """
    text = head.lstrip()
    if not text.startswith("{"):
        # A line that is neither an object nor an array is named by the reader of lines.
        return not text.startswith("[")
    first, _, rest = text.partition("\n")
    try:
        record = json.loads(first)
    except (ValueError, RecursionError):
        more = [line for line in rest.split("\n")[:20] if line.strip()]
        # Below a broken first line, lines are objects; objects over several lines are indented.
        return bool(more) and all(line.startswith("{") and line.rstrip().endswith("}") for line in more[:-1] or more)
    is_single = whole and not rest.strip() and not any(name.split(".")[0] in record for name in names)
    return not (is_single and (names or len(record) == 1) and _WRAPPER.match(text) is not None)


def stream_objects(name: str, text: Utf8Reader, first: bytes) -> Iterator[tuple[list[str], list[int]]]:
    """Yield the texts of objects, each without line breaks, and the lines they start at.

    The objects are the members of an array, or of the array that is the first value of an object, or follow each
    other.

    Args:
        name: of the source, for messages.
        text: the rest of the text.
        first: its start, already read.

    Raises:
        DataError: something else than an object, or broken JSON.
    """
    cursor = _Cursor(name, text, first)
    opening = _WRAPPER.match(cursor.buffer) or re.match(r"\s*\[", cursor.buffer)
    if opening is not None:
        cursor.move(opening.end())
    texts: list[str] = []
    numbers: list[int] = []
    while (
        found := cursor.next_object(in_array=opening is not None, first=not texts and cursor.objects == 0)
    ) is not None:
        texts.append(found[0].replace("\n", " ").replace("\r", " "))
        numbers.append(found[1])
        if len(texts) == _OBJECTS:
            yield texts, numbers
            texts, numbers = [], []
    if texts:
        yield texts, numbers
    if opening is not None:
        cursor.check_end(wrapped=opening[0].lstrip().startswith("{"))


class _Cursor:
    """A place in JSON text that is read as needed."""

    def __init__(self, name: str, text: Utf8Reader, first: bytes) -> None:
        self._name, self._text = name, text
        self.buffer, self._at, self._line, self.objects = first.decode(), 0, 1, 0

    def move(self, end: int) -> None:
        """Go on to an index of the buffer."""
        self._line += self.buffer.count("\n", self._at, end)
        self._at = end

    def _read_more(self) -> bool:
        data = self._text.read(_BLOCK_BYTES)
        self.buffer = self.buffer[self._at :] + data.decode()
        self._at = 0
        return bool(data)

    def _skip_space(self) -> str:
        """Go on to the next character that is not white space and return it; empty at the end."""
        while True:
            space = _SPACE.match(self.buffer, self._at)
            self.move(space.end() if space else self._at)
            if self._at < len(self.buffer):
                return self.buffer[self._at]
            if not self._read_more():
                return ""

    def next_object(self, *, in_array: bool, first: bool) -> tuple[str, int] | None:
        """Return the text of the next object and its line, None at the end of the array or the text."""
        char = self._skip_space()
        if in_array:
            if char == "]":
                return None
            if not first and char == ",":
                self.move(self._at + 1)
                char = self._skip_space()
            elif not first:
                raise self._broken("expected ',' or ']' between the members of an array")
        elif not char:
            return None
        if char != "{":
            raise self._broken("expected a JSON object" + (" as each member of the array" if in_array else ""))
        while True:
            try:
                end = _DECODER.raw_decode(self.buffer, self._at)[1]
                break
            except (ValueError, RecursionError) as error:
                too_large = len(self.buffer) - self._at > _LARGEST_OBJECT
                if isinstance(error, RecursionError) or too_large or not self._read_more():
                    raise self._broken(str(error)) from error
        found = self.buffer[self._at : end], self._line
        self.move(end)
        self.objects += 1
        return found

    def check_end(self, *, wrapped: bool) -> None:
        """Raise if more follows the array than the rest of the object that holds it."""
        if self._skip_space() == "]":
            self.move(self._at + 1)
        while len(self.buffer) - self._at < _LARGEST_OBJECT and self._read_more():
            pass
        self._skip_space()
        rest = self.buffer[self._at :].strip()
        if wrapped:
            try:
                json.loads('{"": 0' + rest)
                return
            except (ValueError, RecursionError):
                pass
        if rest or wrapped:
            raise self._broken("there is more text after the array of objects")

    def _broken(self, reason: str) -> DataError:
        shown = self.buffer[self._at : self._at + 60]
        return DataError(
            f"{self._name}:{self._line}: is not JSON ({reason}): {shown!r}; fix it, or write a JSON object per line"
        )
