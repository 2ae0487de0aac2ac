"""Bounded samples of raw files: the one place where the proposal reads files.

Of a plain text file the head, the middle and the end are read, of a Parquet file its first, middle and last row
groups. A compressed file is unpacked in memory if it is small enough, otherwise its head is read.
"""

from __future__ import annotations

import io
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from textwrap import shorten
from typing import Any

import polars as pl

from recsys.config.raw_files import RawFiles
from recsys.dataset.proposal.encodings import ENCODINGS, guess_encoding
from recsys.dataset.proposal.listing import FileGroup, find_groups
from recsys.dataset.proposal.questions import Decisions
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.dialect import Dialect
from recsys.dataset.raw.encoding import detect_encoding
from recsys.dataset.raw.places import find_sources
from recsys.dataset.raw.sampling import Sample, read_sample
from recsys.errors import DataError
from recsys.extras import needs_extra

_log = logging.getLogger(__name__)

# Rows of a table, and of each of many tables.
_ROWS, _FEW_ROWS = 100_000, 20_000
_MANY_TABLES = 8
# Each pair of tables is compared, so their number is bounded.
_MOST_TABLES = 60
_MOST_FILES = 40
# Rows of a large text that tell how long its rows are.
_FIRST_ROWS = 300
# Bytes of a text up to which it is read as a whole, and of the sample of a larger one; rows that they hold at most.
_WHOLE_BYTES, _ROWS_OF_WHOLE = 5_000_000, 1_000_000
# Stored and unpacked bytes up to which a compressed file is unpacked in memory.
_PACKED_BYTES, _UNPACKED_BYTES = 40_000_000, 160_000_000
_PACKED = re.compile(r"(?i)[.](gz|gzip|zst|bz2)$|[.]zip/")
_BLOCK = 1 << 20
_TEXTS = ("csv", "json", "")
_PLAIN_ENCODINGS = ("utf-8", "utf-8-sig", "ascii")
# Column of a sample with the path of each row's file, where a table has several.
FILE_COLUMN = "\0file"


@dataclass(frozen=True, eq=False)
class Table:
    """A sample of files that are read as a table.

    Attributes:
        path: file, folder or pattern, for `dataset.*.path`.
        form: settings of `RawFiles` that say how the files are written, where it is not plain.
        frame: String or List(String) columns, in the order of the files.
        rows: estimated rows of all files; None where only the head of a compressed file was read.
        whole: whether the sample holds every row.
        files: names of the files, if there are several.
        described: the form in words.
    """

    path: str
    form: Mapping[str, Any]
    frame: pl.DataFrame
    rows: int | None
    whole: bool
    files: tuple[str, ...] = ()
    described: str = ""

    @property
    def name(self) -> str:
        """The path, with the sheet of a workbook or the query of a database."""
        if "query" in self.form:
            return f"{self.path} ({shorten(self.form['query'], 80, placeholder='...')})"
        return f"{self.path}#{self.form['sheet']}" if "sheet" in self.form else self.path

    @property
    def has_header(self) -> bool:
        """Whether the columns have names."""
        return self.form.get("header") is not False


def load_tables(
    paths: Sequence[str], decisions: Decisions, queries: Sequence[str] = ()
) -> tuple[list[Table], list[str]]:
    """Return a sample of each table below the paths, or of each query of a database, and why other files are none.

    Raises:
        DataError: a path does not exist, there is no data file, or there are too many tables.
        ConfigError: a database without queries, or queries without a database.
    """
    groups = find_groups(paths, queries)
    _check_count(paths, [group.path for group in groups])
    rows = _ROWS if len(groups) <= _MANY_TABLES else _FEW_ROWS
    tables: list[Table] = []
    problems: list[str] = []
    for group in groups:
        try:
            tables += _load_group(group, rows, decisions)
        except DataError as error:
            problems.append(str(error))
        _check_count(paths, [table.name for table in tables])
    return [table for table in tables if table.frame.height and table.frame.width], problems


def _check_count(paths: Sequence[str], names: Sequence[str]) -> None:
    if len(names) > _MOST_TABLES:
        raise DataError(
            f"{', '.join(paths)}: more than {_MOST_TABLES} tables, such as {', '.join(names[:3])}; "
            "recsys init compares each with all: give it only the files of the items and the interactions, or, "
            "if they are parts of one table, such as a file for each person, put those with the same columns into a "
            "folder of their own and give the folder"
        )


def _load_group(group: FileGroup, rows: int, decisions: Decisions) -> Iterator[Table]:
    files = RawFiles(path=group.path, query=group.query)
    sources = find_sources("interactions", files)
    if not group.query and sources[0].format in _TEXTS:
        files = files.model_copy(update={"encoding": _find_encoding(sources[0], decisions)})
    if sources[0].format == "excel":
        for sheet in _list_sheets(sources[0]):
            try:
                yield _load_table(group, files.model_copy(update={"sheet": sheet}), sources, rows)
            except DataError as error:
                _log.info("%s: sheet '%s' is skipped: %s", group.path, sheet, error)
        return
    yield _load_table(group, files, sources, rows)


def _find_encoding(source: Source, decisions: Decisions) -> str | None:
    """Return the encoding of a text that is neither Unicode nor Western, as guessed or answered; None for others."""
    with source.open() as stream:
        head = stream.read(_BLOCK // 16)
    try:
        detect_encoding("interactions", source.name, head)
    except DataError as error:
        guess = guess_encoding(head)
        if guess is None and "encoding" not in decisions.answers:
            message = "cannot detect the text encoding; set it with --answer encoding=NAME, such as windows-1251"
            raise DataError(f"{source.name}: {message}") from error
        chosen = guess or decisions.answers["encoding"]
        return decisions.decide("encoding", [chosen, *ENCODINGS], chosen, clear=True)
    return None


def _list_sheets(source: Source) -> list[str | None]:
    """Return the names of a workbook's sheets; of a single one none, since it needs none."""
    with needs_extra("excel", f"{source.name} (a workbook)", DataError, "save the sheets as CSV"):
        import fastexcel
    with source.open_seekable() as stream:
        try:
            names = fastexcel.read_excel(stream.read()).sheet_names
        except fastexcel.FastExcelError as error:
            raise DataError(f"{source.name}: cannot be read as a workbook ({error}); save it again") from error
    return list(names) if len(names) > 1 else [None]


def _load_table(group: FileGroup, files: RawFiles, sources: Sequence[Source], rows: int) -> Table:
    chosen = _spread(sources)
    parts: list[Sample] = []
    for source in chosen:
        sample = _sample(source, files, max(rows // len(chosen), _FIRST_ROWS))
        frame = sample.frame.select(_as_text(column) for column in sample.frame.get_columns())
        if len(sources) > 1:
            frame = frame.with_columns(pl.lit(source.name).alias(FILE_COLUMN))
        parts.append(replace(sample, frame=frame))
    frame = pl.concat([part.frame for part in parts], how="diagonal")
    known = [part.rows_estimate for part in parts if part.rows_estimate is not None]
    estimate = round(sum(known) / len(parts) * len(sources)) if len(known) == len(parts) else None
    whole = len(chosen) == len(sources) and estimate == frame.height
    form = {key: value for key in ("sheet", "query") if (value := getattr(files, key))}
    form |= _describe_dialect(parts[0].dialect) if parts[0].dialect and not files.query else {}
    names = tuple(source.name for source in sources) if len(sources) > 1 else ()
    return Table(group.path, form, frame, estimate, whole, names, _describe(parts[0], files))


def _spread(sources: Sequence[Source]) -> list[Source]:
    """Return some of the sources, the first and the last among them."""
    if len(sources) <= _MOST_FILES:
        return list(sources)
    step = (len(sources) - 1) / (_MOST_FILES - 1)
    return [sources[round(index * step)] for index in range(_MOST_FILES)]


def _sample(source: Source, files: RawFiles, rows: int) -> Sample:
    source = _unpack(source)
    if source.format not in _TEXTS or source.size is None:
        return _count_whole(read_sample(source, files, rows), rows)
    if source.size <= _WHOLE_BYTES:
        # Without a place nothing but the head is read: here that is every row.
        sample = read_sample(replace(source, place=""), files, 2 * _ROWS_OF_WHOLE)
        is_whole = sample.frame.height < _ROWS_OF_WHOLE
        return replace(sample, rows_estimate=sample.frame.height if is_whole else sample.rows_estimate)
    first = read_sample(source, files, _FIRST_ROWS)
    width = source.size / first.rows_estimate if first.rows_estimate else 1000
    return read_sample(source, files, min(rows, max(_FIRST_ROWS, round(_WHOLE_BYTES / max(width, 1)))))


def _count_whole(sample: Sample, rows: int) -> Sample:
    """Return the sample with the number of rows if it holds all of them, though the source has no size."""
    if sample.format != "csv" or sample.rows_estimate is not None or sample.frame.height >= rows // 2:
        return sample
    return replace(sample, rows_estimate=sample.frame.height)


def _unpack(source: Source) -> Source:
    """Return a small compressed source as one in memory, so that its middle and its end can be read, too."""
    if not _PACKED.search(source.name) or source.format not in _TEXTS:
        return source
    if source.size is None or source.size > _PACKED_BYTES:
        return source
    content = bytearray()
    with source.open() as stream:
        while block := stream.read(_BLOCK):
            content += block
            if len(content) > _UNPACKED_BYTES:
                return source
    data = bytes(content)
    name = re.sub(r"(?i)[.](gz|gzip|zst|bz2)$", "", PurePosixPath(source.name).name)

    def open_data() -> io.BytesIO:
        return io.BytesIO(data)

    # A place says that the content is uncompressed, so that its middle and its end are read.
    return replace(source, name=name, open=open_data, open_seekable=open_data, size=len(data), place=source.name)


def _as_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.to_string("%Y-%m-%dT%H:%M:%S").alias(column.name)
    return column if isinstance(column.dtype, pl.List) else column.cast(pl.String, strict=False)


def _describe_dialect(dialect: Dialect) -> dict[str, Any]:
    """Return the settings of a dialect that differ from a plain CSV file."""
    form: dict[str, Any] = {}
    if dialect.encoding not in _PLAIN_ENCODINGS:
        form["encoding"] = dialect.encoding
    if dialect.separator != ",":
        form["separator"] = dialect.separator
    if not dialect.header:
        form["header"] = False
    if dialect.quote not in ('"', ""):
        form["quote"] = dialect.quote
    if dialect.escape == "backslash":
        form["escape"] = dialect.escape
    return form


def _describe(sample: Sample, files: RawFiles) -> str:
    if files.query:
        return "the result of a query"
    if sample.dialect is None:
        name = {"json": "JSON", "parquet": "Parquet", "excel": "a workbook", "delta": "a Delta table"}[sample.format]
        return f"sheet {files.sheet}" if files.sheet else name
    dialect = sample.dialect
    words = ["comma-separated" if dialect.separator == "," else f"separator {dialect.separator!r}"]
    words += [] if dialect.header else ["no header"]
    return ", ".join([*words, *([] if dialect.encoding in _PLAIN_ENCODINGS else [dialect.encoding])])
