"""The text of an item: some of its columns, bare or inside phrases, joined in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import polars as pl

from recsys.config.text import read_field
from recsys.dataset.histories import find_known

# More characters than one token has in any language.
_CHARACTERS_PER_TOKEN = 40


@dataclass(frozen=True)
class ItemTexts:
    """The texts of one catalogue, made once and passed on to everything that reads them.

    Attributes:
        texts: (n_items) String, in the order of the items.
        fields: what the texts are made of.
    """

    texts: pl.Series
    fields: tuple[str, ...]
    _items: pl.DataFrame

    @classmethod
    def from_items(cls, items: pl.DataFrame, fields: Sequence[str]) -> ItemTexts:
        """Make the texts.

        Args:
            items: `Items`, with an attribute column for each attribute among the fields.
            fields: as in `make_texts`.
        """
        columns = dict.fromkeys(["created_at", *name_columns(fields)])
        return cls(make_texts(items, fields), tuple(fields), items.select(list(columns)))

    def __len__(self) -> int:
        """Return the number of items."""
        return len(self.texts)

    @cached_property
    def hashes(self) -> pl.Series:
        """(n_items) String: the hash of each text, under which its embedding is cached."""
        return hash_texts(self.texts)

    def known_at(self, cutoff: datetime | None) -> pl.Series:
        """Return (n_items) Boolean: the item was in the catalogue at the cutoff; always, without a cutoff."""
        return find_known(self._items, cutoff)

    def as_of(self, cutoff: datetime | None) -> pl.Series:
        """Return (n_items) texts as of the cutoff; items that were added later have the empty text."""
        return self.texts.zip_with(self.known_at(cutoff), pl.Series([""]))

    def split_by_field(self) -> list[tuple[str, ...]]:
        """Return for each item what each field contributes to its text; an empty field contributes ""."""
        columns = (make_texts(self._items, [field]).to_list() for field in self.fields)
        return list(zip(*columns, strict=True))


def make_texts(items: pl.DataFrame, fields: Sequence[str]) -> pl.Series:
    """Return one text per item, in the order of `items`; empty fields are skipped.

    Args:
        items: `Items`, with an attribute column for each attribute among the fields.
        fields: column names, or phrases around columns such as `by {author}`, which are skipped if one of their
            columns is empty. A list column (tags) becomes a comma-separated text. Braces in values are kept.

    Returns:
        (n_items) strings such as `The Long Watch. space, war. A crew drifts …`.
    """
    field_texts = []
    for field in fields:
        literals, columns = read_field(field)
        pieces = [pl.lit(literals[0])]
        for column, literal in zip(columns, literals[1:], strict=True):
            pieces += [_column_text(items, column), pl.lit(literal)]
        field_texts.append(_trim(pl.concat_str(pieces)))
    return items.select(pl.concat_str(field_texts, separator=". ", ignore_nulls=True).alias("text"))["text"]


def name_columns(fields: Sequence[str]) -> list[str]:
    """Return the columns that the fields use, each once, in order."""
    return list(dict.fromkeys(column for field in fields for column in read_field(field)[1]))


def hash_texts(texts: pl.Series) -> pl.Series:
    """Return the SHA-256 of each text, hexadecimal."""
    return pl.Series("text_hash", [hashlib.sha256(text.encode()).hexdigest() for text in texts], dtype=pl.String)


def clean_text(text: str, max_tokens: int) -> str:
    """Return a text that every tokenizer accepts: no NULs, valid Unicode, and cut to the length that can matter."""
    return text[: max_tokens * _CHARACTERS_PER_TOKEN].replace("\0", " ").encode(errors="replace").decode()


def _column_text(items: pl.DataFrame, name: str) -> pl.Expr:
    """Return the values of a column as text, null for empty ones."""
    column = pl.col(name)
    return _trim(column.list.join(", ") if isinstance(items.schema[name], pl.List) else column)


def _trim(text: pl.Expr) -> pl.Expr:
    """Return a text without surrounding blanks and trailing full stops, null if nothing is left."""
    text = text.str.strip_chars().str.replace(r"[\s.]+$", "")
    return pl.when(text != "").then(text)
