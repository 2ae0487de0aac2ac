"""CSV that a spreadsheet can open: no cell of it is taken for a formula."""

from __future__ import annotations

from pathlib import Path

import polars as pl

# What spreadsheets take for the start of a formula, also as full-width characters.
_FORMULA = "[=+\\-@\t\r\uff1d\uff0b\uff0d\uff20]"
# Apostrophes in front count too, so that the one that is added can be taken away again.
_DANGEROUS = f"^'*{_FORMULA}"
_NUMBER = r"^[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?$"


def guard_formulas(texts: pl.Expr) -> pl.Expr:
    """Return texts with an apostrophe in front of those that a spreadsheet would take for a formula.

    Numbers such as -5 stay. To get the text back, take one apostrophe away from a cell that starts with apostrophes
    followed by `=`, `+`, `-`, `@`, a tab or a carriage return.
    """
    is_formula = texts.str.contains(_DANGEROUS) & ~texts.str.contains(_NUMBER)
    return pl.when(is_formula).then(pl.lit("'") + texts).otherwise(texts)


def sink_csv(rows: pl.LazyFrame, path: Path) -> None:
    """Write rows as CSV with a header; texts are guarded, and quoted where they hold a separator or a line break."""
    texts = [name for name, dtype in rows.collect_schema().items() if dtype == pl.String]
    rows.with_columns(guard_formulas(pl.col(name)).alias(name) for name in texts).sink_csv(path)
