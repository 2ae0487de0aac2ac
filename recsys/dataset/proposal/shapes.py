"""Shapes of exports that are no plain tables: cells that are filled once, and cells that hold several events."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from recsys.dataset.cleaning.missing import MISSING
from recsys.dataset.proposal.names import match_name
from recsys.dataset.proposal.profile import Column

_OUTCOME = r"^.+[-_:|][01]$"
_OUTCOME_PATTERN = "(?P<item>.+)-(?P<outcome>[01])"
_MOST_EVENTS = 400_000


@dataclass(frozen=True, eq=False)
class Unfolding:
    """How a column of several events is unfolded.

    Attributes:
        column: its name.
        setting: the settings of `Unfold`.
        frame: the sample with a row per event.
        member: the column of the frame that holds a member's text; None for objects, which have several.
    """

    column: str
    setting: Mapping[str, Any]
    frame: pl.DataFrame
    member: str | None


def find_fill_down(columns: Mapping[str, Column]) -> list[str]:
    """Return the columns whose blank cells repeat the cell above, as in an order's further lines.

    Evidence is a column that names the order on every line, whose first line always has the value; or several columns
    that are blank on exactly the same rows, the order's number among them.
    """
    partly = [column for column in columns.values() if 0 < column.filled < 1 and column.values[0] is not None]
    if not partly:
        return []
    keys = [
        column
        for column in columns.values()
        if (
            column.filled == 1
            and 1 < column.distinct < len(column.values) * 0.98
            and match_name(column.name, "transaction") >= 0.5
        )
        or (column.filled == 1 and column.name.lower() == "name" and column.share(r"^#?\d+$") > 0.9)
    ]
    filled = [column.name for key in keys[:3] for column in partly if _is_first_of_group(key, column)]
    return list(dict.fromkeys(filled)) or _blank_together(partly, columns)


def _is_first_of_group(key: Column, column: Column) -> bool:
    frame = pl.DataFrame({"key": key.values, "value": column.values})
    same = (frame["key"] == frame["key"].shift(1)).fill_null(False)
    blank = frame["value"].is_null()
    later, first = frame.filter(same), frame.filter(~same)
    if later.height < 5 or (blank & same).sum() < 0.6 * later.height:
        return False
    return float(first["value"].is_null().mean() or 0.0) <= 0.02  # type: ignore[arg-type]


def _blank_together(partly: list[Column], columns: Mapping[str, Column]) -> list[str]:
    """Return columns that are blank on the same rows, an order's number or a user among them."""
    groups: dict[tuple[int, int], list[Column]] = {}
    for column in partly:
        blank = column.values.is_null()
        # A checksum of the blank rows: the sum of their positions.
        positions = int(blank.arg_true().cast(pl.Int64).sum() or 0)
        groups.setdefault((int(blank.sum()), positions), []).append(column)
    for (blanks, _), members in groups.items():
        named = [column for column in members if _identifies(column)]
        others = [column for column in columns.values() if column.filled > 0.98]
        if len(members) >= 2 and named and others and blanks >= 5:
            return [column.name for column in members]
    return []


def _identifies(column: Column) -> bool:
    return any(match_name(column.name, role) >= 0.5 for role in ("user", "transaction", "email"))


def fill_down(frame: pl.DataFrame, names: list[str]) -> pl.DataFrame:
    """Return the sample with blank cells filled by the cells above."""
    return frame.with_columns(pl.when(~pl.col(names).is_in(MISSING)).then(pl.col(names)).forward_fill())


def find_unfoldings(frame: pl.DataFrame, columns: Mapping[str, Column]) -> list[Unfolding]:
    """Return the ways to unfold a column of the sample; whether one is meant, the ids in it must show."""
    found = []
    for column in columns.values():
        values = column.known.head(500)
        if len(values) < 2 or column.is_number or column.time is not None:
            continue
        if column.is_list and column.is_json:
            found.append(_unfold_objects(frame, column))
        elif column.is_list:
            found.append(_unfold_members(frame, column, None, {}))
        elif float((values.str.count_matches(r"\S+") >= 2).mean() or 0) >= 0.3 and _is_codes(values):  # type: ignore[arg-type]
            found.append(_unfold_members(frame, column, " ", {}))
        else:
            separator = next((mark for mark in (";", "|", ",") if _is_joined(values, mark)), None)
            if separator:
                found.append(_unfold_members(frame, column, separator, {"separator": separator}))
    return [unfolding for unfolding in found if unfolding is not None]


def _is_codes(values: pl.Series) -> bool:
    """Return whether the words of the texts are codes: every one has a digit."""
    words = values.head(100).str.split(" ").explode().drop_nulls()
    words = words.filter(words != "")
    return bool(len(words)) and float(words.str.contains(r"\d").mean() or 0) >= 0.95  # type: ignore[arg-type]


def _is_joined(values: pl.Series, separator: str) -> bool:
    if float(values.str.contains(separator, literal=True).mean() or 0) < 0.3:  # type: ignore[arg-type]
        return False
    words = values.head(100).str.split(separator).explode().str.strip_chars().drop_nulls()
    words = words.filter(words != "")
    return bool(len(words)) and not words.str.contains(r"\s").any() and bool(words.str.contains(r"\d").all())


def _read_list(text: str | None) -> list[Any]:
    try:
        content = json.loads(text) if text else []
    except ValueError:
        return []
    return content if isinstance(content, list) else []


def _unfold_objects(frame: pl.DataFrame, column: Column) -> Unfolding | None:
    lists = [_read_list(text) for text in column.values]
    rows, members, positions = _enumerate(lists)
    keys = list(dict.fromkeys(key for member in members[:2000] if isinstance(member, dict) for key in member))
    if not keys or len(rows) > _MOST_EVENTS:
        return None
    parts = {
        f"{column.name}.{key}": pl.Series(
            [_text(member.get(key)) if isinstance(member, dict) else None for member in members], dtype=pl.String
        )
        for key in keys
    }
    unfolded = frame[rows].drop(column.name).with_columns(**parts, **_position(column, positions))
    return Unfolding(column.name, {"column": column.name}, unfolded, None)


def _unfold_members(
    frame: pl.DataFrame, column: Column, separator: str | None, more: dict[str, Any]
) -> Unfolding | None:
    if separator is None:
        lists: list[list[Any]] = [_read_list(text) for text in column.values]
    else:
        lists = [(text or "").split(separator) if text else [] for text in column.values]
    rows, members, positions = _enumerate(lists)
    if not rows or len(rows) > _MOST_EVENTS or any(isinstance(member, list) for member in members[:1000]):
        return None
    texts = pl.Series([_text(member) for member in members], dtype=pl.String).str.strip_chars()
    setting: dict[str, Any] = {"column": column.name, **more}
    unfolded = frame[rows].drop(column.name)
    if len(texts) and float(texts.str.contains(_OUTCOME).mean() or 0) >= 0.99:  # type: ignore[arg-type]
        mark = str(texts[0])[-2]
        setting["pattern"] = _OUTCOME_PATTERN.replace(")-(", f"){re.escape(mark) if mark == '|' else mark}(")
        parts = {f"{column.name}.item": texts.str.slice(0, None), f"{column.name}.outcome": texts.str.tail(1)}
        parts[f"{column.name}.item"] = texts.str.head(-2)
        return Unfolding(
            column.name,
            setting,
            unfolded.with_columns(**parts, **_position(column, positions)),
            f"{column.name}.item",
        )
    unfolded = unfolded.with_columns(texts.alias(column.name), **_position(column, positions))
    return Unfolding(column.name, setting, unfolded, column.name)


def _enumerate(lists: list[list[Any]]) -> tuple[list[int], list[Any], list[int]]:
    rows, members, positions = [], [], []
    for row, content in enumerate(lists):
        for position, member in enumerate(content, 1):
            if member is not None and member != "":
                rows.append(row)
                members.append(member)
                positions.append(position)
    return rows, members, positions


def _position(column: Column, positions: list[int]) -> dict[str, pl.Series]:
    return {f"{column.name}.position": pl.Series([str(position) for position in positions], dtype=pl.String)}


def _text(value: Any) -> str | None:
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)
