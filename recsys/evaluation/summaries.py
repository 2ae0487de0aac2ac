"""Answers in words, made from the tables: what notebooks end with, so that they stay true when the data changes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from recsys.evaluation.comparison import DIFFERENCE, MEAN, format_interval, format_p_value


def select_row(table: pl.DataFrame, **values: Any) -> dict[str, Any]:
    """Return the one row of a table that has these values, such as `model="als", metric="ndcg", n=10`."""
    return table.row(
        by_predicate=pl.all_horizontal(pl.col(name) == value for name, value in values.items()), named=True
    )


def format_mean(row: Mapping[str, Any], form: str = ".4f") -> str:
    """Write a row's mean with its interval, as `0.149 [0.135, 0.163]`."""
    return format_interval(dict(row), MEAN, form)


def format_difference(row: Mapping[str, Any], form: str = "+.4f") -> str:
    """Write a row's difference with its interval, how likely chance alone is, and on how many users that is."""
    return f"{format_interval(dict(row), DIFFERENCE, form)} {format_p_value(row['p_value'])} on {row['users']:,} users"


def describe_verdict(row: Mapping[str, Any]) -> str:
    """Return what a row's interval allows to say of the first model: `ahead of`, `behind` or `not told apart from`."""
    if row["difference_low"] > 0:
        return "ahead of"
    return "behind" if row["difference_high"] < 0 else "not told apart from"


def describe_segments(segments: pl.DataFrame, metric: str, first: str, second: str) -> str:
    """Say in which segments of enough users the first model is ahead of the second, behind, or neither.

    Args:
        segments: a `SegmentTable` whose differences are the first model minus the others.
        metric: a metric of the table.
        first: the model in question.
        second: the model it is held against.
    """
    rows = segments.filter(pl.col("metric") == metric, pl.col("model") == second, "enough")
    parts: dict[str, list[dict[str, Any]]] = {"ahead of": [], "behind": [], "not told apart from": []}
    for row in rows.sort("difference", maintain_order=True).iter_rows(named=True):
        parts[describe_verdict(row)].append(row)
    if rows.is_empty():
        return "no segment has enough users to say anything"
    told = [f"{first} is ahead of {second} in {len(parts['ahead of'])} of {rows.height} segments of enough users"]
    for verdict in ("behind", "not told apart from"):
        if parts[verdict]:
            named = [
                f"{row['dimension']}: {row['segment']} {format_interval(row, DIFFERENCE, '+.3f')}"
                for row in parts[verdict]
            ]
            told.append(f"{verdict.removesuffix(' from')} in {format_names(named)}")
    return "; ".join(told)


def format_names(names: Sequence[str], at_most: int = 5) -> str:
    """Join names with commas; beyond so many, only say how many more there are."""
    more = len(names) - at_most
    return ", ".join(names[:at_most]) + (f" and {more} more" if more > 0 else "")
