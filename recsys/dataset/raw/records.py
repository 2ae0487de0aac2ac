"""Separated text -> blocks of whole records, with one byte between fields and quotes doubled."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.dialect import STAND_INS, Dialect
from recsys.dataset.raw.encoding import Utf8Reader
from recsys.dataset.raw.quoting import Layout, Quoting, choose_quoting, fields_fit, find_records, misplaced_quote
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError

BLOCK_BYTES = 1 << 24
_LARGEST_RECORD = 1 << 24
_NEWLINE, _RETURN = 10, 13


@dataclass(frozen=True)
class Records:
    """Whole records.

    Attributes:
        data: UTF-8 bytes.
        first_line: number of the line in the file at which the data starts.
        quoted: whether quotes enclose fields.
        record_starts: byte at which each record starts where some record spans several lines; None: a line each.
    """

    data: bytes
    first_line: int
    quoted: bool
    record_starts: npt.NDArray[np.int64] | None

    def starts(self) -> npt.NDArray[np.int64]:
        """Return the byte at which each record starts; blank lines are no records."""
        data = np.frombuffer(self.data, np.uint8)
        starts = self.record_starts
        if starts is None:
            starts = np.concatenate([[0], np.flatnonzero(data == _NEWLINE) + 1])
        starts = starts[starts < len(data)]
        lengths = np.diff(starts, append=len(data))
        returned = (data[starts] == _RETURN) & (data[np.minimum(starts + 1, len(data) - 1)] == _NEWLINE)
        blank = (data[starts] == _NEWLINE) | ((lengths <= 2) & returned)
        records: npt.NDArray[np.int64] = starts[~blank]
        return records

    def lines(self, starts: npt.NDArray[np.int64]) -> list[int]:
        """Return the line of the file at which each of some records starts."""
        ends = np.flatnonzero(np.frombuffer(self.data, np.uint8) == _NEWLINE)
        return [self.first_line + int(passed) for passed in np.searchsorted(ends, starts)]

    def texts(self, starts: npt.NDArray[np.int64], chosen: list[int]) -> list[bytes]:
        """Return the bytes of the records with some indexes into `starts`."""
        ends = [*starts[1:].tolist(), len(self.data)]
        return [self.data[int(starts[index]) : ends[index]].strip(b"\r\n") for index in chosen]

    def without_first(self) -> Records:
        """Return all records but the first."""
        starts = self.starts()
        cut = int(starts[1]) if len(starts) > 1 else len(self.data)
        below = None if self.record_starts is None else self.record_starts[self.record_starts >= cut] - cut
        return Records(self.data[cut:], self.first_line + self.data.count(b"\n", 0, cut), self.quoted, below)


class RecordReader:
    """Reads whole records.

    Whether quotes enclose fields, and how they are escaped, is decided by the first block that has any, unless it is
    set in the config; a later block that contradicts is an error.
    """

    def __init__(self, what: str, name: str, dialect: Dialect, files: RawFiles, block_bytes: int = BLOCK_BYTES) -> None:
        """Read text of the source `name` for the table `what`."""
        self._what, self._name, self._dialect, self._files = what, name, dialect, files
        self._quote = (files.quote if files.quote is not None else dialect.quote or '"').encode()
        # A database always quotes in the same way.
        self._quoting = Quoting(b'"') if files.query is not None else None if self._quote else Quoting(b"")
        self._block_bytes = block_bytes
        self._header_quoted: bool | None = None
        separator = dialect.separator.encode()
        self._found = separator if len(separator) > 1 else b""
        self.separator = b"" if self._found else separator

    def blocks(self, text: Utf8Reader) -> Iterator[Records]:
        """Yield all records, the header among them.

        Raises:
            DataError: a misplaced quote, or a record of more than 16 MB.
        """
        tail = pending = b""
        line, skip, final = 1, self._dialect.skipped_lines, False
        following = text.read(self._block_bytes)
        while not final:
            # Read ahead: whether a quote is open can be told only at the end.
            data, following = following, text.read(self._block_bytes)
            final = not following
            lines = tail + data
            if self._dialect.carriage_returns:
                lines = lines.replace(b"\r", b"\n")
            cut = len(lines) if final else lines.rfind(b"\n") + 1
            tail, whole = lines[cut:], lines[:cut]
            while skip and whole:
                whole, skip, line = whole.partition(b"\n")[2], skip - 1, line + 1
            block = pending + self._with_single_byte(whole)
            layout = self._find_records(block, line, final)
            ready, pending = block[: layout.end], block[layout.end :]
            if ready:
                yield self._records(ready, line, layout)
                line += ready.count(b"\n")
            if max(len(pending), len(tail)) > _LARGEST_RECORD:
                raise DataError(
                    f"{self._name}: line {line}: a cell of more than 16 MB, perhaps an unclosed quote; close it, or "
                    f"set {name_setting(self._what, 'quote')}: '' if quotes are ordinary characters"
                )

    def _with_single_byte(self, lines: bytes) -> bytes:
        """Return lines in which a separator of several bytes is a byte that the text does not have."""
        if not self._found or not lines:
            return lines
        if not self.separator:
            free = [bytes([byte]) for byte in STAND_INS if byte not in lines]
            self.separator = free[0] if free else STAND_INS[:1]
        if self.separator in lines:
            raise DataError(
                f"{self._name}: contains the control character 0x{self.separator.hex()}, so that the separator "
                f"'{self._dialect.separator}' cannot be read; remove it, or write the file with another separator"
            )
        return lines.replace(self._found, self.separator)

    def _find_records(self, block: bytes, line: int, final: bool) -> Layout:
        if self._header_quoted is None and block:
            self._header_quoted = bool(self._quote) and self._quote in block.lstrip(b"\r\n").partition(b"\n")[0]
        if not self._quote or self._quote not in block:
            return Layout(len(block))
        first = self._quoting is None
        if first:
            self._quoting = self._choose(block, final)
        quoting = self._quoting
        layout = find_records(block, self.separator, quoting, final) if quoting else None
        if layout is None:
            raise self._misplaced(block, line, quoting or Quoting(self._quote))
        if not first and layout.starts is not None and self._may_be_letters() and fields_fit(block, self.separator):
            raise self._misplaced(block, line, Quoting(self._quote), at=_first_spanning(block, layout.starts))
        return layout

    def _choose(self, block: bytes, final: bool) -> Quoting | None:
        quoting = choose_quoting(
            block, self.separator, self._quote, bool(self._header_quoted), final, self._files.escape
        )
        if self._files.quote and (quoting is None or not quoting.quote):
            return Quoting(self._quote, self._files.escape or "doubled")
        return quoting

    def _may_be_letters(self) -> bool:
        return self._files.quote is None and not self._header_quoted and self.separator not in (b",", b";")

    def _misplaced(self, block: bytes, line: int, quoting: Quoting, at: int | None = None) -> DataError:
        offset = misplaced_quote(block, self.separator, quoting) if at is None else at
        at_line = line + block.count(b"\n", 0, offset)
        return DataError(
            f'{self._name}: line {at_line} has a misplaced quote; write a quote inside a field as "", or set '
            f"{name_setting(self._what, 'quote')}: '' if quotes are "
            f'ordinary characters, or {name_setting(self._what, "escape")}: backslash if they are written as \\"'
        )

    def _records(self, data: bytes, line: int, layout: Layout) -> Records:
        quoting = self._quoting
        quoted = quoting is not None and bool(quoting.quote)
        starts = layout.starts
        if quoting is not None and quoted and quoting.escape == "backslash" and b"\\" in data:
            data = _double_quotes(data, quoting.quote)
            if starts is not None:
                found = find_records(data, self.separator, Quoting(quoting.quote), final=True)
                starts = found.starts if found else None
        return Records(data, line, quoted, starts)

    @property
    def quote(self) -> bytes:
        """The character that encloses fields, where some are quoted."""
        return self._quote


def _first_spanning(block: bytes, starts: npt.NDArray[np.int64]) -> int:
    """Return the byte at which the first record starts that spans several lines."""
    ends = np.flatnonzero(np.frombuffer(block, np.uint8) == _NEWLINE)
    passed = np.searchsorted(ends, starts)
    spanning = np.flatnonzero(np.diff(passed) > 1)
    return int(starts[spanning[0] if len(spanning) else -1])


def _double_quotes(data: bytes, quote: bytes) -> bytes:
    """Return text with doubled quotes and plain backslashes where both had a backslash before them."""
    mark = next(bytes([byte]) for byte in range(1, 32) if bytes([byte]) not in data)
    return data.replace(b"\\\\", mark).replace(b"\\" + quote, quote + quote).replace(mark, b"\\")
