"""What the values of a raw column look like."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import polars as pl

from recsys.dataset.cleaning.missing import MISSING
from recsys.dataset.proposal.names import is_id_name, match_name
from recsys.dataset.proposal.times import TimeFormat, guess_time

_NUMBER = r"^[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?$"
_COMMA_NUMBER = r"^[+-]?\d{1,3}(\.\d{3})*,\d+$|^[+-]?\d+,\d+$"
_WHOLE = r"^[+-]?\d+(\.0+)?$"
_LINK = r"(?i)^(https?://|www\.)\S+$|\.(jpe?g|png|gif|webp)$"
_EMAIL = r"^[^@\s]+@[^@\s]+\.[A-Za-z]{2,}$|^[^@\s]+@[^@\s]+\.invalid$"
_PRICE = r"^\s*([$€£¥]|EUR|USD|GBP)\s*-?\d|^\s*-?\d[\d.,]*\s*([$€£¥]|EUR|USD|GBP)\s*$"
_CODE = r"^[0-9a-fA-F]{16,}$|^[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-|^[A-Za-z]{0,4}[-_]?\d[\dA-Za-z_\-]*$|^gid://"
_FLAGS = {"true", "false", "yes", "no", "t", "f", "y", "n", "1", "0", "1.0", "0.0"}
_FEW = 20_000


@dataclass(frozen=True, eq=False)
class Column:
    """A raw column and what its values look like.

    Attributes:
        table: name of its table, for messages.
        name: as in the file, or its position.
        values: String, missing values as null; of a column of lists the JSON text.
        is_list: whether the cells hold lists.
        index: position in the file, 0 the first.
    """

    table: str
    name: str
    values: pl.Series
    is_list: bool = False
    index: int = 0

    @cached_property
    def known(self) -> pl.Series:
        """The values that are not missing."""
        return self.values.drop_nulls()

    @cached_property
    def filled(self) -> float:
        """Share of rows that have a value."""
        return len(self.known) / max(len(self.values), 1)

    @cached_property
    def distinct(self) -> int:
        """Number of different values."""
        return self.known.n_unique()

    @cached_property
    def probe(self) -> pl.Series:
        """Some different values, in order of appearance."""
        return self.known.unique(maintain_order=True).head(_FEW)

    def share(self, pattern: str) -> float:
        """Return the share of different values that match a regular expression."""
        mean = self.probe.str.contains(pattern).mean() if len(self.probe) else 0.0
        return float(mean or 0.0)  # type: ignore[arg-type]

    @cached_property
    def is_number(self) -> bool:
        """Whether every value is a number, perhaps with a decimal comma."""
        return bool(len(self.probe)) and (self.share(_NUMBER) >= 0.995 or self.has_decimal_comma)

    @cached_property
    def has_decimal_comma(self) -> bool:
        """Whether the values are numbers with a decimal comma."""
        return self.share(_COMMA_NUMBER) >= 0.5 and self.share(f"{_COMMA_NUMBER}|{_WHOLE}") >= 0.995

    @cached_property
    def is_whole(self) -> bool:
        """Whether every value is a whole number."""
        return bool(len(self.probe)) and self.share(_WHOLE) >= 0.995

    @cached_property
    def numbers(self) -> pl.Series:
        """The known values as Float64; null where one is no number."""
        texts = self.known
        if self.has_decimal_comma:
            texts = texts.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
        return texts.cast(pl.Float64, strict=False)

    @cached_property
    def is_link(self) -> bool:
        """Whether the values are addresses or names of pictures."""
        return self.share(_LINK) >= 0.8

    @cached_property
    def is_email(self) -> bool:
        """Whether the values are e-mail addresses."""
        return self.share(_EMAIL) >= 0.9

    @cached_property
    def is_price(self) -> bool:
        """Whether the values are amounts of a currency."""
        return self.share(_PRICE) >= 0.8

    @cached_property
    def is_code(self) -> bool:
        """Whether the values are codes: checksums, or letters before digits, without spaces."""
        return self.share(_CODE) >= 0.9

    @cached_property
    def is_flag(self) -> bool:
        """Whether the values are yes and no in some spelling."""
        return 1 <= self.distinct <= 2 and set(self.probe.str.to_lowercase()) <= _FLAGS

    @cached_property
    def is_json(self) -> bool:
        """Whether the values are JSON objects or lists of them."""
        return self.share(r"^\s*(\{.*\}|\[\s*\{.*\}\s*\])\s*$") >= 0.8

    @cached_property
    def length(self) -> float:
        """Mean number of characters of the different values; a Han, kana or Hangul character counts as three."""
        if not len(self.probe):
            return 0.0
        wide = self.probe.str.count_matches(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
        return float((self.probe.str.len_chars() + 2 * wide).mean())  # type: ignore[arg-type]

    @cached_property
    def words(self) -> float:
        """Mean number of words of the different values."""
        if not len(self.probe):
            return 0.0
        wide = self.probe.str.count_matches(r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Hangul}]")
        return float((self.probe.str.count_matches(r"\S+") + wide / 3).mean())  # type: ignore[arg-type]

    @cached_property
    def letters(self) -> float:
        """Share of letters among the characters of the values."""
        sample = self.probe.head(500)
        total = int(sample.str.len_chars().sum())
        return int(sample.str.count_matches(r"\p{L}").sum()) / total if total else 0.0

    @cached_property
    def is_text(self) -> bool:
        """Whether people read the values: names, titles, sentences."""
        return (
            bool(len(self.probe))
            and not (self.is_number or self.is_link or self.is_email or self.is_price or self.is_json or self.is_flag)
            and self.time is None
            and self.letters >= 0.4
            and not self.is_code
        )

    @cached_property
    def time(self) -> TimeFormat | None:
        """How the values are read as times; None if they are none."""
        named = match_name(self.name, "time") > 0 or match_name(self.name, "created") > 0
        is_id = is_id_name(self.name) or max(match_name(self.name, role) for role in ("user", "item")) >= 0.7
        if is_id and not named and self.is_whole:
            # Ids of ten digits are in the range of seconds since 1970.
            return None
        return guess_time(self.values, named=named)

    @property
    def shown(self) -> str:
        """Name, number of different values and how many rows have one, as evidence."""
        rows = "every row" if self.filled == 1 else f"{self.filled:.0%} of the rows"
        if self.filled < 1 and rows.startswith("100%"):
            rows = "nearly every row"
        return f"{self.name}, {self.distinct:,} distinct, {rows}"


def profile_columns(table: str, frame: pl.DataFrame) -> dict[str, Column]:
    """Return the columns of a sample by name."""
    columns = {}
    for index, series in enumerate(frame.get_columns()):
        if series.name.startswith("\0"):
            continue
        is_list = isinstance(series.dtype, pl.List)
        texts = _list_text(series) if is_list else series.cast(pl.String, strict=False)
        texts = texts.str.strip_chars()
        texts = texts.set(texts.is_in(MISSING), None)
        filled = texts.drop_nulls().head(2000)
        is_list = is_list or bool(len(filled) and filled.str.contains(r"^\[.*\]$").all())
        columns[series.name] = Column(table, series.name, texts, is_list, index)
    return columns


def _list_text(series: pl.Series) -> pl.Series:
    quoted = series.list.eval(pl.format('"{}"', pl.element().str.replace_all('"', '\\"', literal=True)))
    return (quoted.list.join(", ").to_frame("l").select(pl.format("[{}]", "l"))).to_series().rename(series.name)
