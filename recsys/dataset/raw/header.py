"""Whether the first record of a text file or a sheet names the columns."""

from __future__ import annotations

import re
from collections.abc import Sequence

_NUMBER = re.compile(r"[-+]?(?:[0-9]+(?:[.,][0-9]+)*|[.,][0-9]+)(?:[eE][-+]?[0-9]+)?%?")
_TIME = re.compile(
    r"(?:[0-9]{4}[-/.][0-9]{1,2}[-/.][0-9]{1,2}|[0-9]{1,2}[-/.](?:[0-9]{1,2}|[A-Za-z]{3})[-/.][0-9]{2,4})"
    r"(?:[T ,].*)?"
)
# What no column is called.
_CONTENT = re.compile(r"https?://|[\[{]|<[a-z]|[^@\s]+@[^@\s]+[.][a-z]", re.IGNORECASE)
_BLANK = {"", "\\N", "NULL", "null", "None", "NA", "N/A", "nan", "NaN", "-"}
_AGREEING = 0.9
# Rows that may stand above a header; columns of a table that has some; share of them that its header names.
_TITLE_ROWS, _LEAST_WIDTH, _FULL = 20, 3, 0.6


def has_header(rows: Sequence[Sequence[str]]) -> bool:
    """Return whether the first row names the columns; in doubt it does.

    It does if a column's cells are numbers or times and its first cell is neither. It does not if a first cell is a
    number or a time as the cells below are, has digits and the same shape as they have (`N55528`), or cannot be a name
    (an address or a list).
    """
    if not rows:
        return True
    first, pairs = rows[0], _pair(rows)
    if _names_values(pairs):
        return True
    if pairs and all(_kind(cell) != "text" for cell, _ in pairs):
        return False
    if any(values and _kind(cell) != "text" and _kind(cell) == _common(values) for cell, values in pairs):
        return False
    if any(_same_shape(cell, values) for cell, values in pairs):
        return False
    return not any(_CONTENT.match(cell.strip()) for cell in first)


def count_title_rows(rows: Sequence[Sequence[str]]) -> int:
    """Return how many rows stand above the header, such as a title and a blank line; 0 if the first row may be it.

    Rows of a title fill at most a third of the cells that the rows of the table fill. Below the header a column must
    hold numbers or times: a first row that fills few cells may also be a bad row of a table.
    """
    filled = [sum(not _is_blank(cell) for cell in row) for row in rows]
    width = sorted(filled)[len(filled) // 2] if filled else 0
    if width < _LEAST_WIDTH:
        return 0
    above = next((index for index, count in enumerate(filled[: _TITLE_ROWS + 1]) if count > max(1, width // 3)), 0)
    return above if filled[above] >= _FULL * width and _names_values(_pair(rows[above:])) else 0


def _pair(rows: Sequence[Sequence[str]]) -> list[tuple[str, list[str]]]:
    """Return each cell of the first row with the cells below it, without blank ones."""
    first, below = rows[0], rows[1:]
    columns = [[row[index].strip() for row in below if index < len(row)] for index in range(len(first))]
    return [
        (cell.strip(), [value for value in column if not _is_blank(value)])
        for cell, column in zip(first, columns, strict=True)
        if not _is_blank(cell)
    ]


def _is_blank(cell: str) -> bool:
    return cell.strip() in _BLANK


def _names_values(pairs: Sequence[tuple[str, list[str]]]) -> bool:
    """Return whether a text stands above nothing but numbers or times."""
    return any(
        values and kind != "text" and _kind(cell) == "text" for cell, values in pairs for kind in [_common(values)]
    )


def is_number(cell: str) -> bool:
    """Return whether a cell is a number."""
    return _NUMBER.fullmatch(cell) is not None


def _kind(cell: str) -> str:
    if is_number(cell):
        return "number"
    return "time" if _TIME.fullmatch(cell) else "text"


def _common(values: Sequence[str]) -> str:
    """Return the kind of nearly all values, `text` if they differ."""
    kinds = [_kind(value) for value in values]
    return next((kind for kind in ("number", "time") if kinds and kinds.count(kind) >= _AGREEING * len(kinds)), "text")


def _same_shape(cell: str, values: Sequence[str]) -> bool:
    shape = _shape(cell)
    if "9" not in shape or len(values) < 2 or len(cell) > 60:
        return False
    return sum(_shape(value) == shape for value in values) >= _AGREEING * len(values) and len({cell, *values}) > 1


def _shape(cell: str) -> str:
    return re.sub(r"[^\W\d_]+", "a", re.sub(r"[0-9]+", "9", cell))
