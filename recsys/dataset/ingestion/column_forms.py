"""Columns whose form is set, or detected once by their first values: times and numbers."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta

import polars as pl

from recsys.config.raw_files import RawFiles
from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.cleaning.numbers import find_decimal, parse_numbers
from recsys.dataset.cleaning.time_formats import detect_time_format, span
from recsys.dataset.cleaning.times import UNITS, parse_times
from recsys.errors import DataError
from recsys.progress import format_count

logger = logging.getLogger(__name__)

# Forms of numbers that are tried where the times that were read cannot be right.
_FORMS_OF_NUMBERS = (*UNITS, "days", "compact", "%Y")
_PLAUSIBLE = datetime(1990, 1, 1, tzinfo=UTC)
# Values kept to find the form that would fit.
_EVIDENCE = 1000
# Shares of the times that lie outside the plausible years before they count as wrong, and inside them in a unit that
# counts as right.
_WRONG, _RIGHT = 0.5, 0.95


class NumberColumn:
    """A column of numbers; the decimal separator is set, or detected by the first values that show it.

    Args:
        table: its table, for messages.
        field: the field that it is read for.
        files: settings of the table.
    """

    def __init__(self, table: str, field: str, files: RawFiles) -> None:
        self._table, self._field = table, field
        self._words = files.missing.get(field, ())
        self._decimal = files.decimal

    def read(self, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return Float64, null where there is no number, and whether each value is missing."""
        texts = drop_missing(values, self._words)
        if self._decimal is None and find_decimal(texts) == ",":
            self._decimal = ","
            logger.info("%s: the numbers of %s are read with a decimal comma", self._table, self._field)
        return parse_numbers(texts, self._decimal), texts.is_null()


class TimeColumn:
    """A column of times; the format is set, or detected by the first values and then the same in all files.

    Args:
        table: its table, for messages.
        field: the field that it is read for.
        files: settings of the table.
        time_zone: zone of times without a zone.
        now: later times cannot be right.
    """

    def __init__(self, table: str, field: str, files: RawFiles, time_zone: str, now: datetime) -> None:
        self._table, self._field, self._zone = table, field, time_zone
        self._words = files.missing.get(field, ())
        self._decimal = files.decimal
        self._latest = now.astimezone(UTC) + timedelta(days=1)
        self.format = None if files.time_format == "auto" else files.time_format
        self._numbers: list[pl.Series] = []
        self._read = self._plausible = 0

    def read(self, values: pl.Series) -> tuple[pl.Series, pl.Series]:
        """Return Datetime in UTC, null where there is no time, and whether each value is missing.

        Raises:
            DataError: the format is to be detected, and day and month cannot be told apart.
        """
        if isinstance(values.dtype, pl.Datetime):
            return parse_times(values, "iso", self._zone), values.is_null()
        texts = drop_missing(values, self._words)
        missing = texts.is_null()
        if self.format is None and not missing.all():
            self._detect(texts)
        if self._decimal is None and self.format in (*UNITS, "days") and find_decimal(texts) == ",":
            self._decimal = ","
        times = parse_times(texts, self.format or "iso", self._zone, self._decimal)
        if self.format in (*UNITS, "days"):
            self._read += len(times) - times.null_count()
            self._plausible += int(times.is_between(_PLAUSIBLE, self._latest).sum())
            if sum(map(len, self._numbers)) < _EVIDENCE:
                self._numbers.append(texts.drop_nulls().unique(maintain_order=True).head(_EVIDENCE))
        return times, missing

    def _detect(self, texts: pl.Series) -> None:
        guess = detect_time_format(texts)
        if guess.ambiguous:
            example = texts.drop_nulls()[0]
            readings = " or ".join(
                f"'{name}' ({span(pl.Series([example]), name).split()[0]})" for name in guess.ambiguous
            )
            raise DataError(
                f"{self._table}: {self._field} such as '{example}' is ambiguous, and no value decides; set "
                f"dataset.{self._table}.time_format to {readings}"
            )
        self.format = guess.format or "iso"
        # Plain ISO times go without saying.
        level = logging.DEBUG if self.format == "iso" else logging.INFO
        logger.log(
            level, "%s: %s is read with time_format %s; %s", self._table, self._field, self.format, guess.evidence
        )

    def check(self) -> None:
        """Stop if most times are in a unit that cannot be right, such as a year of events in a few hours of 1970.

        Raises:
            DataError: most times are before 1990 or in the future, and another form puts them where they can be right.
        """
        wrong = self._read - self._plausible
        if not self._read or wrong <= _WRONG * self._read:
            return
        values = pl.concat(self._numbers)
        first = parse_times(values, str(self.format), self._zone, self._decimal).drop_nulls().dt.to_string("%B %Y")[0]
        fitting = self.fitting_unit(values)
        if fitting is not None:
            raise DataError(
                f"{self._table}: {wrong:,} of {format_count(self._read, 'value')} of {self._field} are implausible if "
                f"read as {self.format}: {values[0]} is in {first}; read as {fitting}, they are from "
                f"{span(values, fitting)}; set dataset.{self._table}.time_format to '{fitting}'"
            )
        logger.warning(
            "%s: %d of %d values of %s, read as %s, are before 1990 or in the future, such as %s in %s",
            *(self._table, wrong, self._read, self._field, self.format, values[0], first),
        )

    def fitting_unit(self, values: pl.Series) -> str | None:
        """Return the form of numbers that puts nearly all values into the years from 1990 until now, if one does."""
        texts = drop_missing(values, self._words).drop_nulls()
        for unit in _FORMS_OF_NUMBERS:
            times = parse_times(texts, unit, self._zone, self._decimal)
            if unit != self.format and int(times.is_between(_PLAUSIBLE, self._latest).sum()) >= _RIGHT * max(
                1, len(texts)
            ):
                return unit
        return None
