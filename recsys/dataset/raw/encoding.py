"""Text in any encoding -> UTF-8, block by block."""

from __future__ import annotations

import codecs
import logging
import re
from typing import BinaryIO

from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError

logger = logging.getLogger(__name__)

FALLBACK = "windows-1252"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}
# Bytes that Western text never has: control characters, and those that Windows-1252 leaves undefined.
_NOT_TEXT = re.compile(rb"[\x00-\x08\x0e-\x1a\x1c-\x1f\x7f\x81\x8d\x8f\x90\x9d]")
_WORD = re.compile(rb"[A-Za-z\x80-\xff]{3,}")
_HIGH = re.compile(rb"[\x80-\xff]")
# Several bytes beyond ASCII in a row, other than punctuation such as the French quote and its space.
_RUN = re.compile(rb"[\x80-\x84\x86-\x90\x98-\x9f\xa1-\xaa\xac-\xba\xbc-\xff]{2,}")
# Words of a Western language are mostly plain letters, or have accents one by one (`été`); other scripts have neither.
_LARGEST_SHARE_OF_ACCENTS = _LARGEST_SHARE_OF_RUNS = 0.5
_OTHERS = "gb18030, shift_jis or windows-1251"


def detect_encoding(what: str, name: str, head: bytes) -> str:
    """Return the encoding of text: that of its byte-order mark, UTF-8, UTF-16 or, for Western text, Windows-1252.

    Args:
        what: the table's name for messages, such as `items`.
        name: of the source, for messages.
        head: the first bytes.

    Raises:
        DataError: the text is in none of these encodings.
    """
    for mark, encoding in _BYTE_ORDER_MARKS.items():
        if head.startswith(mark):
            return encoding
    zeros = [head[start:4096:2].count(0) for start in (0, 1)]
    half = max(1, len(head[:4096]) // 2)
    if max(zeros) > 0.3 * half and min(zeros) < 0.1 * half:
        return "utf-16-le" if zeros[1] > zeros[0] else "utf-16-be"
    try:
        codecs.utf_8_decode(head, "strict", False)
    except UnicodeDecodeError as error:
        if not head[: error.start].isascii():
            # UTF-8 with a damaged character, which the reader will name.
            return "utf-8"
        check_western(what, name, head, error.start, first_line=1)
        return FALLBACK
    return "utf-8"


def check_western(what: str, name: str, data: bytes, start: int, first_line: int) -> None:
    """Raise if text that is not UTF-8 from the byte `start` on does not look like Western text either."""
    odd = _NOT_TEXT.search(data)
    if odd is not None or not _is_western(data):
        at = start if odd is None else odd.start()
        line = first_line + data.count(b"\n", 0, at)
        raise DataError(
            f"{name}: line {line} is neither UTF-8 nor Western text "
            f"(byte 0x{data[at]:02x}); set {name_setting(what, 'encoding')}, such as {_OTHERS}"
        )


def _is_western(data: bytes) -> bool:
    """Return whether the words of a text with single bytes look Western."""
    words = [word for word in _WORD.findall(data[:1_000_000]) if not word.isascii()]
    high = sum(len(_HIGH.findall(word)) for word in words)
    in_runs = sum(len(run) for word in words for run in _RUN.findall(word))
    return high <= _LARGEST_SHARE_OF_ACCENTS * sum(map(len, words)) or in_runs <= _LARGEST_SHARE_OF_RUNS * high


def _is_utf8(data: bytes) -> bool:
    try:
        codecs.utf_8_decode(data, "strict", False)
    except UnicodeDecodeError:
        return False
    return True


class Utf8Reader:
    """A stream of text in some encoding, read as UTF-8 without a byte-order mark.

    Text that is plain ASCII at first and then turns out not to be UTF-8 is read as Windows-1252 from there on, unless
    the encoding is fixed.
    """

    def __init__(self, what: str, name: str, stream: BinaryIO, head: bytes, encoding: str, *, fixed: bool) -> None:
        """Read `head`, then `stream`, as `encoding`; `fixed`: the encoding is set in the config."""
        self._what, self._name, self._stream, self._head = what, name, stream, head
        self._fixed = fixed
        self._plain = True  # only ASCII so far
        self._lines = 0
        self._pending = b""
        self._ended = False
        self._first = True
        self._use(encoding)

    def _use(self, encoding: str) -> None:
        try:
            found = codecs.lookup(encoding)
            if not getattr(found, "_is_text_encoding", True):
                raise LookupError("it is not a text encoding")  # such as zlib
            self.encoding = found.name
        except LookupError as error:
            raise DataError(
                f"{self._name}: no encoding '{encoding}'; set {name_setting(self._what, 'encoding')} to a name such as "
                "utf-8, utf-16, latin-1 or windows-1252"
            ) from error
        self._utf8 = self.encoding in ("utf-8", "utf-8-sig")
        self._decoder = None if self._utf8 else codecs.getincrementaldecoder(self.encoding)("strict")

    def read(self, size: int) -> bytes:
        """Return about `size` more bytes of UTF-8; nothing at the end.

        Raises:
            DataError: the text is not in the encoding.
        """
        while not self._ended:
            data = self._next(size)
            self._ended = not data
            text = self._as_utf8(data)
            if text:
                self._lines += text.count(b"\n")
                return text
        return b""

    def _next(self, size: int) -> bytes:
        if self._head:
            data, self._head = self._head[:size], self._head[size:]
            return data
        return self._stream.read(size)

    def _as_utf8(self, data: bytes) -> bytes:
        try:
            if self._decoder is not None:
                return self._decoder.decode(data, self._ended).encode()
            data = self._pending + data
            self._pending = b""
            if self._first and data:
                self._first = False
                data = data.removeprefix(codecs.BOM_UTF8)
            if data.isascii():
                return data
            used = codecs.utf_8_decode(data, "strict", self._ended)[1]
        except UnicodeError as error:
            return self._fall_back(data, error)
        self._plain = False
        data, self._pending = data[:used], data[used:]
        return data

    def _fall_back(self, data: bytes, error: UnicodeError) -> bytes:
        start = error.start if isinstance(error, UnicodeDecodeError) else 0
        line = self._lines + data.count(b"\n", 0, start) + 1
        if not self._utf8 or self._fixed or not self._plain or not data[:start].isascii():
            raise self._not_text(data, start, line) from error
        check_western(self._what, self._name, data, start, first_line=self._lines + 1)
        logger.info("%s: line %d is not UTF-8; read as %s", self._name, line, FALLBACK)
        self._use(FALLBACK)
        return self._as_utf8(data)

    def _not_text(self, data: bytes, start: int, line: int) -> DataError:
        """Return the error of a byte that is not in the encoding."""
        byte = f" (byte 0x{data[start]:02x})" if start < len(data) else ""
        setting = name_setting(self._what, "encoding")
        found = f"{self._name}: line {line} is not {self.encoding.upper().removesuffix('-SIG')} text{byte}"
        if not self._utf8 and _is_utf8(data):
            return DataError(f"{found}, but looks like UTF-8; set {setting} to utf-8, or remove the setting")
        western = _is_western(data) and _NOT_TEXT.search(data) is None
        likely = FALLBACK if western else _OTHERS
        above = ", unlike the lines above; fix the line, or" if self._utf8 and line > 1 and western else ";"
        return DataError(
            f"{found}{above} set {setting}, such as {likely}, or save the file as UTF-8, for example with "
            f"'iconv -f {likely.partition(',')[0].upper()} -t UTF-8'"
        )
