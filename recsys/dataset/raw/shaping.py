"""Raw rows -> the rows that are meant: columns from paths, filled cells, unfolded cells, filters."""

from __future__ import annotations

import json
import re
from ast import literal_eval
from collections.abc import Sequence

import polars as pl

from recsys.config.raw_files import RawFiles, RowFilter, Unfold
from recsys.dataset.raw.batches import Source
from recsys.dataset.raw.columns import as_plain, as_text, missing_column
from recsys.dataset.raw.json_values import decode_each, decode_texts, try_load
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError

# Index of the raw row that a row comes from; no raw column can have this name.
ORIGIN = "\n"


class Shaper:
    """Shapes the blocks of one source, in their order.

    Order of the steps: columns from folders and the file's name, `fill_down`, `unfold`, `keep_rows`.
    """

    def __init__(self, what: str, source: Source, files: RawFiles, names: Sequence[str]) -> None:
        """Shape rows so that they have the raw columns `names`."""
        self._what, self._files, self._name = what, files, source.name
        self._constants = dict(source.partitions) | _name_groups(what, source.name, files)
        needed = [*names, *(row_filter.column for row_filter in files.keep_rows)]
        if files.unfold is not None:
            needed.append(files.unfold.column)
        self._unfolded = [name for name in dict.fromkeys(needed) if _is_unfolded(name, files.unfold)]
        rest = [*(name for name in needed if name not in self._unfolded), *files.fill_down]
        self.raw_names = [name for name in dict.fromkeys(rest) if name not in self._constants]
        self._above: dict[str, object] = {}
        self._check_groups()

    def _check_keys(self, cells: pl.Series) -> None:
        """Raise if objects with a type (Parquet) lack a key."""
        inner = cells.dtype.inner if isinstance(cells.dtype, pl.List | pl.Array) else None
        if not isinstance(inner, pl.Struct) or self._files.unfold is None:
            return
        column = self._files.unfold.column
        known = [f"{column}.{field.name}" for field in inner.fields]
        for name in self._unfolded:
            if name != f"{column}.position" and not any(name == key or name.startswith(f"{key}.") for key in known):
                raise missing_column(self._what, self._name, name, known)

    def _check_groups(self) -> None:
        setting = self._files.unfold
        if setting is None or setting.pattern is None:
            return
        known = [f"{setting.column}.{key}" for key in (*re.compile(setting.pattern).groupindex, "position")]
        for name in self._unfolded:
            if name not in known:
                raise missing_column(self._what, self._name, name, known)

    def shape(self, columns: pl.DataFrame) -> tuple[pl.DataFrame, int]:
        """Return the rows with all needed columns and `ORIGIN`, and how many rows `keep_rows` left out."""
        frame = columns.with_columns(pl.lit(value, dtype=pl.String).alias(n) for n, value in self._constants.items())
        frame = frame.with_columns(pl.int_range(pl.len(), dtype=pl.UInt32).alias(ORIGIN))
        for name in self._files.fill_down:
            frame = frame.with_columns(self._fill_down(name, frame[name]))
        if self._files.unfold is not None:
            self._check_keys(frame[self._files.unfold.column])
            frame = unfold(frame, self._files.unfold, self._unfolded)
        if not self._files.keep_rows:
            return frame, 0
        kept = frame.filter(pl.all_horizontal(self._meets(frame, row) for row in self._files.keep_rows))
        return kept, frame.height - kept.height

    def _meets(self, frame: pl.DataFrame, condition: RowFilter) -> pl.Series:
        column = as_plain(self._what, self._name, condition.column, frame[condition.column])
        if isinstance(column.dtype, pl.Datetime):
            column = column.dt.to_string("%Y-%m-%d %H:%M:%S")
        return _meets(as_text(column), condition, self._files.decimal or ".")

    def _fill_down(self, name: str, column: pl.Series) -> pl.Series:
        """Return a column in which blank cells repeat the cell above, also that of the block before."""
        if column.dtype == pl.String:
            column = column.set(column.str.strip_chars() == "", None)
        filled = column.fill_null(strategy="forward")
        if name in self._above and filled.null_count():
            filled = filled.fill_null(pl.Series([self._above[name]], dtype=filled.dtype))
        if len(filled) and filled[-1] is not None:
            self._above[name] = filled[-1]
        return filled


def _name_groups(what: str, name: str, files: RawFiles) -> dict[str, str | None]:
    if files.file_name is None:
        return {}
    match = re.search(files.file_name, name)
    if match is None:
        raise DataError(
            f"{name}: its path does not match {name_setting(what, 'file_name')} '{files.file_name}'; fix the "
            "pattern, or name the files to match it"
        )
    return dict(match.groupdict())


def _is_unfolded(name: str, setting: Unfold | None) -> bool:
    return setting is not None and name.startswith(f"{setting.column}.")


def unfold(frame: pl.DataFrame, setting: Unfold, names: Sequence[str]) -> pl.DataFrame:
    """Return a row per event in the cells of a column; rows whose cell is blank are left out.

    Args:
        frame: raw rows.
        setting: which column, and how its cells are written.
        names: columns COLUMN.KEY that are needed: keys of an object, groups of the pattern, or `position`.
    """
    column = setting.column
    cells = frame[column]
    dtype = cells.dtype
    lists = cells if isinstance(dtype, pl.List | pl.Array) else _split(cells.cast(pl.String), setting.separator)
    if isinstance(lists.dtype, pl.Array):
        lists = lists.cast(pl.List(lists.dtype.inner))
    position = f"{column}.position"
    rows = frame.with_columns(lists.alias(column), pl.int_ranges(1, lists.list.len() + 1).alias(position))
    rows = rows.filter(pl.col(column).list.len() > 0).explode(column, position)
    events = rows[column]
    keys = [name.removeprefix(f"{column}.") for name in names if name != position]
    parts: list[pl.Series] = []
    if isinstance(events.dtype, pl.Struct):
        parts = [_reach(events, key).alias(f"{column}.{key}") for key in keys]
        rows = rows.with_columns(events.struct.json_encode().alias(column))
    elif setting.pattern is not None:
        groups = _match(events.cast(pl.String), setting.pattern)
        parts = [groups[key].alias(f"{column}.{key}") for key in keys if key in groups.columns]
    elif keys:
        texts = events.cast(pl.String)
        paths = {key: key for key in keys}
        fields = decode_texts(texts, paths)
        if fields is None:
            fields = decode_each(map(try_load, texts), paths)
        parts = [fields[key].alias(f"{column}.{key}") for key in keys]
    return rows.with_columns(pl.col(position).cast(pl.String), *parts)


def _split(cells: pl.Series, separator: str) -> pl.Series:
    """Return the events of each cell: members of a JSON list, or parts between separators that are not blank."""
    split = cells.str.split(separator).list.eval(
        pl.element().str.strip_chars().filter(pl.element().str.strip_chars() != "")
    )
    listed = cells.str.contains(r"(?s)^\s*\[.*\]\s*$").fill_null(False)
    if not listed.any():
        return split
    rows = listed.arg_true()
    members = pl.Series([_members(cell) for cell in cells.gather(rows)], dtype=pl.List(pl.String))
    if len(rows) == len(cells):
        return members
    return (
        pl.DataFrame({"split": split})
        .with_row_index("i")
        .join(pl.DataFrame({"i": rows.cast(pl.UInt32), "members": members}), on="i", how="left", maintain_order="left")
        .select(pl.coalesce("members", "split"))
        .to_series()
    )


def _members(cell: str) -> list[str | None]:
    try:
        members = json.loads(cell)
    except (ValueError, RecursionError):
        try:
            members = literal_eval(cell.strip())  # a list in a CSV that pandas wrote
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            return [cell]
    if not isinstance(members, list):
        return [cell]
    return [
        member if isinstance(member, str) or member is None else json.dumps(member, ensure_ascii=False)
        for member in members
    ]


def _reach(events: pl.Series, key: str) -> pl.Series:
    """Return a field of structs; a dot reaches into structs inside."""
    for part in [key] if key in events.struct.fields else key.split("."):
        if not isinstance(events.dtype, pl.Struct) or part not in events.struct.fields:
            return pl.repeat(None, len(events), dtype=pl.String, eager=True)
        events = events.struct.field(part)
    return events


def _match(events: pl.Series, pattern: str) -> pl.DataFrame:
    """Return the groups of a pattern that matches a whole event; null where it does not."""
    try:
        groups = events.str.extract_groups(f"^(?:{pattern})$").struct.unnest()
    except pl.exceptions.PolarsError:  # a look-ahead or a back reference
        compiled = re.compile(pattern)
        names = list(compiled.groupindex)
        matches = [compiled.fullmatch(event) if event is not None else None for event in events]
        return pl.DataFrame(
            {name: [match[name] if match else None for match in matches] for name in names},
            schema=dict.fromkeys(names, pl.String),
        )
    return groups


def _meets(cells: pl.Series, row_filter: RowFilter, decimal: str) -> pl.Series:
    """Return for each cell whether it meets a condition; a blank cell is unequal to every value and never larger."""
    value = row_filter.value
    cells = cells.str.strip_chars().fill_null("")
    blank = cells == ""
    number = _number(value)
    numbers = cells.str.replace(decimal, ".", literal=True).cast(pl.Float64, strict=False)
    if row_filter.operator in ("==", "!="):
        equal = cells == value
        if number is not None:
            equal |= (numbers == number).fill_null(False)
        return equal if row_filter.operator == "==" else ~equal
    by_text = _compare(cells, value, row_filter.operator)
    if number is None:
        return by_text & ~blank
    return _compare(numbers, number, row_filter.operator).fill_null(by_text) & ~blank


def _compare(left: pl.Series, right: str | float, operator: str) -> pl.Series:
    compared = {">": left > right, ">=": left >= right, "<": left < right, "<=": left <= right}
    return compared[operator]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
