"""Bounded samples of raw files: the one place where the proposal touches files.

Of a plain text file the head, the middle and the end are read, of a Parquet file its first, middle and last row
groups, of a compressed file the head.
"""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import polars as pl
import zstandard

from recsys.dataset.proposal.listing import FileGroup, find_groups
from recsys.errors import DataError

_BYTES = 4_000_000
_FEW_BYTES = 1_000_000
_MANY_TABLES = 8
_MOST_FILES = 40
_SEPARATORS = ("::", "\t", ";", "|", ",")


@dataclass(frozen=True, eq=False)
class Table:
    """A sample of files that are read as a table.

    Attributes:
        path: file, folder or pattern, for `dataset.*.path`.
        form: settings of `RawFiles` that say how the files are written.
        frame: String or List(String) columns, in the order of the files.
        rows: estimated rows of all files; None where only the head of a compressed file was read.
        whole: whether the sample holds every row.
        files: paths of the files, relative to the folder given.
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
        """The path, and the sheet of a workbook."""
        return f"{self.path}#{self.form['sheet']}" if "sheet" in self.form else self.path

    @property
    def has_header(self) -> bool:
        """Whether the columns have names."""
        return self.form.get("header") is not False


@dataclass
class _Part:
    frame: pl.DataFrame
    form: dict[str, Any]
    rows: int | None
    whole: bool
    described: str
    names: list[str] = field(default_factory=list)


def load_tables(paths: Sequence[str]) -> tuple[list[Table], list[str]]:
    """Return a sample of each table below the paths, and why other files are none.

    Raises:
        DataError: a path does not exist, or there is no data file.
    """
    groups = find_groups(paths)
    budget = _BYTES if len(groups) <= _MANY_TABLES else _FEW_BYTES
    tables: list[Table] = []
    problems: list[str] = []
    for group in groups:
        try:
            tables += _load_group(group, budget)
        except DataError as error:
            problems.append(str(error))
    return tables, problems


def _load_group(group: FileGroup, budget: int) -> Iterator[Table]:
    chosen = _spread(group.files)
    first = chosen[0]
    if first.suffix.lower() in (".xlsx", ".xls", ".xlsb", ".ods", ".xlsm"):
        yield from _load_workbook(group, first)
        return
    parts = [_load_file(group, file, budget // len(chosen)) for file in chosen]
    frame = pl.concat([part.frame for part in parts], how="diagonal")
    known = [part.rows for part in parts if part.rows is not None]
    rows = round(sum(known) / len(parts) * len(group.files)) if len(known) == len(parts) else None
    root = group.root or first.parent
    names = tuple(file.relative_to(root).as_posix() for file in group.files)
    whole = len(chosen) == len(group.files) and all(part.whole for part in parts)
    yield Table(group.path, parts[0].form, frame, rows, whole, names, parts[0].described)


def _spread(files: Sequence[Path]) -> list[Path]:
    """Return some of the files, the first and the last among them."""
    if len(files) <= _MOST_FILES:
        return list(files)
    step = (len(files) - 1) / (_MOST_FILES - 1)
    return [files[round(index * step)] for index in range(_MOST_FILES)]


def _load_file(group: FileGroup, file: Path, budget: int) -> _Part:
    with file.open("rb") as stream:
        start = stream.read(8)
    part = _load_parquet(file, budget) if start.startswith(b"PAR1") else _load_text(file, budget)
    partitions: dict[str, str] = {}
    if group.root is not None:
        for name in file.relative_to(group.root).parts[:-1]:
            key, equals, value = name.partition("=")
            if equals:
                partitions[key] = unquote(value)
    columns = {key: pl.lit(value) for key, value in partitions.items() if key not in part.frame.columns}
    if group.root is not None and len(group.files) > 1:
        columns[FILE_COLUMN] = pl.lit(file.relative_to(group.root).as_posix())
    part.frame = part.frame.with_columns(**columns)
    return part


# Column of a sample with the path of each row's file, where a table has several.
FILE_COLUMN = "\0file"


def _load_parquet(file: Path, budget: int) -> _Part:
    import pyarrow.parquet as parquet

    content = parquet.ParquetFile(file)
    groups = sorted({0, content.num_row_groups // 2, content.num_row_groups - 1})
    rows = max(1000, budget // 100)
    parts = [
        pl.from_arrow(next(content.iter_batches(batch_size=rows, row_groups=[group]))) for group in groups if group >= 0
    ]
    frame = pl.concat([part for part in parts if isinstance(part, pl.DataFrame)], how="vertical_relaxed")
    total = content.metadata.num_rows
    return _Part(_to_text(frame), {}, total, frame.height == total, "Parquet")


def _to_text(frame: pl.DataFrame) -> pl.DataFrame:
    while any(isinstance(dtype, pl.Struct) for dtype in frame.dtypes):
        columns: list[pl.Series] = []
        for column in frame.get_columns():
            if isinstance(column.dtype, pl.Struct):
                columns += [part.alias(f"{column.name}.{part.name}") for part in column.struct.unnest().get_columns()]
            else:
                columns.append(column)
        frame = pl.DataFrame(columns)
    return frame.with_columns(_as_text(column) for column in frame.get_columns())


def _as_text(column: pl.Series) -> pl.Series:
    if isinstance(column.dtype, pl.List | pl.Array):
        inner = column.dtype.inner
        if isinstance(inner, pl.Struct | pl.List | pl.Array):
            values = [None if value is None else json.dumps(value, default=str) for value in column.to_list()]
            return pl.Series(column.name, values, dtype=pl.String)
        return column.cast(pl.List(pl.String))
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.to_string("iso")
    return column.cast(pl.String, strict=False)


def _load_workbook(group: FileGroup, file: Path) -> Iterator[Table]:
    try:
        import fastexcel
    except ImportError as error:
        raise DataError(f"{file}: is a workbook; install the reader: pip install 'recsys[excel]'") from error
    book = fastexcel.read_excel(file)
    for sheet in book.sheet_names:
        loaded = book.load_sheet(sheet, dtypes="string")
        frame = loaded.to_polars()
        if not frame.height or not frame.width:
            continue
        form = {"sheet": sheet} if len(book.sheet_names) > 1 else {}
        yield Table(group.path, form, frame.head(50_000), frame.height, frame.height <= 50_000, (), f"sheet {sheet}")


def _load_text(file: Path, budget: int) -> _Part:
    pieces, size, packed = _read_pieces(file, budget)
    text, encoding = _decode(file, pieces)
    described = [] if encoding in ("utf-8", "utf-8-sig") else [encoding]
    if packed:
        described.append(packed)
    form: dict[str, Any] = {} if encoding in ("utf-8", "utf-8-sig") else {"encoding": encoding}
    start = text[0].lstrip()
    read = sum(map(len, pieces))
    whole = size is not None and read >= size
    if start.startswith(("{", "[")) and not start.startswith("[{}]"):
        frame = _json_frame(text)
        described.insert(0, "JSON lines" if start.startswith("{") else "JSON")
    else:
        frame, more = _delimited_frame(file, text)
        form |= more
        described.insert(0, f"separator {more['separator']!r}" if "separator" in more else "comma separated")
        if "header" in more:
            described.append("no header")
    rows = frame.height if whole else None if size is None else round(frame.height * size / max(read, 1))
    return _Part(frame, form, rows, whole, ", ".join(described))


def _read_pieces(file: Path, budget: int) -> tuple[list[bytes], int | None, str]:
    """Return pieces of whole lines, the size of the content if known, and the compression."""
    with file.open("rb") as stream:
        start = stream.read(4)
        stream.seek(0)
        opened: Any = None
        if start.startswith(b"\x1f\x8b"):
            opened, packed = gzip.open(stream), "gzip"
        elif start.startswith(b"BZh"):
            opened, packed = bz2.open(stream), "bzip2"
        elif start.startswith(zstandard.FRAME_HEADER):
            opened, packed = zstandard.ZstdDecompressor().stream_reader(stream), "zstd"
        if opened is not None:
            data = opened.read(budget)
            if len(data) < budget:
                return [data], len(data), packed
            return [data[: data.rfind(b"\n") + 1]], None, packed
        size = file.stat().st_size
        if size <= budget:
            return [stream.read()], size, ""
        pieces = []
        for position in (0, size // 2, size - budget // 4):
            stream.seek(position)
            piece = stream.read(budget // (2 if position == 0 else 4))
            begin = piece.find(b"\n") + 1 if position else 0
            last = position and position + len(piece) >= size
            pieces.append(piece[begin:] if last else piece[begin : piece.rfind(b"\n") + 1])
        return pieces, size, ""


def _decode(file: Path, pieces: list[bytes]) -> tuple[list[str], str]:
    head = pieces[0]
    if b"\0" in head[:100] and not head.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise DataError(f"{file}: is not text")
    encodings = ["utf-16"] if head.startswith((b"\xff\xfe", b"\xfe\xff")) else ["utf-8-sig", "windows-1252", "latin-1"]
    for encoding in encodings:
        try:
            return [piece.decode(encoding) for piece in pieces], encoding
        except UnicodeDecodeError:
            continue
    raise DataError(f"{file}: is not text in a known encoding")


def _json_frame(text: list[str]) -> pl.DataFrame:
    records: list[dict[str, Any]] = []
    if text[0].lstrip().startswith("["):
        decoder = json.JSONDecoder()
        position = text[0].index("[") + 1
        while True:
            position = re.compile(r"[\s,]*").match(text[0], position).end()  # type: ignore[union-attr]
            if position >= len(text[0]) or text[0][position] == "]":
                break
            try:
                value, position = decoder.raw_decode(text[0], position)
            except ValueError:
                break
            records.append(value)
    else:
        for line in (line for piece in text for line in piece.splitlines() if line.strip()):
            try:
                records.append(json.loads(line))
            except ValueError:
                continue
    rows = [_flatten(record, "") for record in records if isinstance(record, dict)]
    columns = list(dict.fromkeys(key for row in rows for key in row))
    return pl.DataFrame(
        {key: [row.get(key) for row in rows] for key in columns}, schema=dict.fromkeys(columns, pl.String)
    )


def _flatten(record: dict[str, Any], prefix: str) -> dict[str, str | None]:
    row: dict[str, str | None] = {}
    for key, value in record.items():
        if isinstance(value, dict):
            row |= _flatten(value, f"{prefix}{key}.")
        else:
            text = value if isinstance(value, str) or value is None else json.dumps(value, ensure_ascii=False)
            row[f"{prefix}{key}"] = text
    return row


def _delimited_frame(file: Path, text: list[str]) -> tuple[pl.DataFrame, dict[str, Any]]:
    lines = [line for line in text[0].splitlines()[:200] if line.strip()]
    if not lines:
        raise DataError(f"{file}: the file is empty")
    separator = max(_SEPARATORS, key=lambda mark: _agreement(lines, mark))
    if _agreement(lines, separator) == 0:
        raise DataError(f"{file}: is not a table: no separator gives the same number of fields in its lines")
    form: dict[str, Any] = {} if separator == "," else {"separator": separator}
    records = [record for piece in text for record in _records(piece, separator)]
    width = max(set(map(len, records[:200])), key=[len(record) for record in records[:200]].count)
    records = [record for record in records if len(record) == width]
    header = _is_header(records)
    names = [name.strip() for name in records[0]] if header else [str(index + 1) for index in range(width)]
    if not header:
        form["header"] = False
    rows = records[1:] if header else records
    columns = list(zip(*rows, strict=True)) if rows else [()] * width
    unique = [name if names.index(name) == index else f"{name}_{index}" for index, name in enumerate(names)]
    frame = pl.DataFrame(
        {name: list(column) for name, column in zip(unique, columns, strict=True)},
        schema=dict.fromkeys(unique, pl.String),
    )
    return frame.with_columns(pl.when(pl.all() != "").then(pl.all())), form


def _records(text: str, separator: str) -> list[list[str]]:
    if len(separator) > 1:
        text, separator = text.replace(separator, "\x1f"), "\x1f"
    csv.field_size_limit(16_000_000)
    return [record for record in csv.reader(io.StringIO(text, newline=""), delimiter=separator) if record]


def _agreement(lines: list[str], separator: str) -> float:
    widths = [len(record) for record in _records("\n".join(lines), separator)]
    if not widths:
        return 0.0
    usual = max(set(widths), key=widths.count)
    share = widths.count(usual) / len(widths)
    return 0.0 if usual == 1 or share < 0.7 else share + (0.2 if separator in ("::", "\t") else 0) + usual / 1000


_VALUE = re.compile(r"-?[0-9]+([.,:/-][0-9]+)*|[0-9a-f]{32,}|\S+@\S+\.\S+|https?://\S+")


def _is_header(records: list[list[str]]) -> bool:
    """Return whether the first record names the columns: no cell of it looks like data or is found below it."""
    first, rest = records[0], records[1:2000]
    named = [cell.strip() for cell in first]
    if any(_VALUE.fullmatch(cell) for cell in named) or len(set(named)) < len([cell for cell in named if cell]):
        return False
    below = [set(column) for column in zip(*rest, strict=True)] if rest else []
    return not any(cell in column for cell, column in zip(named, below, strict=False) if cell)
