"""Cells that hold several ids: which settings give each a row."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# What separates the ids of a cell; a space is the default of `unfold`.
_SEPARATORS = (" ", ",", ";", "|")
# An id and whether the user chose it: `N55528-1`.
_OUTCOME = "(?P<item>.+)-(?P<outcome>[01])"
_PLAIN_NAME = re.compile(r"[A-Za-z_][\w.-]*")


@dataclass(frozen=True)
class SeveralIds:
    """The ids of a cell.

    Attributes:
        ids: as they stand in the cell, at least one.
        unfold: the setting that gives each a row, as YAML.
        item_id: the setting that names them then, as YAML.
    """

    ids: list[str]
    unfold: str
    item_id: str


def find_several_ids(cell: str, column: str) -> Iterator[SeveralIds]:
    """Yield each way in which a cell may hold several ids.

    Args:
        cell: the text of a cell.
        column: its column.
    """
    members = _read_list(cell)
    if members is None:
        yield from _find_in_text(cell, column)
        return
    plain = [str(member) for member in members if _is_id(member)]
    if plain:
        yield SeveralIds(plain, _write_unfold(column), _write(column))
    objects = [member for member in members if isinstance(member, dict)]
    for key in objects[0] if objects else ():
        ids = [str(member[key]) for member in objects if _is_id(member.get(key))]
        if ids:
            yield SeveralIds(ids, _write_unfold(column), _write(f"{column}.{key}"))


def _find_in_text(cell: str, column: str) -> Iterator[SeveralIds]:
    for separator in _SEPARATORS:
        parts = [part.strip() for part in cell.split(separator) if part.strip()]
        if len(parts) < 2:
            continue
        setting = "" if separator == " " else f", separator: '{separator}'"
        yield SeveralIds(parts, _write_unfold(column, setting), _write(column))
        matches = [re.fullmatch(_OUTCOME, part) for part in parts]
        ids = [match["item"] for match in matches if match is not None]
        if len(ids) == len(parts):
            yield SeveralIds(ids, _write_unfold(column, f"{setting}, pattern: '{_OUTCOME}'"), _write(f"{column}.item"))


def _read_list(cell: str) -> list[Any] | None:
    """Return the members of a list as JSON or Python writes it."""
    if not cell.lstrip().startswith("["):
        return None
    for read in (json.loads, literal_eval):
        try:
            members = read(cell.strip())
        except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
            continue
        return members if isinstance(members, list) else None
    return None


def _is_id(member: object) -> bool:
    return isinstance(member, str | int) and not isinstance(member, bool)


def _write_unfold(column: str, more: str = "") -> str:
    return f"{{column: {_write(column)}{more}}}"


def _write(name: str) -> str:
    """Return a column's name as YAML."""
    return name if _PLAIN_NAME.fullmatch(name) else json.dumps(name, ensure_ascii=False)
