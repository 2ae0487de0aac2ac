"""The text of an item: its chosen columns, joined in order."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import polars as pl


def make_texts(items: pl.DataFrame, fields: Sequence[str]) -> pl.Series:
    """Return one text per item, in the order of `items`; empty fields leave no trace.

    Args:
        items: `Items`, with an attribute column for each attribute among the fields.
        fields: column names; a list column (tags) becomes a comma-separated text.

    Returns:
        (n_items) strings such as `The Long Watch. space, war. A crew drifts …`.
    """
    parts = []
    for field in fields:
        column = pl.col(field)
        if isinstance(items.schema[field], pl.List):
            column = column.list.join(", ")
        column = column.str.strip_chars().str.replace(r"[\s.]+$", "")
        parts.append(pl.when(column != "").then(column))
    return items.select(pl.concat_str(parts, separator=". ", ignore_nulls=True).alias("text"))["text"]


def hash_texts(texts: pl.Series) -> pl.Series:
    """Return the SHA-256 of each text, hexadecimal: the key under which its embedding is cached."""
    return pl.Series("text_hash", [hashlib.sha256(text.encode()).hexdigest() for text in texts], dtype=pl.String)
