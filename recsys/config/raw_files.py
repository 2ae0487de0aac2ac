"""Settings of raw files: where they are, how they are written, and how many bad rows are tolerated."""

from __future__ import annotations

import re
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, WithJsonSchema, field_validator, model_validator

from recsys.config.section import Section, Share


def _name(value: Any) -> Any:
    """Return a position such as 3 as text; names are text already."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _names(value: Any) -> Any:
    return tuple(_name(name) for name in value) if isinstance(value, list | tuple) else _name(value)


# A raw column: its name; without a header its name or its position from 1.
Column = Annotated[str, Field(min_length=1), BeforeValidator(_name)]
# A raw column, or several.
Columns = Annotated[Column | Annotated[tuple[Column, ...], Field(min_length=1)], BeforeValidator(_names)]

# Of `max_rejected`: the limit of all rules that have none of their own.
TOTAL = "total"
_FILTER = re.compile(r"(?P<column>.+?)\s*(?P<operator>==|!=|>=|<=|>|<)\s*(?P<value>.*)")


class RowFilter(Section):
    """A condition that a raw row must meet, written as `COLUMN OPERATOR VALUE`."""

    column: str
    """Raw column."""
    operator: Literal["==", "!=", ">=", "<=", ">", "<"]
    """Comparison: numeric if both sides are numbers, else as text."""
    value: str
    """Value to compare with; empty: a blank cell."""


def _parse_filter(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    match = _FILTER.fullmatch(value.strip())
    if match is None:
        raise ValueError(f"found '{value}', expected COLUMN OPERATOR VALUE, such as 'status != refunded'")
    return {name: text.strip() for name, text in match.groupdict().items()}


class Unfold(Section):
    """A cell that holds several events, each of which becomes a row of its own.

    An event is the text of the raw column COLUMN; its parts are `COLUMN.KEY` for an object's keys or a pattern's named
    groups, and `COLUMN.position` is its position in the cell, 1 the first.
    """

    column: Column
    """Raw column whose cells contain lists, JSON lists, or texts with a separator."""
    separator: Annotated[str, Field(min_length=1)] = " "
    """Separator of events in a text; not needed for lists."""
    pattern: str | None = None
    """Regular expression with named groups that an event must match, such as '(?P<item>.+)-(?P<outcome>[01])'."""

    @field_validator("pattern")
    @classmethod
    def _pattern_has_groups(cls, value: str | None) -> str | None:
        return value if value is None else _check_pattern(value)


def _check_pattern(value: str) -> str:
    try:
        groups = re.compile(value).groupindex
    except re.error as error:
        raise ValueError(f"'{value}' is not a regular expression ({error})") from error
    if not groups:
        raise ValueError(f"'{value}' has no named group such as (?P<day>.+)")
    return value


class RawFiles(Section):
    """Where the raw rows of a table are and how they are written. What is not given is detected and logged."""

    default_max_rejected: ClassVar[dict[str, float]] = {}
    rules: ClassVar[tuple[str, ...]] = ()

    path: str
    """File, folder or glob pattern, relative to RECSYS_DATA; s3://, gs://, az:// or https:// address; or a database
    postgresql://HOST/NAME, whose user and password come from PGUSER and PGPASSWORD."""
    format: Literal["auto", "csv", "json", "parquet", "excel", "delta"] = "auto"
    """csv: text with any separator; json: JSON lines or a JSON array; auto: by the suffix and the first bytes."""
    sheet: str | None = None
    """Sheet of a workbook; null: the only sheet."""
    query: str | None = None
    """SQL query of a database."""
    separator: Annotated[str, Field(min_length=1)] | None = None
    """Separator of fields, one or several characters, such as ';', '|', '::' or a tab."""
    header: bool | None = None
    """Whether the first line of a text file is a header. Without one, columns are 1, 2, ... or `names`."""
    names: Annotated[tuple[Column, ...], Field(min_length=1)] | None = None
    """Column names in order, for files without a header."""
    encoding: str | None = None
    """Encoding of text, such as utf-8, utf-16, latin-1 or windows-1252."""
    quote: Annotated[str, Field(max_length=1)] | None = None
    """Quote character; empty: none."""
    escape: Literal["doubled", "backslash"] | None = None
    """How a quote inside a quoted field is written: "" or \\"."""
    decimal: Literal[".", ","] | None = None
    """Decimal separator of numbers."""
    time_format: str = "auto"
    """seconds, milliseconds, microseconds or nanoseconds since 1970; days (of a spreadsheet); iso; date (YYYY-MM-DD);
    compact (YYYYMMDD); or a pattern such as '%d-%m-%Y %H:%M'."""
    missing: dict[str, tuple[str, ...]] = Field(default={})
    """Field -> words that mean a missing value there, such as '0', in addition to the usual ones (null, None, NA, nan,
    -)."""
    fill_down: tuple[Column, ...] = ()
    """Raw columns whose blank cells take the value of the cell above in the same file, as in orders where only the
    first line names the customer."""
    file_name: str | None = None
    """Regular expression on a file's path; its named groups become columns, such as '(?P<day>[0-9-]+)[.]csv'."""
    keep_rows: tuple[Annotated[RowFilter, BeforeValidator(_parse_filter), WithJsonSchema({"type": "string"})], ...] = ()
    """Conditions that a row must meet, such as 'status != refunded'; other rows are skipped and counted."""
    unfold: Unfold | None = None
    """A column whose cells contain several events."""
    max_unpacked_gb: Annotated[float, Field(gt=0)] = 1.0
    """Size in GB that a compressed file, a workbook or a Parquet file may unpack to at any ratio; one that unpacks to
    more is refused if that is also more than 200 times its stored size."""
    keep: Literal["first", "last"] = "first"
    """Which of several rows with the same key and different fields is kept; the key is an item's id, or the user, item,
    event kind and time."""
    max_rejected: dict[str, Share] = Field(default={})
    """Rule -> maximum share of rows that may break it; `total`: of all rules that are not listed, instead of
    `dataset.max_rejected_share`. A number is the total."""

    @field_validator("time_format")
    @classmethod
    def _time_format_is_known(cls, value: str) -> str:
        known = ("auto", *TIME_FORMATS)
        if value not in known and "%" not in value:
            raise ValueError(f"'{value}' is neither one of {', '.join(known)} nor a pattern such as '%d-%m-%Y'")
        return value

    @field_validator("file_name")
    @classmethod
    def _file_name_has_groups(cls, value: str | None) -> str | None:
        return value if value is None else _check_pattern(value)

    @field_validator("max_rejected", mode="before")
    @classmethod
    def _number_is_the_total(cls, value: Any) -> Any:
        return {TOTAL: value} if isinstance(value, int | float) and not isinstance(value, bool) else value

    @field_validator("max_rejected")
    @classmethod
    def _rules_are_known(cls, value: dict[str, float]) -> dict[str, float]:
        unknown = sorted(set(value) - {TOTAL, *cls.rules})
        if unknown and cls.rules:
            raise ValueError(f"no rule '{unknown[0]}'; expected {TOTAL}, {', '.join(cls.rules)}")
        return value

    @model_validator(mode="after")
    def _form_is_consistent(self) -> Self:
        if self.names and self.header:
            raise ValueError("header: true and names are both set; names are for files without a header")
        is_database = self.path.startswith(DATABASE_SCHEMES)
        if is_database != (self.query is not None):
            raise ValueError("query is required for a database and not allowed otherwise")
        return self

    def rejected_limit(self, rule: str, share: float) -> float | None:
        """Return the limit of a rule, as a share of the rows read; None: it counts towards `total`.

        The limits that a rule has by default are never below the total.

        Args:
            rule: name of the rule, or `total`.
            share: the total where the table sets none.
        """
        total = self.max_rejected.get(TOTAL, share)
        if rule == TOTAL:
            return total
        if rule in self.max_rejected or rule not in self.default_max_rejected:
            return self.max_rejected.get(rule)
        return max(self.default_max_rejected[rule], total)


TIME_FORMATS = ("seconds", "milliseconds", "microseconds", "nanoseconds", "days", "iso", "date", "compact")
DATABASE_SCHEMES = ("postgresql://", "postgres://")
