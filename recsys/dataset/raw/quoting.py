"""Quotation marks of separated text: whether they enclose fields, how they are escaped, and where records end."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import polars as pl

_NEWLINE, _RETURN, _BACKSLASH = 10, 13, 92
# At the end of a block that is not the last, a quote may still be closed in the next one.
_LONGEST_OPEN = 1 << 20


@dataclass(frozen=True)
class Quoting:
    """How fields are quoted.

    Attributes:
        quote: the character that encloses fields; empty: none does, quotes are letters.
        escape: how a quote inside a quoted field is written.
    """

    quote: bytes
    escape: Literal["doubled", "backslash"] = "doubled"


@dataclass(frozen=True)
class Layout:
    """Where the records of a block are.

    Attributes:
        end: bytes up to the end of the last whole record.
        starts: byte at which each line starts that is the first of a record; None: each line is a record.
    """

    end: int
    starts: npt.NDArray[np.int64] | None = None


def choose_quoting(
    block: bytes, separator: bytes, quote: bytes, header_quoted: bool, final: bool, escape: str | None
) -> Quoting | None:
    """Return how the fields of a block are quoted; None: it is malformed in every way.

    Quotes enclose fields if every line closes the quotes it opens. If some line does not, but every line has as many
    separators as the first, they are letters: many exports of tab-separated text never quote, and a title may start
    with a quote that another title ends. Otherwise fields span several lines, and the whole block has to be well
    formed; a stray quote would silently swallow rows. In text separated by commas or semicolons, where quoting is
    usual, a well-formed block weighs more than the count of separators.

    Args:
        block: whole lines, with at least one quote.
        separator: a single byte.
        quote: a single byte.
        header_quoted: whether the first line of the file has quotes.
        final: whether the block is the end of the file.
        escape: how quotes are escaped, where it is set.
    """
    doubled, backslash = Quoting(quote, "doubled"), Quoting(quote, "backslash")
    styles = [doubled, backslash] if b"\\" + quote in block else [doubled]
    if escape is not None:
        styles = [backslash if escape == "backslash" else doubled]
    one_line = [style for style in styles if _lines_close(block, separator, style)]
    if one_line:
        return one_line[0]
    fits = fields_fit(block, separator)
    if fits and separator not in (b",", b";") and not header_quoted:
        return Quoting(b"")
    for style in styles:
        layout = find_records(block, separator, style, final)
        if layout is not None and (final or len(block) - layout.end < _LONGEST_OPEN or not fits):
            return style
    # One stray quote must not make the others letters.
    return Quoting(b"") if fits and not _encloses(block, separator, quote) else None


def _encloses(block: bytes, separator: bytes, quote: bytes) -> bool:
    """Return whether more fields are enclosed in quotes within a line than there are lines with an odd quote."""
    tab, mark = re.escape(separator), re.escape(quote)
    field = rb"(?m)(?:^|%b)%b[^%b\n]*%b(?=%b|\r?$)" % (tab, mark, mark, mark, tab)
    enclosed = len(re.findall(field, block))
    odd = sum(line.count(quote) % 2 for line in block.split(b"\n"))
    return enclosed > odd


def find_records(block: bytes, separator: bytes, quoting: Quoting, final: bool) -> Layout | None:
    """Return where the records of whole lines are; None: a quote is opened or closed in the wrong place.

    At the end of a block that is not the last one, a quote may still be open.
    """
    if not quoting.quote or quoting.quote not in block:
        return Layout(len(block))
    quotes = _matched_quotes(block, separator, quoting)
    if quotes is None:
        if _lines_close(block, separator, quoting):
            return Layout(len(block))
        return _search_records(block, separator, quoting, final)
    ends = _find(block, _NEWLINE)
    outside = np.searchsorted(quotes, ends) % 2 == 0
    if len(quotes) % 2:
        if final:
            return None
        whole = int(np.flatnonzero(outside)[-1]) + 1 if outside.any() else 0
        ends, outside = ends[:whole], outside[:whole]
        end = int(ends[-1]) + 1 if whole else 0
    else:
        end = len(block)
    if outside.all():
        return Layout(end)
    starts = np.concatenate([[0], ends[outside] + 1])
    return Layout(end, starts[starts < end])


def misplaced_quote(block: bytes, separator: bytes, quoting: Quoting) -> int:
    """Return the byte at which the first record starts that is not well formed."""
    return _match_records(block, separator, quoting)[-1]


def fields_fit(block: bytes, separator: bytes) -> bool:
    """Return whether every line that is not blank has as many separators, at least one, as the first."""
    data = np.frombuffer(block, np.uint8)
    ends = _find(block, _NEWLINE)
    if not len(ends) or ends[-1] != len(data) - 1:
        ends = np.append(ends, len(data))
    counts = np.diff(np.searchsorted(_find(block, separator[0]), ends), prepend=0)
    lengths = np.diff(ends, prepend=-1) - 1
    counts = counts[lengths > (1 if b"\r" in block else 0)]
    return bool(len(counts)) and counts[0] > 0 and bool((counts == counts[0]).all())


def _find(block: bytes, byte: int) -> npt.NDArray[np.int64]:
    return np.flatnonzero(np.frombuffer(block, np.uint8) == byte)


def _matched_quotes(block: bytes, separator: bytes, quoting: Quoting) -> npt.NDArray[np.int64] | None:
    """Return the quotes if they open and close fields in turn, counting a doubled quote as closing and opening."""
    data = np.frombuffer(block, np.uint8)
    quote = quoting.quote[0]
    quotes = _find(block, quote)
    if quoting.escape == "backslash":
        quotes = quotes[~_is_escaped(block, quotes)]
    opening, closing = quotes[::2], quotes[1::2]
    edges = np.zeros(256, bool)
    edges[[separator[0], _NEWLINE, _RETURN, quote]] = True
    before = edges[data[opening - 1]] | (opening == 0)
    after = edges[data[np.minimum(closing + 1, len(data) - 1)]] | (closing == len(data) - 1)
    return quotes if before.all() and after.all() else None


def _is_escaped(block: bytes, quotes: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return for each quote whether an odd number of backslashes stands before it."""
    data = np.frombuffer(block, np.uint8)
    escaped: npt.NDArray[np.bool_] = (data[np.maximum(quotes - 1, 0)] == _BACKSLASH) & (quotes > 0)
    for index in np.flatnonzero(escaped).tolist():
        at = start = int(quotes[index])
        while start > 0 and block[start - 1] == _BACKSLASH:
            start -= 1
        escaped[index] = (at - start) % 2 == 1
    return escaped


def _lines_close(block: bytes, separator: bytes, quoting: Quoting) -> bool:
    """Return whether each line closes the quotes that it opens; a quote inside an unquoted field is a letter."""
    quotes = _matched_quotes(block, separator, quoting)
    if quotes is not None and len(quotes) % 2 == 0:
        return bool((np.searchsorted(quotes, _find(block, _NEWLINE)) % 2 == 0).all())
    quote, tab = re.escape(quoting.quote.decode()), re.escape(separator.decode())
    lines = pl.Series(block.decode().split("\n"))
    lines = lines.filter(lines.str.contains(quoting.quote.decode(), literal=True)).str.strip_suffix("\r")
    inside = rf"[^{quote}\\]|\\.|{quote}{quote}" if quoting.escape == "backslash" else rf"[^{quote}]|{quote}{quote}"
    field = rf"(?:{quote}(?:{inside})*{quote}|[^{quote}{tab}][^{tab}]*|)"
    return bool(lines.str.contains(f"(?s)^{field}(?:{tab}{field})*$").all())


def _search_records(block: bytes, separator: bytes, quoting: Quoting, final: bool) -> Layout | None:
    """Return where records are in a block with quotes both as letters and around fields of several lines."""
    starts = np.array(_match_records(block, separator, quoting))
    end = int(starts[-1])
    if end < len(block) and (final or not _is_open(block[end:], separator, quoting)):
        return None
    return Layout(end, starts[:-1])


def _match_records(block: bytes, separator: bytes, quoting: Quoting) -> list[int]:
    """Return the byte at which each record starts, and that at which the last well-formed one ends."""
    field, tab = _field_pattern(separator, quoting)
    record = re.compile(rf"(?s){field}(?:{tab}{field})*+(?:\r?\n|\Z)".encode())
    starts = [0]
    while starts[-1] < len(block):
        match = record.match(block, starts[-1])
        if match is None:
            break
        starts.append(match.end())
    return starts


def _is_open(record: bytes, separator: bytes, quoting: Quoting) -> bool:
    """Return whether the last field of a record is quoted and not closed."""
    field, tab = _field_pattern(separator, quoting)
    quote = re.escape(quoting.quote.decode())
    return re.match(rf"(?s)(?:{field}{tab})*+{quote}{_body_pattern(quoting)}\Z".encode(), record) is not None


def _body_pattern(quoting: Quoting) -> str:
    quote = re.escape(quoting.quote.decode())
    if quoting.escape == "backslash":
        return rf"(?:[^{quote}\\]++|\\.|{quote}{quote})*+"
    return rf"[^{quote}]*+(?:{quote}{quote}[^{quote}]*+)*+"


def _field_pattern(separator: bytes, quoting: Quoting) -> tuple[str, str]:
    """Return the patterns of a field and of the separator."""
    quote, tab = re.escape(quoting.quote.decode()), re.escape(separator.decode())
    return rf"(?:{quote}{_body_pattern(quoting)}{quote}|[^{quote}\n{tab}][^\n{tab}]*+|)", tab
