"""Words that stand for a missing value."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

# What pandas writes.
BLANK = ("", "nan", "NaN", "<NA>")
# What pandas, SQL, JSON, R, spreadsheets and Google Analytics write where an id, a time or a number is missing.
MISSING = (
    *BLANK,
    *("null", "NULL", "Null", "None", "none", "NONE", "\\N", "(null)", "NAN", "NaT"),
    *("NA", "N/A", "n/a", "#N/A", "(not set)", "-", "--"),
)


def drop_missing(values: pl.Series, words: Sequence[str] = (), usual: Sequence[str] = MISSING) -> pl.Series:
    """Return text without outer white space; null where it is missing.

    Args:
        values: of any type that reads as text.
        words: that mean a missing value, beside the usual ones.
        usual: the usual ones.
    """
    texts = values.cast(pl.String).str.strip_chars()
    missing = texts.is_in([*usual, *words])
    return texts.set(missing, None) if missing.any() else texts
