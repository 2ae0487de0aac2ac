"""Numbers and flags as people and programs write them."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.cleaning.text import change_where

_CURRENCY = r"^(-?)\s*[$€£¥₹]\s*|\s*[$€£¥₹]$"
# 1,234.50 and 1,234,567, but not 1,234, which may have a decimal comma.
_THOUSANDS = r"^-?[0-9]{1,3}(?:,[0-9]{3})+\.[0-9]+$|^-?[0-9]{1,3}(?:,[0-9]{3}){2,}$"
_THOUSANDS_OR_ONE = r"^-?[0-9]{1,3}(?:,[0-9]{3})+(?:\.[0-9]+)?$"
_DECIMAL_COMMA = r"^-?[0-9]{1,3}(?:\.[0-9]{3})*,[0-9]+$|^-?[0-9]+,[0-9]+$"
_COMMA_NUMBER = rf"{_DECIMAL_COMMA}|^-?[0-9]{{1,3}}(?:\.[0-9]{{3}})+$|^-?[0-9]+$"
_EVIDENCE_VALUES = 100_000


def find_decimal(values: pl.Series, words: Sequence[str] = ()) -> str | None:
    """Return "," if the numbers have a decimal comma, else null.

    They have one if every value is a number with a decimal comma or an integer, and some value such as `0,5` cannot be
    read in another way.
    """
    texts = drop_missing(values.head(_EVIDENCE_VALUES), words).drop_nulls()
    commas = texts.filter(texts.str.contains(",", literal=True))
    if not len(commas):
        return None
    commas = commas.str.replace_all(_CURRENCY, "${1}")
    certain = commas.str.contains(_DECIMAL_COMMA) & ~commas.str.contains(_THOUSANDS_OR_ONE)
    rest = texts.str.replace_all(_CURRENCY, "${1}").str.contains(_COMMA_NUMBER)
    return "," if certain.any() and rest.all() else None


def parse_numbers(values: pl.Series, decimal: str | None = None, words: Sequence[str] = ()) -> pl.Series:
    """Return Float64; null where the text is missing or is not a finite number.

    Args:
        values: text; signs of currencies are left out.
        decimal: `,`: decimal comma, points may separate thousands; `.`: decimal point, commas may separate thousands;
            null: decimal point, and only commas that cannot be decimal ones are read, as in `1,234.50`.
        words: that mean a missing value, beside the usual ones.
    """
    texts = drop_missing(values, words)
    numbers = texts.cast(pl.Float64, strict=False)
    if decimal == ",":
        # Every value, because 1.234 is a thousand and not a number below two.
        numbers = change_where(texts, texts.str.contains(r"[,.$€£¥₹]"), _read_commas).cast(pl.Float64, strict=False)
    elif numbers.null_count() > texts.null_count():
        pattern = _THOUSANDS_OR_ONE if decimal == "." else _THOUSANDS
        odd = numbers.is_null() & texts.is_not_null()
        texts = change_where(texts, odd, lambda chosen: _drop_thousands(chosen, pattern))
        numbers = texts.cast(pl.Float64, strict=False)
    return numbers.set(~numbers.is_finite(), None)


def _drop_thousands(texts: pl.Series, pattern: str) -> pl.Series:
    texts = texts.str.replace_all(_CURRENCY, "${1}")
    return change_where(
        texts, texts.str.contains(pattern), lambda chosen: chosen.str.replace_all(",", "", literal=True)
    )


def _read_commas(texts: pl.Series) -> pl.Series:
    texts = texts.str.replace_all(_CURRENCY, "${1}")
    readable = texts.str.contains(_COMMA_NUMBER)
    plain = texts.str.replace_all(".", "", literal=True).str.replace(",", ".", literal=True)
    return plain.set(~readable, None)


def parse_flags(values: pl.Series, words: Sequence[str] = ()) -> pl.Series:
    """Return Boolean from true/false, yes/no, t/f, y/n, 1/0 in any case; a missing value is true, others are null."""
    texts = drop_missing(values, words).str.to_lowercase()
    known = dict.fromkeys(("true", "yes", "t", "y", "1", "1.0"), True)
    known |= dict.fromkeys(("false", "no", "f", "n", "0", "0.0"), False)
    return texts.fill_null("true").replace_strict(known, default=None, return_dtype=pl.Boolean)
