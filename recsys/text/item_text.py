"""The text of an item: its chosen columns, bare or within phrases, joined in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl

from recsys.config.text import read_field


def make_texts(items: pl.DataFrame, fields: Sequence[str]) -> pl.Series:
    """Return one text per item, in the order of `items`; empty fields leave no trace.

    Args:
        items: `Items`, with an attribute column for each attribute among the fields.
        fields: column names, or phrases around columns such as `by {author}`, which are left out where a column of
            them is empty; a list column (tags) becomes a comma-separated text. Braces in a value are only letters.

    Returns:
        (n_items) strings such as `The Long Watch. space, war. A crew drifts …`.
    """
    parts = []
    for field in fields:
        words, columns = read_field(field)
        pieces = [pl.lit(words[0])]
        for column, after in zip(columns, words[1:], strict=True):
            pieces += [_read_column(items, column), pl.lit(after)]
        parts.append(_trim(pl.concat_str(pieces)))
    return items.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).alias("text"))["text"]


def name_columns(fields: Sequence[str]) -> list[str]:
    """Return the columns that the fields read, each once, in order."""
    return list(dict.fromkeys(column for field in fields for column in read_field(field)[1]))


def _read_column(items: pl.DataFrame, name: str) -> pl.Expr:
    """The values of a column as text; null where one is empty."""
    column = pl.col(name)
    return _trim(column.list.join(", ") if isinstance(items.schema[name], pl.List) else column)


def _trim(text: pl.Expr) -> pl.Expr:
    """Text without blanks around it or full stops after it; null where nothing is left."""
    text = text.str.strip_chars().str.replace(r"[\s.]+$", "")
    return pl.when(text != "").then(text)


def hash_texts(texts: pl.Series) -> pl.Series:
    """Return the SHA-256 of each text, hexadecimal: the key under which its embedding is cached."""
    return pl.Series("text_hash", [hashlib.sha256(text.encode()).hexdigest() for text in texts], dtype=pl.String)


# More than any writing needs for one token.
_CHARACTERS_PER_TOKEN = 40


def clean_text(text: str, max_tokens: int) -> str:
    """Return what a tokenizer can take of a text: no NULs, no half characters, nothing of a text of megabytes."""
    return text[: max_tokens * _CHARACTERS_PER_TOKEN].replace("\0", " ").encode(errors="replace").decode()
