"""A sheet of a workbook (Excel, OpenDocument) -> blocks of rows."""

from __future__ import annotations

import io
import json
import logging
import re
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, BinaryIO
from xml.etree import ElementTree

import polars as pl

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.blocks import NO_COLUMN, RawBlock
from recsys.dataset.raw.columns import missing_column
from recsys.dataset.raw.containers import check_expansion
from recsys.dataset.raw.header import count_title_rows, has_header
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError
from recsys.extras import needs_extra
from recsys.progress import format_count

logger = logging.getLogger(__name__)

_BLOCK_ROWS = 250_000
_HEADER_ROWS = 200
# Rows above the header that a title may have.
_TITLE_ROWS = 20
# The most that the compression of workbooks shrinks anything, and how much of them is read at a time.
_DEFLATE_RATIO, _BUFFER = 1032, 1 << 18
_TIME = r"^[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]+)?$"
# Spreadsheets keep 15 digits of a number.
_LONG_NUMBER = r"^-?[0-9]{16,}$"
_EMPTY_FORMULA = re.compile(rb'<c r="([A-Z]+[0-9]+)"[^>]*><f(?:/>|[^>]*>[^<]*</f>)(?:<v\s*/>|<v></v>)?</c>')
# In front of a part: 26 bytes of other facts, then the lengths of its name and of its extra field.
_LOCAL_HEADER = struct.Struct("<26xHH")
_RELATION = "{http://schemas.openxmlformats.org/officeDocument/2006/relationships}id"


def read_workbook(what: str, source: Source, files: RawFiles, names: Sequence[str] | None) -> Iterator[RawBlock]:
    """Yield the rows of a sheet: text as it is, 12.0 as "12", dates as times, a formula as its stored value.

    Args:
        what: the table's name for messages, such as `items`.
        source: of the workbook.
        files: settings; of them, `sheet`, `header` and `names` are used.
        names: raw columns; without a header also positions from 1. None: all.

    Raises:
        DataError: no such sheet, several sheets and none is named, a column is missing, the workbook is damaged, or
            the extra `excel` is not installed.
    """
    cells, first_line = _read_sheet(what, source, files)
    found, header = _names(cells, files)
    title = 0
    if header and names and not set(names) & set(found):
        title = _find_names(cells, names)
    elif names is None and files.header is None and not files.names:
        title = count_title_rows(_head(cells))
    if title:
        cells, first_line = cells[title:], first_line + title
        found, header = _names(cells, files)
        logger.info("%s: line %d is the header; the lines above are left out", source.name, first_line)
    if header:
        cells, first_line = cells[1:], first_line + 1
    cells.columns = [str(index) for index in range(cells.width)]
    wanted = _find_columns(what, source.name, found, found if names is None else names, header=header)
    lines = pl.int_range(first_line, first_line + cells.height, eager=True)
    filled = (
        ~cells.select(pl.all_horizontal(pl.all().is_null())).to_series()
        if cells.height
        else pl.Series([], dtype=pl.Boolean)
    )
    cells, lines = cells.filter(filled), lines.filter(filled)
    chosen = (wanted or {NO_COLUMN: 0}).items()
    typed = cells.select(_as_times(cells[str(index)]).alias(name) for name, index in chosen)
    for start in range(0, cells.height, _BLOCK_ROWS):
        part = slice(start, start + _BLOCK_ROWS)
        content = partial(_content, cells[part], found)
        yield RawBlock(typed[part], start + 1, partial(_lines, lines[part]), content)


def _lines(lines: pl.Series, chosen: pl.Series) -> list[int]:
    return lines.gather(chosen).to_list()


def _content(cells: pl.DataFrame, names: Sequence[str], chosen: pl.Series) -> list[str]:
    return [json.dumps(dict(zip(names, row, strict=True)), ensure_ascii=False) for row in cells[chosen].iter_rows()]


def _read_sheet(what: str, source: Source, files: RawFiles) -> tuple[pl.DataFrame, int]:
    """Return the cells of a sheet as text from the first row on that is not empty, and the number of that row."""
    with needs_extra("excel", f"{source.name} (a workbook)", DataError, "save the sheet as CSV"):
        import fastexcel
    with source.open_seekable() as stream:
        _check_size(source, stream)
        data = stream.read()
        try:
            workbook = fastexcel.read_excel(data)
            sheet = _choose_sheet(what, source.name, files, workbook.sheet_names)
            cells = pl.DataFrame(workbook.load_sheet(sheet, header_row=None, skip_rows=0, dtypes="string").to_polars())
            cells = _mark_rounded(cells, partial(_is_numeric, workbook, sheet))
        except fastexcel.FastExcelError as error:
            reason = str(error).splitlines()[0]
            raise DataError(
                f"{source.name}: cannot be read as a workbook ({reason}); open it and save it again, without a password"
            ) from error
        _report_formulas(source.name, stream, sheet)
    filled = (
        cells.select(~pl.all_horizontal(pl.all().is_null())).to_series()
        if cells.width
        else pl.Series([], dtype=pl.Boolean)
    )
    if not filled.any():
        raise DataError(f"{source.name}: sheet '{sheet}' is empty; set {name_setting(what, 'sheet')} to another sheet")
    first = filled.arg_true()[0]
    return cells[first:], first + 1


def _mark_rounded(cells: pl.DataFrame, is_numeric: Callable[[int, int], bool]) -> pl.DataFrame:
    """Return cells in which numbers that lost digits are written as floats, unlike the same digits as text.

    Args:
        cells: as text.
        is_numeric: returns whether a column holds nothing but numbers from a row on.
    """
    for index, name in enumerate(cells.columns):
        long = cells[name].str.contains(_LONG_NUMBER).fill_null(False)
        first = long.arg_max()
        if long.any() and first is not None and is_numeric(index, first):
            cells = cells.with_columns(pl.when(long).then(pl.col(name) + ".0").otherwise(name).alias(name))
    return cells


def _is_numeric(workbook: Any, sheet: str, column: int, first_row: int) -> bool:
    part = workbook.load_sheet(
        sheet, header_row=None, skip_rows=first_row, use_columns=[column], schema_sample_rows=None
    )
    return bool(pl.DataFrame(part.to_polars()).dtypes[0].is_numeric())


def _choose_sheet(what: str, name: str, files: RawFiles, sheets: Sequence[str]) -> str:
    listed = ", ".join(map(repr, sheets))
    if files.sheet is not None:
        if files.sheet not in sheets:
            raise DataError(f"{name}: no sheet '{files.sheet}'; found {listed}; fix {name_setting(what, 'sheet')}")
        return files.sheet
    if len(sheets) != 1:
        raise DataError(
            f"{name}: has {format_count(len(sheets), 'sheet')}, {listed}; set {name_setting(what, 'sheet')} to one of "
            "them"
        )
    return sheets[0]


def _check_size(source: Source, stream: BinaryIO) -> None:
    """Raise if the parts of a zipped workbook expand to far more than they are stored in.

    They are unpacked to find out, for the sizes that they declare may be wrong.
    """
    if zipfile.is_zipfile(stream):
        with zipfile.ZipFile(stream) as archive:
            parts = archive.infolist()
        stored, expanded = sum(part.compress_size for part in parts), 0
        for part in parts if stored * _DEFLATE_RATIO > source.limit else ():
            for length in _unpack(stream, part):
                expanded += length
                check_expansion(source.name, expanded, lambda: stored, source.limit)
    stream.seek(0)


def _unpack(stream: BinaryIO, part: zipfile.ZipInfo) -> Iterator[int]:
    """Yield the lengths of the content of a part, to the end of its data or to the first damage."""
    if part.compress_type != zipfile.ZIP_DEFLATED:
        return
    stream.seek(part.header_offset)
    name_length, extra_length = _LOCAL_HEADER.unpack(stream.read(_LOCAL_HEADER.size))
    stream.seek(name_length + extra_length, io.SEEK_CUR)
    unpacker, left = zlib.decompressobj(-zlib.MAX_WBITS), part.compress_size
    with suppress(zlib.error):
        while left > 0 and not unpacker.eof:
            packed = stream.read(min(_BUFFER, left))
            if not packed:
                return
            left -= len(packed)
            yield len(unpacker.decompress(packed, _BUFFER))
            while unpacker.unconsumed_tail:
                yield len(unpacker.decompress(unpacker.unconsumed_tail, _BUFFER))


def _names(cells: pl.DataFrame, files: RawFiles) -> tuple[list[str], bool]:
    """Return the names of the columns, and whether the first row holds them."""
    sample = _head(cells)
    header = files.header if files.header is not None else not files.names and has_header(sample)
    if header:
        return [cell.strip() or f"Unnamed: {index}" for index, cell in enumerate(sample[0])], True
    given = list(files.names or ())[: cells.width]
    return [*given, *(str(index) for index in range(len(given) + 1, cells.width + 1))], False


def _head(cells: pl.DataFrame) -> list[list[str]]:
    return [[cell or "" for cell in row] for row in cells.head(_HEADER_ROWS).iter_rows()]


def _find_names(cells: pl.DataFrame, names: Sequence[str]) -> int:
    """Return how many rows stand above the one that names all columns; 0 if there is no such row among the first."""
    for index, row in enumerate(cells.head(_TITLE_ROWS + 1).iter_rows()):
        if set(names) <= {(cell or "").strip() for cell in row}:
            return index
    return 0


def _find_columns(what: str, name: str, found: Sequence[str], names: Sequence[str], *, header: bool) -> dict[str, int]:
    indexes = {}
    for wanted in names:
        if found.count(wanted) > 1:
            raise DataError(f"{name}: the header contains '{wanted}' more than once; rename one of them")
        if wanted in found:
            indexes[wanted] = found.index(wanted)
        elif not header and wanted.isdecimal() and 1 <= int(wanted) <= len(found):
            indexes[wanted] = int(wanted) - 1
        else:
            raise missing_column(what, name, wanted, found, header=header)
    return indexes


def _as_times(cells: pl.Series) -> pl.Series:
    """Return cells that are all times as Datetime."""
    if cells.null_count() == len(cells) or not cells.str.contains(_TIME).all():
        return cells
    return cells.str.to_datetime("%Y-%m-%d %H:%M:%S%.f", time_unit="us", strict=False)


def _report_formulas(name: str, stream: BinaryIO, sheet: str) -> None:
    """Log how many formulas have no stored value: a program wrote them, and no one has opened the workbook since."""
    stream.seek(0)
    if not zipfile.is_zipfile(stream):
        return
    with zipfile.ZipFile(stream) as parts:
        if "xl/workbook.xml" not in parts.namelist():
            return
        path = _sheet_path(parts, sheet)
        empty = _EMPTY_FORMULA.findall(parts.read(path)) if path in parts.namelist() else []
    if empty:
        logger.warning(
            "%s: sheet '%s': formulas without a stored value are read as blank cells: %d, such as %s; open the "
            "workbook in a spreadsheet program and save it",
            *(name, sheet, len(empty), empty[0].decode()),
        )


def _sheet_path(parts: zipfile.ZipFile, sheet: str) -> str:
    sheets: Any = ElementTree.fromstring(parts.read("xl/workbook.xml"))
    relations: Any = ElementTree.fromstring(parts.read("xl/_rels/workbook.xml.rels"))
    number = next((found.get(_RELATION) for found in sheets.iter() if found.get("name") == sheet), None)
    target = next((found.get("Target") for found in relations if found.get("Id") == number), "")
    return str(target).removeprefix("/") if str(target).startswith("/") else f"xl/{target}"
