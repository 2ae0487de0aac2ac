"""Raw content -> rows: a parser per format (CSV and TSV, Parquet, JSON lines)."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.csv as pacsv

from recsys.dataset.raw_files import line_at
from recsys.errors import DataError

# The only column of a JSON-lines part; no header can contain it.
LINE = "\n"


def read_delimited(file: Path, data: bytes, separator: str) -> pl.DataFrame:
    """Return the rows below the header as text, a String column per name; an empty field is "".

    Args:
        file: for messages.
        data: UTF-8 without a byte-order mark; lines end with LF, CR LF or CR.
        separator: a comma or a tab.

    Raises:
        DataError: a malformed header, a misplaced quote, or a line with too few or too many fields.
    """
    data = data.lstrip(b"\r\n")
    if b"\n" not in data:
        data = data.replace(b"\r", b"\n")
    head, _, body = data.partition(b"\n")
    names = _read_header(file, head, separator)
    if not body or body.isspace():
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String))
    quoted = b'"' in data and _has_quoting(file, head, body, separator)
    return _read_body(file, body, names, separator, quoted=quoted)


def _read_header(file: Path, head: bytes, separator: str) -> list[str]:
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
    return [name or f"Unnamed: {index}" for index, name in enumerate(names)]


def _read_body(file: Path, body: bytes, names: list[str], separator: str, *, quoted: bool) -> pl.DataFrame:
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
        line = f"line {line_at(body, match.start()) + 1}" if match else "a row"
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
            f"{file}: line {line_at(body, end) + 1} opens or closes a quote in the wrong place; "
            'write a quote inside a field as ""'
        )
    return end == len(body)


def read_parquet(file: Path, data: bytes) -> pl.DataFrame:
    """Return the rows with the types of the file; NaN becomes null.

    Raises:
        DataError: the data is not whole Parquet.
    """
    try:
        frame = pl.read_parquet(io.BytesIO(data))
    except (pl.exceptions.PolarsError, pl.exceptions.PanicException, OSError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise DataError(f"{file}: is not whole Parquet ({reason}); copy or write it again") from error
    return frame.with_columns(pl.selectors.float().fill_nan(None))


def split_lines(data: bytes) -> tuple[pl.DataFrame, pl.Series]:
    """Return the lines of JSON-lines text that are not blank, in the column `LINE`, and their numbers from 1."""
    lines = pl.DataFrame({LINE: data.decode().split("\n")}).with_row_index("row", offset=1)
    lines = lines.with_columns(pl.col(LINE).str.strip_chars()).filter(pl.col(LINE) != "")
    return lines.select(LINE), lines["row"].cast(pl.UInt64)
