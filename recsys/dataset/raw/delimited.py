"""Text with separated fields (CSV and its relatives) -> blocks of rows."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, BinaryIO

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.blocks import NO_COLUMN, RawBlock, row_numbers
from recsys.dataset.raw.columns import missing_column
from recsys.dataset.raw.dialect import Dialect, choose_dialect
from recsys.dataset.raw.encoding import Utf8Reader
from recsys.dataset.raw.records import BLOCK_BYTES, RecordReader, Records
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError

HEAD_BYTES = 1 << 22


def read_delimited(what: str, source: Source, files: RawFiles, names: Sequence[str] | None) -> Iterator[RawBlock]:
    """Yield the rows of separated text, an empty field as "".

    Args:
        what: the table's name for messages, such as `items`.
        source: of the text.
        files: settings of its form; what is not set is detected from its head.
        names: raw columns; without a header also positions from 1. None: all.

    Raises:
        DataError: the text cannot be decoded, a quote is misplaced, a line has too few or too many fields, or a column
            is missing.
    """
    with source.open() as stream:
        head = read_head(stream)
        dialect = choose_dialect(what, source.name, head, files, names)
        text = Utf8Reader(what, source.name, stream, head, dialect.encoding, fixed=files.encoding is not None)
        yield from Fields(what, source.name, files, dialect, names).blocks(text)


def read_head(stream: BinaryIO, size: int = HEAD_BYTES) -> bytes:
    """Return the first `size` bytes, fewer at the end of the stream."""
    parts: list[bytes] = []
    while size > 0 and (part := stream.read(size)):
        parts.append(part)
        size -= len(part)
    return b"".join(parts)


class Fields:
    """Parses the fields of records.

    Attributes:
        bytes_read: bytes of UTF-8 in the blocks so far.
    """

    def __init__(
        self,
        what: str,
        name: str,
        files: RawFiles,
        dialect: Dialect,
        names: Sequence[str] | None,
        block_bytes: int = BLOCK_BYTES,
    ) -> None:
        """Parse the columns `names` (None: all) of the source `name`, in blocks of about `block_bytes`."""
        self._what, self._name, self._dialect = what, name, dialect
        self.bytes_read = 0
        self._from_query = files.query is not None
        self._records = RecordReader(what, name, dialect, files, block_bytes)
        self._wanted = self._find_columns(dialect.names if names is None else names, every=names is None)

    def _find_columns(self, names: Sequence[str], *, every: bool) -> dict[str, int]:
        """Return the index of each raw column."""
        found = self._dialect.names
        indexes: dict[str, int] = {}
        for name in names:
            if found.count(name) > 1 and not every:
                raise DataError(f"{self._name}: the header contains '{name}' more than once; rename one of them")
            if name in found:
                indexes[name] = found.index(name)
            elif not self._dialect.header and name.isdecimal() and 1 <= int(name) <= len(found):
                indexes[name] = int(name) - 1
            else:
                raise missing_column(self._what, self._name, name, found, header=self._dialect.header)
        return indexes

    def blocks(self, text: Utf8Reader) -> Iterator[RawBlock]:
        """Yield the rows of text.

        Raises:
            DataError: a misplaced quote, or a line with too few or too many fields.
        """
        header, first_row = self._dialect.header, 1
        for records in self._records.blocks(text):
            self.bytes_read += len(records.data)
            if header:
                if not len(records.starts()):
                    continue
                records, header = records.without_first(), False
            if not records.data.strip(b"\r\n"):
                continue
            columns = self._parse(records, records.data, list(self._wanted.values()) or [0])
            wanted = self._wanted or {NO_COLUMN: 0}
            columns = columns.select(pl.col(str(index)).alias(name) for name, index in wanted.items())
            locate = partial(row_numbers, first_row) if self._from_query else partial(_locate, records)
            yield RawBlock(columns, first_row, locate, partial(self._content, records))
            first_row += columns.height

    def _parse(self, records: Records, data: bytes, indexes: list[int]) -> pl.DataFrame:
        """Return columns, named by their index."""
        misfits: list[Any] = []

        def stop(row: Any) -> str:
            misfits.append(row)
            return "error"

        names = [str(index) for index in range(len(self._dialect.names))]
        quote = self._records.quote.decode()
        try:
            table = pacsv.read_csv(
                pa.BufferReader(data),
                read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=len(data) + 1),
                parse_options=pacsv.ParseOptions(
                    delimiter=self._records.separator.decode(),
                    quote_char=quote if records.quoted else False,
                    newlines_in_values=records.record_starts is not None or _has_lone_returns(data),
                    invalid_row_handler=stop,
                ),
                convert_options=pacsv.ConvertOptions(
                    include_columns=[str(index) for index in dict.fromkeys(indexes)],
                    column_types=dict.fromkeys(names, pa.string()),
                    strings_can_be_null=False,
                    check_utf8=False,
                ),
            )
        except pa.ArrowInvalid as error:
            raise self._misfit(records, misfits, error) from error
        frame = pl.DataFrame(pl.from_arrow(table))
        if len(self._dialect.separator.encode()) > 1:
            stand_in = self._records.separator.decode()
            frame = frame.with_columns(pl.all().str.replace_all(stand_in, self._dialect.separator, literal=True))
        return frame

    def _misfit(self, records: Records, misfits: list[Any], error: Exception) -> DataError:
        if not misfits:
            return DataError(f"{self._name}: cannot be read as separated text ({error}); write it again")
        row = misfits[0]
        starts = records.starts()
        text = row.text.encode()
        chosen = [
            index for index, record in enumerate(records.texts(starts, list(range(len(starts))))) if record == text
        ]
        line = f"line {records.lines(starts[chosen[:1]])[0]}" if chosen else "a line"
        shown = row.text[:80].replace(self._records.separator.decode(), self._dialect.separator)
        expected = "the header" if self._dialect.header else "the first line"
        return DataError(
            f"{self._name}: {line} has {row.actual_columns} field{'s' * (row.actual_columns != 1)}, expected "
            f"{row.expected_columns} as in {expected}: {shown!r}; quote fields that contain the separator "
            f"{self._dialect.separator!r}, fix the line, or set {name_setting(self._what, 'separator')} or .quote"
        )

    def _content(self, records: Records, chosen: pl.Series) -> list[str]:
        if not len(chosen):
            return []
        data = b"\n".join(records.texts(records.starts(), chosen.to_list()))
        frame = self._parse(records, data, list(range(len(self._dialect.names))))
        frame.columns = _distinct(self._dialect.names)
        return [json.dumps(row, ensure_ascii=False) for row in frame.iter_rows(named=True)]


def _locate(records: Records, chosen: pl.Series) -> list[int]:
    return records.lines(records.starts()[chosen.to_numpy()]) if len(chosen) else []


def _has_lone_returns(data: bytes) -> bool:
    return data.count(b"\r") != data.count(b"\r\n")


def _distinct(names: Sequence[str]) -> list[str]:
    """Return names of which repeated ones have a number after them."""
    counts: dict[str, int] = {}
    distinct = []
    for name in names:
        counts[name] = counts.get(name, 0) + 1
        distinct.append(name if counts[name] == 1 else f"{name}.{counts[name]}")
    return distinct
