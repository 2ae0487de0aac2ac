"""Raw files of any usual format -> text columns, with the file and row that each value comes from.

CSV, TSV, JSON lines or Parquet; plain, gzip or zstd; a file, a folder or a glob. Values are not checked here: a file
is read, or a `DataError` names the file, the line or the column that cannot be.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import glob
import gzip
import io
import json
import os
import re
import zlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv
import zstandard

from recsys.config import data_path
from recsys.errors import DataError

_FORMATS = {
    ".csv": "CSV",
    ".tsv": "TSV",
    ".jsonl": "JSON lines",
    ".ndjson": "JSON lines",
    ".json": "JSON lines",
    ".parquet": "Parquet",
}
_SUFFIXES = f"{', '.join(_FORMATS)}, each also with .gz or .zst"
_BYTE_ORDER_MARKS = {
    codecs.BOM_UTF8: "utf-8-sig",
    codecs.BOM_UTF32_LE: "utf-32",  # before UTF-16, whose mark it starts with
    codecs.BOM_UTF32_BE: "utf-32",
    codecs.BOM_UTF16_LE: "utf-16",
    codecs.BOM_UTF16_BE: "utf-16",
}


@dataclass(frozen=True)
class RawTable:
    """The rows of all files in file order, as written.

    Attributes:
        values: a column per requested field: String, List(String) or Datetime (microseconds; UTC, or no zone where
            the file has none).
        locations: `file` and `row` of each row (1 the first row of data; in JSON lines the number of the line).
        parts: the whole rows, a frame per file.
    """

    values: pl.DataFrame
    locations: pl.DataFrame
    parts: tuple[pl.DataFrame, ...]

    def content(self, chosen: pl.Series) -> list[str]:
        """Return the whole rows with the given ascending indexes as JSON."""
        texts: list[str] = []
        start = 0
        for part in self.parts:
            inside = part[chosen.filter(chosen.is_between(start, start + part.height, closed="left")) - start]
            if part.columns == [_LINE]:
                texts += inside[_LINE].to_list()
            else:
                texts += [json.dumps(row, ensure_ascii=False, default=str) for row in inside.iter_rows(named=True)]
            start += part.height
        return texts


# The only column of a JSON-lines part; no header can contain it.
_LINE = "\n"
_SLICE = 20_000
# Fields that hold ids, with the bits of the integers that each type of float tells apart.
_ID_FIELDS = ("user_id", "item_id")
_EXACT_BITS: dict[type[pl.DataType], int] = {pl.Float32: 24, pl.Float64: 53}


def read_table(what: str, path: Path, columns: Mapping[str, str]) -> RawTable:
    """Read the raw columns that the fields come from.

    Args:
        what: the table's name for messages, such as `items`.
        path: a file, a folder (all data files below it) or a glob; files are read in sorted order, and those whose
            name starts with `.` or `_` are left out.
        columns: field -> raw column; a dot reaches into nested JSON or Parquet structs unless a column of exactly
            that name exists.

    Raises:
        DataError: no file, unreadable or empty files, mixed formats, a malformed line, a missing column, or ids
            stored as floats too large to be exact.
    """
    files, kind = find_files(what, path)
    values, locations, parts = [], [], []
    for file in files:
        data = _read_bytes(file)
        if kind == "JSON lines":
            part, rows = _split_lines(_as_utf8(file, data))
            # In slices: an odd line slows down its own slice only, not the whole file.
            values += [
                _decode_lines(file, part[_LINE][start : start + _SLICE], rows[start : start + _SLICE], columns)
                for start in range(0, part.height, _SLICE)
            ]
        else:
            if kind == "Parquet":
                part = _read_parquet(file, data)
            else:
                part = _read_delimited(file, _as_utf8(file, data), "," if kind == "CSV" else "\t")
            rows = pl.int_range(1, part.height + 1, dtype=pl.UInt64, eager=True)
            values.append(
                pl.DataFrame({field: _pick(what, file, part, field, name) for field, name in columns.items()})
            )
        locations.append(pl.DataFrame({"file": pl.repeat(display_name(file), part.height, eager=True), "row": rows}))
        parts.append(part)
    try:
        table = RawTable(pl.concat(values), pl.concat(locations), tuple(parts))
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{what} {path}: the files differ in a column's type ({error}); write all files with the same types"
        ) from error
    if not table.values.height:
        raise DataError(f"{what} {path}: no rows of data, only a header; check the export")
    if kind == "JSON lines":
        _check_keys(what, path, table, columns)
    return table


def display_name(file: Path) -> str:
    """Return a file's name for messages: relative to the raw-data folder if it is inside."""
    root = data_path("")
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


# --- files -----------------------------------------------------------------------------------------------


def find_files(what: str, path: Path) -> tuple[list[Path], str]:
    """Return the data files that a path of the config means, sorted, and their common format.

    A path is a pattern only where no file or folder has exactly that name, and only below the raw-data folder: the
    characters of that folder's own name mean themselves. Linked files and folders are followed; a file that several
    links lead to is read once.

    Raises:
        DataError: no such path, no data file, an unreadable folder, or more than one format.
    """
    if path.is_file():
        files = [path]
        if _format(path) is None:
            raise DataError(f"{what} {path}: unknown format '{path.suffix}'; rename it to one of {_SUFFIXES}")
    elif path.is_dir():
        files = _drop_repeats(_walk(path))
    else:
        matches = _match(path)
        inside = [file for match in matches if match.is_dir() for file in _walk(match)]
        files = _drop_repeats([*inside, *(match for match in matches if _is_data(match))])
    formats: dict[str, Path] = {}
    for file in files:
        formats.setdefault(_format(file) or "", file)
    if not formats:
        reason = "no data file in this folder" if path.is_dir() else "no such file, and no file matches it"
        raise DataError(
            f"{what} {path}: {reason}; expected {_SUFFIXES}; "
            f"fix dataset.{what}.path, or set RECSYS_DATA to the folder it starts from"
        )
    if len(formats) > 1:
        examples = ", ".join(f"{name} ({file.name})" for name, file in formats.items())
        raise DataError(f"{what} {path}: mixed formats: {examples}; select one of them with a glob such as '*.csv'")
    return files, next(iter(formats))


def _match(pattern: Path) -> list[Path]:
    """Return what a glob pattern matches; in the part of the raw-data folder no character is special."""
    root = data_path("")
    if not pattern.is_relative_to(root):
        root = Path(pattern.anchor)
    names = glob.glob(str(pattern.relative_to(root)), root_dir=root, recursive=True)  # noqa: PTH207 - follows links
    return [root / name for name in names]


def _walk(folder: Path) -> list[Path]:
    """Return the data files below a folder, also behind links; a folder that contains itself is entered once."""

    def stop(error: OSError) -> None:
        raise DataError(f"{error.filename}: cannot be read ({error.strerror}); check its permissions") from error

    files: list[Path] = []
    entered: set[Path] = set()
    for parent, folders, names in os.walk(folder, onerror=stop, followlinks=True):
        here = Path(parent)
        entered.add(here.resolve())
        # Spark and others write `_SUCCESS`, `_temporary/` and `.part.crc` among the data.
        folders[:] = sorted(
            name for name in folders if not name.startswith((".", "_")) and (here / name).resolve() not in entered
        )
        files += [here / name for name in names if _is_data(here / name)]
    return files


def _is_data(file: Path) -> bool:
    return not file.name.startswith((".", "_")) and file.is_file() and _format(file) is not None


def _drop_repeats(files: Iterable[Path]) -> list[Path]:
    """Return the files sorted, each real file under the first of its names."""
    first = {file.resolve(): file for file in sorted(files, reverse=True)}
    return sorted(first.values())


def _format(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    return _FORMATS.get(Path(name).suffix)


def _read_bytes(file: Path) -> bytes:
    """Return the content, decompressed if its first bytes are those of gzip or zstd, whatever its suffix."""
    try:
        data = file.read_bytes()
        if data.startswith(b"\x1f\x8b"):
            data = gzip.decompress(data)
        elif data.startswith(zstandard.FRAME_HEADER):
            data = _unzstd(data)
    except (EOFError, zlib.error, gzip.BadGzipFile, zstandard.ZstdError) as error:
        raise DataError(f"{file}: the compressed data is cut short or damaged ({error}); copy it again") from error
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}); check the file and its permissions") from error
    if not data or data.isspace():
        raise DataError(f"{file}: the file is empty; write it again or remove it")
    return data


def _unzstd(data: bytes) -> bytes:
    content = []
    while data:
        frame = zstandard.ZstdDecompressor().decompressobj()
        content.append(frame.decompress(data))
        if not frame.eof:
            raise zstandard.ZstdError("the last frame has no end")
        data = frame.unused_data
    return b"".join(content)


def _as_utf8(file: Path, data: bytes) -> bytes:
    encoding = next((name for mark, name in _BYTE_ORDER_MARKS.items() if data.startswith(mark)), "utf-8")
    try:
        if encoding == "utf-8" and b"\0" in data[:2]:
            raise DataError(f"{file}: looks like UTF-16 without its mark; save it as UTF-8")
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        kind = encoding.removesuffix("-sig").upper()
        raise DataError(
            f"{file}: line {_line_at(data, error.start)} is not {kind} text "
            f"(byte 0x{data[error.start]:02x}); save the file as UTF-8, "
            "for example with 'iconv -f WINDOWS-1252 -t UTF-8'"
        ) from error
    return data if encoding == "utf-8" else text.encode()


def _line_at(data: bytes, offset: int) -> int:
    return data.count(b"\n", 0, offset) + 1


# --- CSV and TSV -----------------------------------------------------------------------------------------


def _read_delimited(file: Path, data: bytes, separator: str) -> pl.DataFrame:
    data = data.lstrip(b"\r\n")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    head, _, body = data.partition(b"\n")
    try:
        header = next(csv.reader([head.decode().rstrip("\r")], delimiter=separator))
    except csv.Error as error:
        raise DataError(
            f"{file}: line 1 is not a header ({error}); expected column names; write them on that line"
        ) from error
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{file}: the header has {', '.join(map(repr, repeated))} more than once; rename one")
    # pandas leaves the name of its index empty.
    names = [name or f"Unnamed: {index}" for index, name in enumerate(names)]
    if not body or body.isspace():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    quoted = b'"' in data and _has_quoting(file, head, body, separator)
    malformed: list[Any] = []

    def stop(row: Any) -> str:
        malformed.append(row)
        return "error"

    try:
        table = pacsv.read_csv(
            pa.BufferReader(body),
            read_options=pacsv.ReadOptions(column_names=names, use_threads=False, block_size=1 << 26),
            parse_options=pacsv.ParseOptions(
                delimiter=separator,
                quote_char='"' if quoted else False,
                newlines_in_values=quoted,
                invalid_row_handler=stop,
            ),
            convert_options=pacsv.ConvertOptions(
                column_types=dict.fromkeys(names, pa.string()), strings_can_be_null=False, check_utf8=False
            ),
        )
    except pa.ArrowInvalid as error:
        if not malformed:
            raise DataError(f"{file}: cannot be read as separated text ({error}); write it again") from error
        row = malformed[0]
        match = re.search(rb"(?m)^" + re.escape(row.text.encode()) + rb"\r?$", body)
        line = f"line {_line_at(body, match.start()) + 1}" if match else "a row"
        raise DataError(
            f"{file}: {line} has {row.actual_columns} fields, expected {row.expected_columns} as in the "
            f"header: {row.text[:80]!r}; quote fields that hold the separator, or fix the line"
        ) from error
    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _has_quoting(file: Path, head: bytes, body: bytes, separator: str) -> bool:
    """Return whether double quotes enclose fields, rather than being letters of the text.

    They enclose fields if every line closes the quotes it opens, or the header has quotes. If some line does not, but
    every line has as many separators as the header, they are letters: many exports of tab-separated text never quote,
    and a title may start with a quote that another title ends. Otherwise fields span several lines, and the whole file
    has to be well formed; a stray quote would silently swallow rows. In CSV, where quoting is usual, a well-formed file
    weighs more than the count of separators.
    """
    tab = re.escape(separator)
    lines = pl.Series(body.decode().split("\n"))
    lines = lines.str.strip_suffix("\r").filter(lines.str.strip_chars() != "")
    field = rf'(?:"(?:[^"]|"")*"|[^"{tab}][^{tab}]*|)'
    if lines.str.contains(f"^{field}(?:{tab}{field})*$").all():
        return True
    separators = head.count(separator.encode())
    fits = separators > 0 and (lines.str.count_matches(separator, literal=True) == separators).all()
    if fits and separator == "\t" and b'"' not in head:
        return False
    field = rf'"[^"]*+(?:""[^"]*+)*+"|[^"\n{tab}][^\n{tab}]*+|'
    well_formed = re.match(rf"(?:(?:{field})(?:{tab}|\r?\n|\Z))*+".encode(), body)
    end = well_formed.end() if well_formed else 0
    if end < len(body) and not fits:
        raise DataError(
            f"{file}: line {_line_at(body, end) + 1} opens or closes a quote in the wrong place; "
            'write a quote inside a field as ""'
        )
    return end == len(body)


# --- Parquet ---------------------------------------------------------------------------------------------


def _read_parquet(file: Path, data: bytes) -> pl.DataFrame:
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: is not whole Parquet ({reason}); copy or write it again") from error
    return frame.with_columns(pl.selectors.float().fill_nan(None))


def _pick(what: str, file: Path, part: pl.DataFrame, field: str, name: str) -> pl.Series:
    """Return a column as String, List(String) or Datetime; a dot reaches into structs."""
    parents, _, last = name.rpartition(".") if name not in part.columns else ("", "", name)
    for key in parents.split(".") if parents else []:
        if not isinstance(part.schema.get(key), pl.Struct):
            raise _missing(what, file, name, part.columns)
        part = part[key].struct.unnest()
    if last not in part.columns:
        raise _missing(what, file, name, part.columns)
    column = part[last]
    dtype = column.dtype
    if field in _ID_FIELDS:
        _check_exact(file, name, column)
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    try:
        if isinstance(inner, pl.Struct | pl.List | pl.Array):
            raise pl.exceptions.SchemaError("it is nested")
        if isinstance(dtype, pl.List | pl.Array):
            return column.cast(pl.List(pl.String))
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            column = column.cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
            return column.dt.convert_time_zone("UTC") if getattr(dtype, "time_zone", None) else column
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        raise DataError(
            f"{file}: column '{name}' is {dtype} and does not read as text ({error}); expected text, "
            f"numbers, times or a list of text; name a field inside it as '{name}.FIELD'"
        ) from error


def _check_exact(file: Path, name: str, column: pl.Series) -> None:
    """Raise if ids are floats so large that neighbouring integers are equal."""
    bits = _EXACT_BITS.get(type(column.dtype))
    largest = column.abs().max() if bits else None
    if bits and isinstance(largest, float) and largest >= 2**bits:
        raise DataError(
            f"{file}: column '{name}' holds ids as {column.dtype} up to {largest:.0f}; from 2^{bits} on such numbers "
            "are rounded, so different ids become equal; write the column as integers or text"
        )


def _missing(what: str, where: Path, name: str, found: list[str]) -> DataError:
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    step = f"did you mean '{near[0]}'? " if near else ""
    if len(found) == 1:
        step += "one column only: is the separator a comma (.csv) or a tab (.tsv)? "
    return DataError(
        f"{where}: no column '{name}'; found {', '.join(map(repr, found))}; {step}fix dataset.{what} in the config"
    )


# --- JSON lines ------------------------------------------------------------------------------------------


def _split_lines(data: bytes) -> tuple[pl.DataFrame, pl.Series]:
    """Return the lines that are not blank, and their numbers from 1."""
    lines = pl.DataFrame({_LINE: data.decode().split("\n")}).with_row_index("row", offset=1)
    lines = lines.with_columns(pl.col(_LINE).str.strip_chars()).filter(pl.col(_LINE) != "")
    return lines.select(_LINE), lines["row"].cast(pl.UInt64)


def _decode_lines(file: Path, lines: pl.Series, numbers: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the fields as text; lists and objects as their JSON text."""
    # polars joins the lines with commas before it parses them, so each has to look like a single object.
    whole = (lines.str.starts_with("{") & lines.str.ends_with("}")).all()
    try:
        decoded = lines.str.json_decode(_struct_of(columns.values())).to_frame("row") if whole else pl.DataFrame()
    except pl.exceptions.PolarsError:
        decoded = pl.DataFrame()
    if decoded.height != lines.len():
        # A list, a mixture of types or a broken line: line by line the first two are read and the last is named.
        return _decode_each(file, lines, numbers, columns)
    row = pl.col("row").struct
    picked = {}
    for field, name in columns.items():
        nested = row.field(name.split(".")[0])
        for key in name.split(".")[1:]:
            nested = nested.struct.field(key)
        picked[field] = pl.coalesce(row.field(name), nested)
    return decoded.select(**picked)


def _struct_of(names: Iterable[str]) -> pl.Struct:
    """Return the type that holds each name both as a plain key and as a path of keys."""
    tree: dict[str, Any] = {}
    for name in names:
        *parents, last = name.split(".")
        node = tree
        for key in parents:
            node = node.setdefault(key, {})
            if not isinstance(node, dict):
                raise pl.exceptions.SchemaError("a name is inside another")
        if isinstance(node.setdefault(last, pl.String), dict):
            raise pl.exceptions.SchemaError("a name is inside another")
        tree[name] = pl.String

    def build(node: dict[str, Any]) -> pl.Struct:
        return pl.Struct({key: build(below) if isinstance(below, dict) else below for key, below in node.items()})

    return build(tree)


def _decode_each(file: Path, lines: pl.Series, numbers: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    values: dict[str, list[str | None]] = {field: [] for field in columns}
    for number, line in zip(numbers, lines, strict=True):
        record = _load(file, number, line)
        for field, name in columns.items():
            value = _look_up(record, name)
            values[field].append(_as_text(None if value is _ABSENT else value))
    return pl.DataFrame(values, schema=dict.fromkeys(columns, pl.String))


def _load(file: Path, number: int, line: str) -> dict[str, Any]:
    if not line.startswith("{"):
        raise DataError(f"{file}:{number}: holds {line[:40]!r}, expected one JSON object a line; write JSON lines")
    try:
        record: dict[str, Any] = json.loads(line, parse_constant=lambda _: None)
    except (ValueError, RecursionError) as error:
        raise DataError(f"{file}:{number}: is not JSON ({error}): {line[:80]!r}; fix or delete the line") from error
    return record


_ABSENT = object()


def _look_up(record: dict[str, Any], name: str) -> Any:
    if record.get(name) is not None:
        return record[name]
    value: Any = record
    for key in name.split("."):
        if not isinstance(value, dict) or key not in value:
            return record.get(name, _ABSENT)
        value = value[key]
    return value


def _as_text(value: Any) -> str | None:
    if isinstance(value, str):
        # Half of a surrogate pair is legal JSON but cannot be encoded.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _check_keys(what: str, path: Path, table: RawTable, columns: Mapping[str, str]) -> None:
    """Raise if no row has a column: a misspelt name would otherwise be null in every row."""
    absent = {name for field, name in columns.items() if table.values[field].null_count() == table.values.height}
    keys: dict[str, None] = {}
    for line in (line for part in table.parts if absent for line in part[_LINE]):
        record = json.loads(line, parse_constant=lambda _: None)
        absent = {name for name in absent if _look_up(record, name) is _ABSENT}
        for key, value in record.items():
            keys |= dict.fromkeys([f"{key}.{below}" for below in value] if isinstance(value, dict) else [key])
    if absent:
        raise _missing(what, path, min(absent), list(keys)[:30])
