"""Samples as tables of one row per event or item, with the profiles of their columns and what they determine."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import polars as pl

from recsys.dataset.proposal.names import match_file, match_name
from recsys.dataset.proposal.profile import Column, profile_columns
from recsys.dataset.proposal.samples import FILE_COLUMN, Table
from recsys.dataset.proposal.shapes import Unfolding, fill_down, find_fill_down, find_unfoldings

_ROWS = 250_000
_FEWEST_PEOPLE = 5
_DAY = r"(?P<day>\d{4}-\d{2}-\d{2})"


@dataclass(frozen=True, eq=False)
class View:
    """A sample in the shape in which it would be read.

    Attributes:
        table: the sample as written.
        frame: the sample with filled and unfolded cells.
        shape: settings of `RawFiles` that give it this shape: `fill_down`, `unfold`, `file_name`.
        unfolding: how a column is unfolded, if one is.
        from_files: columns that the files' names give.
    """

    table: Table
    frame: pl.DataFrame
    shape: Mapping[str, Any] = field(default_factory=dict)
    unfolding: Unfolding | None = None
    from_files: tuple[str, ...] = ()
    _shares: dict[tuple[str, str], float | None] = field(default_factory=dict)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """Profiles by name."""
        return profile_columns(self.table.name, self.frame)

    @property
    def rows(self) -> int | None:
        """Estimated rows, events after unfolding; None where unknown."""
        if self.table.rows is None or not self.table.frame.height:
            return None
        return round(self.table.rows * self.frame.height / self.table.frame.height)

    def share_determined(self, key: str, value: str) -> float | None:
        """Return the share of rows whose value is the usual one of their key, over keys with at least two rows.

        None where fewer than 10 keys repeat: then nothing can be said.
        """
        if (key, value) not in self._shares:
            self._shares[key, value] = self._count_determined(key, value)
        return self._shares[key, value]

    def _count_determined(self, key: str, value: str) -> float | None:
        pairs = pl.DataFrame(
            {"key": self.columns[key].values.head(_ROWS), "value": self.columns[value].values.head(_ROWS)}
        ).drop_nulls()
        counts = pairs.group_by("key", "value").len()
        by_key = counts.group_by("key").agg(pl.col("len").sum().alias("all"), pl.col("len").max().alias("usual"))
        repeated = by_key.filter(pl.col("all") >= 2)
        if repeated.height < 10:
            return None
        return int(repeated["usual"].sum()) / int(repeated["all"].sum())

    def determines(self, key: str, value: str, least: float = 0.97) -> bool:
        """Return whether a key's rows share a value, and not only because nearly all rows do."""
        share = self.share_determined(key, value)
        if share is None or share < least:
            return False
        known = self.columns[value].known
        usual = known.value_counts(sort=True)["count"][0] / len(known) if len(known) else 1.0
        return share > usual + 0.5 * (1 - usual)


def make_views(table: Table) -> list[View]:
    """Return the shapes in which a sample can be read: as it is, and with each column of several events unfolded."""
    frame = table.frame
    shape: dict[str, Any] = {}
    columns = profile_columns(table.name, frame)
    blank = find_fill_down(columns)
    if blank:
        frame = fill_down(frame, blank)
        shape["fill_down"] = blank
    frame, parts = _add_file_parts(table, frame)
    shape |= parts
    groups = tuple(re.findall(r"\?P<(\w+)>", parts.get("file_name", "")))
    views = [View(table, frame, shape, None, groups)]
    views += [
        View(table, unfolding.frame, shape | {"unfold": dict(unfolding.setting)}, unfolding, groups)
        for unfolding in find_unfoldings(frame, columns)
    ]
    return views


def _add_file_parts(table: Table, frame: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, str]]:
    """Return the sample with the columns that only the files' names hold: a user per file, or a day per file."""
    if FILE_COLUMN not in frame.columns:
        return frame, {}
    pattern = file_pattern(table.files, [name for name in frame.columns if name != FILE_COLUMN])
    if pattern is None:
        return frame, {}
    group = re.findall(r"\?P<(\w+)>", pattern)[0]
    part = frame[FILE_COLUMN].str.extract(pattern.replace("?P<", "?<"), 1).alias(group)
    return frame.with_columns(part), {"file_name": pattern}


def file_pattern(files: Sequence[str], columns: Sequence[str]) -> str | None:
    """Return the pattern of the part in which the files' names differ, if it is a user or a day and no column is."""
    if len(files) < 2:
        return None
    if all(re.search(_DAY, file) for file in files) and not any(match_name(name, "time") for name in columns):
        return _DAY
    if any(match_name(name, role) >= 0.7 for name in columns for role in ("user", "email")):
        return None
    if any("=" in file for file in files):
        return None
    before, after = _common_parts(files)
    if not any("/" in file[len(before) : len(file) - len(after)] for file in files):
        return _person_pattern(files)
    # Folders have files of their own names: the users are the folders; or the files, as in a folder per year.
    depth = before.count("/") + 1
    folders = sorted({"/".join(file.split("/")[:depth]) for file in files})
    names = sorted({file.rpartition("/")[2] for file in files})
    below = {file.count("/") - depth + 1 for file in files}
    by_folder = len(below) == 1 and len(folders) >= _FEWEST_PEOPLE
    return (_person_pattern(folders, "/[^/]+" * below.pop()) if by_folder else None) or _person_pattern(names)


def _person_pattern(names: Sequence[str], below: str = "") -> str | None:
    """Return the pattern of the part in which names differ, before a pattern of what is below; None if no users are."""
    before, after = _common_parts(names)
    if not _are_people(before, [name[len(before) : len(name) - len(after)] for name in names]):
        return None
    return f"{re.escape(before.rpartition('/')[2])}(?P<user>[^/]+){re.escape(after)}{below}$"


def _are_people(before: str, parts: Sequence[str]) -> bool:
    """Return whether the parts in which names of files differ may be users."""
    if len(parts) < 2 or len(set(parts)) < len(parts) or all(match_file(part, "part") for part in parts):
        return False
    # Names that differ in numbers alone are parts of a table.
    if len({re.sub(r"[0-9]+", "", part) for part in parts}) == 1 and re.search(r"[^\W\d_]", parts[0]):
        return False
    is_named = bool(before) and match_name(re.split(r"[/]", before)[-1].rstrip("-_ "), "user") >= 0.5
    words = [
        part for part in parts if re.search(r"[^\W\d_]{2,}", part) and not re.match(r"(?i)(part|chunk|page)", part)
    ]
    return is_named or len(words) == len(parts)


def _common_parts(files: Sequence[str]) -> tuple[str, str]:
    """Return what the files' names share at their starts and ends, up to whole words."""
    first, last = min(files), max(files)
    before = next((i for i, char in enumerate(first) if last[i : i + 1] != char), len(first))
    while before and (first[before - 1].isalnum()):
        before -= 1
    backwards = [file[::-1] for file in files]
    low, high = min(backwards), max(backwards)
    after = next((i for i, char in enumerate(low) if high[i : i + 1] != char), len(low))
    while after and low[after - 1].isalnum():
        after -= 1
    return first[:before], low[:after][::-1]
