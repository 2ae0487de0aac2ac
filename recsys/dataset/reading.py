"""Raw files of any usual format -> text columns, with the file and row of each value kept beside them.

CSV, TSV, JSON lines or Parquet; plain, gzip or zstd; one file, a folder or a glob. Nothing is judged here
except whether the files can be read at all: every failure is one `DataError` that names the file, the line or
the column.
"""

from __future__ import annotations

import codecs
import csv
import difflib
import glob
import gzip
import io
import json
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

    `values` has one column per field asked for: String, List(String) or Datetime (microseconds; UTC, or no
    zone where the file has none). `places` has `file` and `row` (1 the first row of data; in JSON lines the
    line). `parts` are the whole rows, one frame per file.
    """

    values: pl.DataFrame
    places: pl.DataFrame
    parts: tuple[pl.DataFrame, ...]

    def content(self, chosen: pl.Series) -> list[str]:
        """Return the whole rows at the chosen positions (ascending) as JSON."""
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


# The only column of a JSON-lines part; no header can hold it.
_LINE = "\n"
_SLICE = 20_000


def read_table(what: str, path: Path, columns: Mapping[str, str]) -> RawTable:
    """Read the raw columns that the fields come from.

    Args:
        what: the table's name for messages, such as `items`.
        path: a file, a folder (all data files below it) or a glob; files are read in sorted order, those
            whose name starts with `.` or `_` are left out.
        columns: field -> raw column; a dot reaches into nested JSON or Parquet structs unless a column of
            exactly that name exists.

    Raises:
        DataError: no file, unreadable or empty files, mixed formats, a malformed line, or a missing column.
    """
    files, kind = find_files(what, path)
    values, places, parts = [], [], []
    for file in files:
        data = _read_bytes(file)
        if kind == "JSON lines":
            part, rows = _split_lines(_as_utf8(file, data))
            # In slices: one odd line makes its own slice slow, not the file.
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
            values.append(pl.DataFrame({field: _pick(what, file, part, name) for field, name in columns.items()}))
        places.append(pl.DataFrame({"file": pl.repeat(display_name(file), part.height, eager=True), "row": rows}))
        parts.append(part)
    try:
        table = RawTable(pl.concat(values), pl.concat(places), tuple(parts))
    except pl.exceptions.PolarsError as error:
        raise DataError(f"{what} {path}: the files differ in a column's type ({error}); write them alike") from error
    if not table.values.height:
        raise DataError(f"{what} {path}: no rows of data, only a header; check the export")
    if kind == "JSON lines":
        _check_keys(what, path, table, columns)
    return table


def display_name(file: Path) -> str:
    """Return a file's name for people: relative to the raw-data folder when it lies there."""
    root = data_path("")
    return file.relative_to(root).as_posix() if file.is_relative_to(root) else str(file)


# --- files -----------------------------------------------------------------------------------------------


def find_files(what: str, path: Path) -> tuple[list[Path], str]:
    """Return the data files a path stands for, sorted, and the one format they have.

    Raises:
        DataError: nothing there, no data file, or more than one format.
    """
    if path.is_file():
        found = [path]
        if _format(path) is None:
            raise DataError(f"{what} {path}: unknown format '{path.suffix}'; rename it to one of {_SUFFIXES}")
    else:
        found = _search(path)
    kinds: dict[str, Path] = {}
    for file in found:
        kinds.setdefault(_format(file) or "", file)
    if not kinds:
        reason = "no data file in this folder" if path.is_dir() else "no such file, and no file matches it"
        raise DataError(
            f"{what} {path}: {reason}; expected {_SUFFIXES}; "
            f"mend dataset.{what}.path, or set RECSYS_DATA to the folder it starts from"
        )
    if len(kinds) > 1:
        examples = ", ".join(f"{kind} ({file.name})" for kind, file in kinds.items())
        raise DataError(f"{what} {path}: mixed formats: {examples}; name one of them with a glob such as '*.csv'")
    return found, next(iter(kinds))


def _search(path: Path) -> list[Path]:
    # An absolute pattern, which Path.glob refuses.
    matches = [path] if path.is_dir() else [Path(name) for name in glob.glob(str(path), recursive=True)]  # noqa: PTH207
    found: set[Path] = set()
    for match in matches:
        below = match.rglob("*") if match.is_dir() else [match]
        root = match if match.is_dir() else match.parent
        found.update(
            file
            for file in below
            # Spark and others leave `_SUCCESS`, `_temporary/` and `.part.crc` beside the data.
            if not any(name.startswith((".", "_")) for name in file.relative_to(root).parts)
            and file.is_file()
            and _format(file)
        )
    return sorted(found)


def _format(file: Path) -> str | None:
    name = file.name.lower().removesuffix(".gz").removesuffix(".zst")
    return _FORMATS.get(Path(name).suffix)


def _read_bytes(file: Path) -> bytes:
    """Return the content, decompressed where its first bytes say so (suffixes can lie)."""
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
        raise DataError(f"{file}: the file is empty; write it again or take it away")
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


def _line_at(data: bytes, place: int) -> int:
    return data.count(b"\n", 0, place) + 1


# --- CSV and TSV -----------------------------------------------------------------------------------------


def _read_delimited(file: Path, data: bytes, separator: str) -> pl.DataFrame:
    data = data.lstrip(b"\r\n")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    head, _, body = data.partition(b"\n")
    try:
        header = next(csv.reader([head.decode().rstrip("\r")], delimiter=separator))
    except csv.Error as error:
        raise DataError(f"{file}: line 1 is not a header ({error}); expected column names; write them there") from error
    names = [name.strip() for name in header]
    repeated = sorted({name for name in names if name and names.count(name) > 1})
    if repeated:
        raise DataError(f"{file}: the header has {', '.join(map(repr, repeated))} more than once; rename one")
    # pandas leaves the name of its index empty.
    names = [name or f"Unnamed: {place}" for place, name in enumerate(names)]
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
        place = re.search(rb"(?m)^" + re.escape(row.text.encode()) + rb"\r?$", body)
        line = f"line {_line_at(body, place.start()) + 1}" if place else "a row"
        raise DataError(
            f"{file}: {line} has {row.actual_columns} fields, expected {row.expected_columns} as in the "
            f"header: {row.text[:80]!r}; quote fields that hold the separator, or mend the line"
        ) from error
    frame = pl.from_arrow(table)
    return frame if isinstance(frame, pl.DataFrame) else frame.to_frame()


def _has_quoting(file: Path, head: bytes, body: bytes, separator: str) -> bool:
    """Tell whether double quotes enclose fields here, or are letters of the text.

    They enclose fields where every line closes the quotes it opens, or the header has some. Where some line
    does not, but every line has the separators of the header, they are letters: many exports of tab-separated
    text never quote, and a title may start with a quote that another title ends. Otherwise fields run over
    several lines, and the whole file has to be well formed; a stray quote would silently swallow rows. In CSV,
    where quoting is the custom, being well formed weighs more than the count of separators.
    """
    tab = re.escape(separator)
    lines = pl.Series(body.decode().split("\n"))
    lines = lines.str.strip_suffix("\r").filter(lines.str.strip_chars() != "")
    field = rf'(?:"(?:[^"]|"")*"|[^"{tab}][^{tab}]*|)'
    if lines.str.contains(f"^{field}(?:{tab}{field})*$").all():
        return True
    joints = head.count(separator.encode())
    fits = joints > 0 and (lines.str.count_matches(separator, literal=True) == joints).all()
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


def _pick(what: str, file: Path, part: pl.DataFrame, name: str) -> pl.Series:
    """Return one column as String, List(String) or Datetime; a dot reaches into structs."""
    parents, _, last = name.rpartition(".") if name not in part.columns else ("", "", name)
    for key in parents.split(".") if parents else []:
        if not isinstance(part.schema.get(key), pl.Struct):
            raise _missing(what, file, name, part.columns)
        part = part[key].struct.unnest()
    if last not in part.columns:
        raise _missing(what, file, name, part.columns)
    column = part[last]
    dtype = column.dtype
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


def _missing(what: str, where: Path, name: str, found: list[str]) -> DataError:
    near = difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    step = f"did you mean '{near[0]}'? " if near else ""
    if len(found) == 1:
        step += "one column only: is the separator a comma (.csv) or a tab (.tsv)? "
    return DataError(
        f"{where}: no column '{name}'; found {', '.join(map(repr, found))}; {step}mend dataset.{what} in the config"
    )


# --- JSON lines ------------------------------------------------------------------------------------------


def _split_lines(data: bytes) -> tuple[pl.DataFrame, pl.Series]:
    """Return the lines that hold something, and their numbers from 1."""
    lines = pl.DataFrame({_LINE: data.decode().split("\n")}).with_row_index("row", offset=1)
    lines = lines.with_columns(pl.col(_LINE).str.strip_chars()).filter(pl.col(_LINE) != "")
    return lines.select(_LINE), lines["row"].cast(pl.UInt64)


def _decode_lines(file: Path, lines: pl.Series, numbers: pl.Series, columns: Mapping[str, str]) -> pl.DataFrame:
    """Return the fields as text; lists and objects as their JSON text."""
    # polars joins the lines with commas before it parses them, so each has to look like one object.
    whole = (lines.str.starts_with("{") & lines.str.ends_with("}")).all()
    try:
        decoded = lines.str.json_decode(_struct_of(columns.values())).to_frame("row") if whole else pl.DataFrame()
    except pl.exceptions.PolarsError:
        decoded = pl.DataFrame()
    if decoded.height != lines.len():
        # A list, a mixture of types or a broken line: the patient way reads the first two and names the last.
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
                raise pl.exceptions.SchemaError("one name lies inside another")
        if isinstance(node.setdefault(last, pl.String), dict):
            raise pl.exceptions.SchemaError("one name lies inside another")
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
        raise DataError(f"{file}:{number}: is not JSON ({error}): {line[:80]!r}; mend or delete the line") from error
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
        # A lone half of a surrogate pair is legal JSON and no text.
        return value.encode("utf-8", "replace").decode()
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return None if value is None else json.dumps(value, ensure_ascii=False)


def _check_keys(what: str, path: Path, table: RawTable, columns: Mapping[str, str]) -> None:
    """Raise when a column is in no row at all: a misspelt name would otherwise read as null everywhere."""
    absent = {name for field, name in columns.items() if table.values[field].null_count() == table.values.height}
    found: dict[str, None] = {}
    for line in (line for part in table.parts if absent for line in part[_LINE]):
        record = json.loads(line, parse_constant=lambda _: None)
        absent = {name for name in absent if _look_up(record, name) is _ABSENT}
        for key, value in record.items():
            found |= dict.fromkeys([f"{key}.{below}" for below in value] if isinstance(value, dict) else [key])
    if absent:
        raise _missing(what, path, min(absent), list(found)[:30])
