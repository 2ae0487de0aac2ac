"""Ids: one spelling for each id, wherever it is read."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from recsys.dataset.cleaning.missing import BLANK, MISSING, drop_missing
from recsys.dataset.cleaning.text import change_where

# Databases and file names stop at lengths like this one; an id that is longer is a text in the wrong column.
_LONGEST = 1_000
# From 2^53 on, neighbouring integers are the same float.
_LARGEST_EXACT = str(2**53 - 1)
# The way pandas and other tools write floats from 10^16 on, such as 1.2345678901234568e+18: digits are lost.
_ROUNDED_NUMBER = r"^-?(?:[0-9](?:\.[0-9]+)?[eE]\+(?:1[6-9]|[2-9][0-9]|[0-9]{3})|[0-9]{16,}\.0+)$"


def _exact_integers() -> str:
    """Return the pattern of integers from 0 to 2^53 - 1."""
    digits = _LARGEST_EXACT
    places = [(place, int(digit)) for place, digit in enumerate(digits) if digit > "0"]
    smaller = [f"{digits[:place]}[0-{digit - 1}][0-9]{{{len(digits) - place - 1}}}" for place, digit in places]
    return "|".join((f"[0-9]{{1,{len(digits) - 1}}}", *smaller, digits))


# Lists start with a text, a number or another list, objects with a key; both may be empty.
_LIST_OR_OBJECT = r"""(?s)^(?:\[\s*(?:["'\[{].*|-?[0-9][0-9.eE+-]*\s*(?:,.*)?)?\]|\{\s*(?:["'].*)?\})$"""
# A formula that keeps a spreadsheet from reading an id as a number: ="0439023483".
_TEXT_FORMULA = r'^="([^"]*)"$'
_WHOLE_NUMBER = rf"^(-?(?:{_exact_integers()}))\.0+$"


def clean_ids(values: pl.Series, words: Sequence[str] = ()) -> pl.Series:
    """Return ids as text without outer white space; null where there is none.

    `12.0`, `12.00` and `12` are the same id, `12`: pandas writes an integer column with gaps as floats. Leading zeros
    stay. `="0439"`, the way some exports keep spreadsheets from dropping them, is `0439`. The usual words for a missing
    value (null, None, NA, nan, -) are null. Every list of ids is cleaned by this function, so an id is spelt alike in
    raw files, block lists and requests.

    Args:
        values: raw ids.
        words: that mean a missing id, beside the usual ones.
    """
    texts = values.cast(pl.String).str.strip_chars()
    texts = change_where(texts, texts.str.starts_with('="'), lambda chosen: chosen.str.replace(_TEXT_FORMULA, "${1}"))
    return _drop_decimals(drop_missing(texts, words, MISSING))


def clean_attributes(values: pl.Series, words: Sequence[str] = ()) -> pl.Series:
    """Return texts without outer white space, whole numbers without decimals: a year with gaps is a float in pandas.

    Words such as None and NA stay: they may be names.
    """
    return _drop_decimals(drop_missing(values, words, BLANK))


def _drop_decimals(texts: pl.Series) -> pl.Series:
    return change_where(texts, texts.str.contains(_WHOLE_NUMBER), lambda chosen: chosen.str.replace(r"\.0+$", ""))


def has_control_characters(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it holds a control character, such as a line break or NUL."""
    return ids.str.contains(r"\p{Cc}")


def is_too_long(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it has more than 1,000 characters."""
    return ids.str.len_chars() > _LONGEST


def is_list(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it is a list or an object, as JSON and Python write them.

    Text in brackets or braces that is no list, such as `[REC]` or a GUID in braces, is an id.
    """
    return ids.str.contains(_LIST_OR_OBJECT)


def is_rounded(ids: pl.Expr) -> pl.Expr:
    """Return for each clean id whether it is a float that has lost digits, so that other ids may be spelt alike."""
    return ids.str.contains(_ROUNDED_NUMBER)
