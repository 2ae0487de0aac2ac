"""Raw columns -> the fields that the config names, as text, lists of text or times."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence

import polars as pl

from recsys.config.dataset import ItemFiles
from recsys.config.raw_files import RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.cleaning.lists import join_lists, split_tags
from recsys.dataset.item_vectors import PREFIX
from recsys.dataset.raw.setting_names import name_setting
from recsys.errors import DataError

Columns = Mapping[str, str | tuple[str, ...]]

# Fields that hold ids, with the bits of the largest integers that each type of float represents exactly.
ID_FIELDS = ("user_id", "item_id")
_EXACT_BITS: dict[type[pl.DataType], int] = {pl.Float32: 24, pl.Float64: 53}
_TEXT_FIELDS = ("title", "description")


def names_of(columns: Columns) -> list[str]:
    """Return the raw columns that the fields come from, each once."""
    several = [(names,) if isinstance(names, str) else names for names in columns.values()]
    return list(dict.fromkeys(name for names in several for name in names))


def pick_columns(what: str, source: str, frame: pl.DataFrame, columns: Columns, files: RawFiles) -> pl.DataFrame:
    """Return a column per field as String, List(String) or Datetime (microseconds; UTC, or no zone).

    Vectors keep the type that they have in the file.

    Of several raw columns, those of an id are joined by `|` (a `|` inside a part is doubled; null if a part is blank),
    those of a text by a space, the tags of all are put together, and for other fields the first that is not blank
    counts.

    Args:
        what: the table's name for messages, such as `items`.
        source: for messages.
        frame: raw columns.
        columns: field -> raw column, or several.
        files: settings; those of items have the separator of tags.

    Raises:
        DataError: a column is nested, or holds ids as floats too large to be exact.
    """
    picked = {}
    for field, names in columns.items():
        names = (names,) if isinstance(names, str) else names
        if field.startswith(PREFIX):
            picked[field] = frame[names[0]]
            continue
        for name in names:
            if field in ID_FIELDS:
                _check_exact(source, name, frame[name])
        parts = [as_plain(what, source, name, frame[name]) for name in names]
        picked[field] = parts[0] if len(parts) == 1 else _combine(field, parts, files)
    return pl.DataFrame(picked)


def as_plain(what: str, source: str, name: str, column: pl.Series) -> pl.Series:
    """Return a column as String, List(String) or Datetime."""
    dtype = column.dtype
    if dtype == pl.String:
        return column
    inner = dtype.inner if isinstance(dtype, pl.List | pl.Array) else dtype
    try:
        if isinstance(inner, pl.Struct | pl.List | pl.Array):
            raise pl.exceptions.SchemaError("it is nested")
        if isinstance(dtype, pl.List | pl.Array):
            return column.cast(pl.List(pl.String))
        if dtype == pl.Date or isinstance(dtype, pl.Datetime):
            column = column.cast(pl.Datetime("us", dtype.time_zone if isinstance(dtype, pl.Datetime) else None))
            return column.dt.convert_time_zone("UTC") if getattr(dtype, "time_zone", None) else column
        if dtype.is_float():
            column = column.fill_nan(None)
        return column.cast(pl.String)
    except pl.exceptions.PolarsError as error:
        reason = str(error).splitlines()[0] if str(error) else "it has another type"
        is_nested = isinstance(inner, pl.Struct | pl.List | pl.Array)
        field = inner.fields[0].name if isinstance(inner, pl.Struct) and inner.fields else "FIELD"
        step = f"name a field inside it, such as '{name}.{field}'" if is_nested else "write it as text in UTF-8"
        if is_nested and isinstance(dtype, pl.List | pl.Array):
            step = f"give each member a row with {name_setting(what, 'unfold')}: {{column: {name}}}, and then {step}"
        raise DataError(
            f"{source}: column '{name}' is {dtype} and cannot be read as text ({reason}); expected text, "
            f"numbers, times or a list of text; {step}"
        ) from error


def _check_exact(source: str, name: str, column: pl.Series) -> None:
    """Raise if ids are floats so large that neighbouring integers are equal."""
    bits = _EXACT_BITS.get(column.dtype.base_type())
    largest = column.fill_nan(None).abs().max() if bits else None
    if bits and isinstance(largest, float) and largest >= 2**bits:
        raise DataError(
            f"{source}: column '{name}' contains ids as {column.dtype} up to {largest:.0f}; from 2^{bits} on such "
            "numbers "
            "are rounded, so different ids become equal; write the column as integers or text"
        )


def _combine(field: str, parts: list[pl.Series], files: RawFiles) -> pl.Series:
    frame = pl.DataFrame({str(index): part for index, part in enumerate(parts)})
    columns = pl.all()
    if field in ID_FIELDS:
        words = files.missing.get(field, ())
        cleaned = pl.DataFrame([clean_ids(part, words).alias(name) for name, part in _texts(frame).items()])
        return cleaned.select(
            pl.concat_str(columns.str.replace_all("|", "||", literal=True), separator="|")
        ).to_series()
    if field in _TEXT_FIELDS:
        joined = pl.DataFrame([join_lists(frame[name]).alias(name) for name in frame.columns])
        return joined.select(pl.concat_str(_without_blank(columns), separator=" ", ignore_nulls=True)).to_series()
    if field == "tags":
        separator = files.tags_separator if isinstance(files, ItemFiles) else ","
        lists = pl.DataFrame([split_tags(frame[name], separator).alias(name) for name in frame.columns])
        return lists.select(pl.concat_list(columns)).to_series()
    if all(dtype == frame.dtypes[0] for dtype in frame.dtypes) and frame.dtypes[0] != pl.String:
        return frame.select(pl.coalesce(columns)).to_series()
    texts = pl.DataFrame([part.alias(name) for name, part in _texts(frame).items()])
    return texts.select(pl.coalesce(_without_blank(columns))).to_series()


def _without_blank(columns: pl.Expr) -> pl.Expr:
    return pl.when(columns.str.strip_chars() != "").then(columns)


def _texts(frame: pl.DataFrame) -> dict[str, pl.Series]:
    return {name: as_text(frame[name]) for name in frame.columns}


def as_text(column: pl.Series) -> pl.Series:
    """Return a plain column as text; times as ISO 8601, a list's members joined by commas."""
    if isinstance(column.dtype, pl.Datetime):
        return column.dt.to_string("iso:strict")
    return join_lists(column)


class MissingColumnError(DataError):
    """A source does not have a column that the config names."""


def missing_column(
    what: str, source: str, name: str, found: Sequence[str], *, header: bool = True
) -> MissingColumnError:
    """Return the error of a column that a source does not have, with the likeliest next step."""
    steps = []
    if not header:
        steps.append(
            f"its first line looks like data; name columns by position, or set {name_setting(what, 'header')}: true;"
        )
    near = _similar(name, found)
    if near:
        steps.append(f"did you mean '{near}'?")
    if len(found) == 1 and re.search(r"[^\w. ]", found[0]):
        steps.append(f"there is only one column: check the separator; set {name_setting(what, 'separator')};")
    steps.append(f"fix {name_setting(what)} in the config")
    return MissingColumnError(f"{source}: no column '{name}'; found {', '.join(map(repr, found))}; {' '.join(steps)}")


def _similar(name: str, found: Sequence[str]) -> str | None:
    """Return the column that differs only in letter case, spaces or underscores, or else in few letters."""

    def plain(text: str) -> str:
        return re.sub(r"[\W_]+", "", text).casefold()

    same = [other for other in found if plain(other) == plain(name) and plain(name)]
    near = same or difflib.get_close_matches(name, found, n=1, cutoff=0.5)
    return near[0] if near else None
