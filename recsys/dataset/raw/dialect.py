"""How a text file is written: its encoding, separator, header and quotes, as set in the config or as its head shows."""

from __future__ import annotations

import csv
import io
import logging
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Literal

from recsys.config.raw_files import RawFiles
from recsys.dataset.raw.encoding import Utf8Reader, detect_encoding
from recsys.dataset.raw.header import count_title_rows, has_header, is_number
from recsys.dataset.raw.quoting import Quoting, choose_quoting
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError
from recsys.progress import format_count

logger = logging.getLogger(__name__)

_SEPARATORS = (",", "\t", ";", "|", "::", "\x01")
_USUAL = {".tsv": "\t", ".tab": "\t", ".psv": "|"}
_COMPRESSED = {".gz", ".zst", ".bz2"}
# Excel writes the separator in a line before the header.
_SEPARATOR_LINE = re.compile(r'"?sep=(.)"?\r?\n', re.IGNORECASE)
_SAMPLE_LINES = 300
# Lines above the header that a title may have.
_TITLE_LINES = 20
_SAMPLE_BYTES = 1 << 18
# Bytes that text hardly ever has: one takes the place of a separator of several bytes.
STAND_INS = b"\x1f\x1e\x1d\x1c\x02\x03\x04\x05"


@dataclass(frozen=True)
class Dialect:
    """How a text file is written.

    Attributes:
        encoding: of the text; `utf-8-sig`, `utf-16` and `utf-32` have a byte-order mark.
        separator: of fields, one or several characters.
        header: whether the first record names the columns.
        quote: character that encloses fields; empty: none does.
        escape: how a quote inside a quoted field is written, `doubled` or `backslash`.
        names: of the columns, in order; without a header `1`, `2`, ..., or as set.
        skipped_lines: lines before the header that hold no data.
        carriage_returns: whether lines end with CR alone.
    """

    encoding: str
    separator: str
    header: bool
    quote: str
    escape: Literal["doubled", "backslash"]
    names: tuple[str, ...]
    skipped_lines: int = 0
    carriage_returns: bool = False


def detect_dialect(what: str, source_name: str, head: bytes, files: RawFiles) -> Dialect:
    """Return how a text file is written; settings of the config come first, the rest is detected and logged.

    Args:
        what: the table's name for messages, such as `items`.
        source_name: for messages; its suffix decides between separators that fit equally.
        head: the first bytes, at most some megabytes; the last line may be cut.
        files: settings.

    Raises:
        DataError: the encoding cannot be told, or the header is malformed.
    """
    dialect = _detect(what, source_name, head, files)
    if files.header is None and not files.names and files.query is None:
        dialect = _find_below_title(what, source_name, head, files, dialect) or dialect
    _log(source_name, dialect, files)
    return dialect


def choose_dialect(what: str, source_name: str, head: bytes, files: RawFiles, columns: Sequence[str] | None) -> Dialect:
    """Return the dialect for reading some columns: a first line like the lines below is the header if it names them.

    Raises:
        DataError: as `detect_dialect`, or some columns are named by values of the first row.
    """
    dialect = _detect(what, source_name, head, files)
    if dialect.header and columns and not set(columns) & set(dialect.names):
        dialect = _find_header_below(what, source_name, head, files, columns) or dialect
    if not dialect.header and files.header is None and not files.names and columns:
        dialect = _find_in_header(what, source_name, head, files, columns, dialect)
    _log(source_name, dialect, files)
    return dialect


def _find_header_below(
    what: str, source_name: str, head: bytes, files: RawFiles, columns: Sequence[str]
) -> Dialect | None:
    """Return the dialect of text below lines such as a title, if one of the next lines names all columns."""
    for skipped in range(1, _TITLE_LINES + 1):
        found = _detect(what, source_name, head, files.model_copy(update={"header": True}), skipped)
        if set(columns) <= set(found.names):
            logger.info("%s: line %d is the header; the lines above are skipped", source_name, found.skipped_lines + 1)
            return found
    return None


def _find_below_title(what: str, source_name: str, head: bytes, files: RawFiles, dialect: Dialect) -> Dialect | None:
    """Return the dialect of text below lines such as a title, if the first line names few columns."""
    text, _ = _read_head(what, source_name, head, dialect.encoding, fixed=files.encoding is not None)
    # The lines of the title may hold other separators than the table.
    below = _detect(what, source_name, head, files, min(_TITLE_LINES, text.count("\n") // 2))
    if sum(not name.startswith("Unnamed: ") for name in dialect.names) > max(1, len(below.names) // 2):
        return None
    rows = _split_rows(text, below.separator, Quoting(below.quote.encode(), below.escape))
    title = count_title_rows(rows)
    names = [cell.strip() for cell in rows[title] if cell.strip()] if title else []
    return _find_header_below(what, source_name, head, files, names) if names else None


def _find_in_header(
    what: str, source_name: str, head: bytes, files: RawFiles, columns: Sequence[str], dialect: Dialect
) -> Dialect:
    named = _detect(what, source_name, head, files.model_copy(update={"header": True}))
    values = [name for name in columns if name in named.names and name not in dialect.names]
    if not values:
        return dialect
    numbers = all(map(is_number, named.names))
    if len(values) == len(set(columns)) and not numbers:
        return named
    kind = "every cell is a number" if numbers else "it looks like the rows below"
    raise DataError(
        f"{source_name}: the first line is data, not a header ({kind}): {', '.join(map(repr, named.names))}, but "
        f"column '{values[0]}' of the config is one of its values; set {name_setting(what, 'header')}: false and name "
        "the "
        f"columns by position, 1 to {len(dialect.names)}, or set header: true if the line is a header"
    )


def _detect(what: str, source_name: str, head: bytes, files: RawFiles, title_lines: int = 0) -> Dialect:
    """Return the dialect of text below some lines that are left out."""
    encoding = files.encoding or detect_encoding(what, source_name, head)
    text, returns = _read_head(what, source_name, head, encoding, fixed=files.encoding is not None)
    body = text.split("\n", title_lines)[-1].lstrip("\n\r")
    skipped = text[: len(text) - len(body)].count("\n")
    separator_line = _SEPARATOR_LINE.match(body)
    if separator_line:
        body, skipped = body[separator_line.end() :], skipped + 1
    quote = files.quote if files.quote is not None else '"'
    if files.query is not None:
        separator, quoting = ",", Quoting(b'"')
    else:
        separator = files.separator or (
            separator_line[1] if separator_line else _find_separator(source_name, body, quote)
        )
        whole = len(head) <= _SAMPLE_BYTES
        quoting = _sample_quoting(body, separator, quote, files.escape, final=whole)
    rows = _split_rows(body, separator, quoting)
    if files.query is not None:
        header = True
    elif files.header is not None:
        header = files.header
    else:
        header = not files.names and has_header(rows)
    return Dialect(
        encoding=encoding,
        separator=separator,
        header=header,
        quote=quoting.quote.decode(),
        escape=quoting.escape,
        names=_names(what, source_name, rows, files, header=header),
        skipped_lines=skipped,
        carriage_returns=returns,
    )


def _read_head(what: str, name: str, head: bytes, encoding: str, *, fixed: bool) -> tuple[str, bool]:
    """Return the whole lines of the head with LF or CR LF line ends, and whether they ended with CR alone."""
    sample = head[:_SAMPLE_BYTES]
    # A cut character is not an error here.
    reader = Utf8Reader(what, name, io.BytesIO(b""), sample, encoding, fixed=fixed)
    text = reader.read(len(sample)).decode()
    returns = "\n" not in text and "\r" in text
    if returns:
        text = text.replace("\r", "\n")
    whole = text if len(head) <= len(sample) else text[: text.rfind("\n") + 1]
    return whole or text, returns


def _find_separator(name: str, text: str, quote: str) -> str:
    """Return the separator that gives most lines the same number of fields, above one; the usual one if none does."""
    usual = _usual_separator(name)
    best, separator = (0.0, 0), ""
    for candidate in sorted(_SEPARATORS, key=lambda candidate: candidate != usual):
        if candidate not in text:
            continue
        lines = _lines_without_quoted(text, candidate, quote)
        counts = [line.count(candidate) for line in lines[:_SAMPLE_LINES]]
        common, times = Counter(counts).most_common(1)[0]
        first = Counter(counts[:1]).most_common(1)[0][0]
        if candidate == "," and common and _all_decimal(lines[:_SAMPLE_LINES]):
            continue
        if common == 0 or first == 0 or times < 0.8 * len(counts):
            continue
        # A trailing separator may be in all lines but the header.
        agrees = first in (common, common - 1)
        score = (round(times / len(counts), 2) if agrees else 0.5, common)
        if score > best:
            best, separator = score, candidate
    if separator:
        return separator
    header = text.partition("\n")[0]
    if usual in header:
        return usual
    counted = Counter({candidate: header.count(candidate) for candidate in _SEPARATORS if candidate in header})
    if not counted:
        # A single column, whose cells may hold any of them.
        return next((candidate for candidate in (usual, *_SEPARATORS) if candidate not in text), usual)
    return counted.most_common(1)[0][0]


def _all_decimal(lines: list[str]) -> bool:
    """Return whether every comma of the lines is inside a number, and they have another separator."""
    text = "\n".join(lines)
    if not any(other in text for other in (";", "\t", "|")):
        return False
    return not re.search(r"(?<![0-9]),|,(?![0-9])", text)


def _usual_separator(name: str) -> str:
    path = PurePosixPath(name.lower())
    if path.suffix in _COMPRESSED:
        path = path.with_suffix("")
    return _USUAL.get(path.suffix, ",")


def _lines_without_quoted(text: str, separator: str, quote: str) -> list[str]:
    """Return the lines that are not blank, without their quoted fields."""
    if quote and quote in text:
        mark, tab = re.escape(quote), re.escape(separator)
        body = rf"(?:[^{mark}\\]++|\\.|{mark}{mark})*+"
        quoted = re.compile(rf"(?s)(?:(?<={tab})|(?<=\n)|\A){mark}{body}{mark}(?={tab}|\r?\n|\Z)")
        text = quoted.sub("", text)
    return [line for line in text.split("\n") if line.strip("\r")] or [""]


def _sample_quoting(text: str, separator: str, quote: str, escape: str | None, *, final: bool) -> Quoting:
    """Return how the fields of a sample are quoted; where it is malformed, the usual way."""
    escape_or_usual: Literal["doubled", "backslash"] = "backslash" if escape == "backslash" else "doubled"
    block, tab = _single_byte(text.encode(), separator)
    if not quote:
        return Quoting(b"", escape_or_usual)
    if quote not in text:
        return Quoting(quote.encode(), escape_or_usual)
    header_quoted = quote in text.partition("\n")[0]
    chosen = choose_quoting(block, tab, quote.encode(), header_quoted, final, escape)
    return chosen or Quoting(quote.encode(), escape_or_usual)


def _single_byte(block: bytes, separator: str) -> tuple[bytes, bytes]:
    """Return text with a separator of a single byte, and that byte."""
    found = separator.encode()
    if len(found) == 1:
        return block, found
    stand_in = next((byte for byte in (STAND_INS[i : i + 1] for i in range(len(STAND_INS))) if byte not in block), None)
    if stand_in is None:
        raise DataError(f"the separator '{separator}' is not possible in text with so many control characters")
    return block.replace(found, stand_in), stand_in


def _split_rows(text: str, separator: str, quoting: Quoting, limit: int = _SAMPLE_LINES) -> list[list[str]]:
    """Return the fields of the first records that are not blank."""
    if len(separator.encode()) > 1:
        block, tab = _single_byte(text.encode(), separator)
        rows = _split_rows(block.decode(), tab.decode(), quoting, limit)
        return [[field.replace(tab.decode(), separator) for field in row] for row in rows]
    quote = quoting.quote.decode()
    if not quote:
        lines = (line.removesuffix("\r") for line in text.split("\n"))
        return [line.split(separator) for line in lines if line][:limit]
    rows = []
    try:
        reader = csv.reader(
            io.StringIO(text, newline=""),
            delimiter=separator,
            quotechar=quote,
            doublequote=True,
            escapechar="\\" if quoting.escape == "backslash" else None,
        )
        for row in reader:
            if row:
                rows.append(row)
            if len(rows) == limit:
                break
    except csv.Error:  # a cell of more than 128 kB
        pass
    return rows


def _names(what: str, source: str, rows: list[list[str]], files: RawFiles, *, header: bool) -> tuple[str, ...]:
    """Return the names of the columns; an extra last field that is empty in all lines has an empty name."""
    first, below = (rows[0], rows[1:]) if rows else ([], [])
    if not header:
        width = len(first)
        names = list(files.names or ())
        if names and len(names) > width:
            raise DataError(
                f"{source}: {format_count(width, 'column')}, expected {len(names)} as in "
                f"{name_setting(what, 'names')}; "
                f"fix the names, or {name_setting(what, 'separator')} (now {files.separator or 'detected'!r})"
            )
        return (*names, *(str(index) for index in range(len(names) + 1, width + 1)))
    names = [name.strip().replace("\ufeff", "") for name in first]
    if below and all(len(row) == len(names) + 1 and row[-1].strip() == "" for row in below):
        names.append("")
    # pandas leaves the name of its index empty.
    return tuple(name or f"Unnamed: {index}" for index, name in enumerate(names))


def _log(name: str, dialect: Dialect, files: RawFiles) -> None:
    found = []
    if files.encoding is None and dialect.encoding not in ("utf-8", "utf-8-sig"):
        found.append(f"encoding {dialect.encoding}")
    if files.separator is None and dialect.separator != _usual_separator(name):
        found.append(f"separator {dialect.separator!r}")
    if files.header is None and not files.names and not dialect.header:
        found.append("no header (the first line looks like data), columns " + ", ".join(dialect.names))
    if files.quote is None and not dialect.quote:
        found.append("quotes as ordinary characters")
    if files.escape is None and dialect.escape == "backslash":
        found.append("quotes escaped with a backslash")
    if found:
        logger.info("%s: read with %s", name, "; ".join(found))
