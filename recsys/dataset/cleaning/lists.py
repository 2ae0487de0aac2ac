"""Lists in raw cells: tags, and the members of a list as one text."""

from __future__ import annotations

import ast
import json

import polars as pl

from recsys.dataset.cleaning.text import change_where, decode_entities, to_plain_text

_LIST = r"(?s)^\s*\[.*\]\s*$"
_MARK = "\x1f"


def join_lists(values: pl.Series) -> pl.Series:
    """Return a text per value: times as ISO text, the members of a list (also of a JSON list) joined by commas."""
    if isinstance(values.dtype, pl.List):
        return values.list.drop_nulls().list.join(", ")
    texts = values.cast(pl.String)
    return _read_lists(texts).str.strip_prefix(_MARK).str.replace_all(_MARK, ", ", literal=True)


def split_tags(values: pl.Series, separator: str) -> pl.Series:
    """Return a list of clean, distinct, non-empty tags per value, in order of appearance; null becomes [].

    A value is a list, a list written as JSON or as Python writes it, or text with separators.
    """
    if not isinstance(values.dtype, pl.List):
        texts = decode_entities(_read_lists(values.cast(pl.String)))
        listed = texts.str.starts_with(_MARK)
        values = (
            pl.DataFrame({"text": texts, "listed": listed})
            .select(
                pl.when("listed")
                .then(pl.col("text").str.strip_prefix(_MARK).str.split(_MARK))
                .otherwise(pl.col("text").str.split(separator))
            )
            .to_series()
        )
    rows = pl.DataFrame({"tag": values}).with_row_index("row")
    tags = rows.explode("tag").with_columns(pl.col("tag").map_batches(to_plain_text, return_dtype=pl.String))
    kept = tags.filter(pl.col("tag") != "").unique(["row", "tag"], keep="first", maintain_order=True)
    lists = kept.group_by("row", maintain_order=True).agg("tag")
    joined = rows.select("row").join(lists, on="row", how="left", maintain_order="left")
    return joined["tag"].fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def _read_lists(texts: pl.Series) -> pl.Series:
    """Return texts that are lists as their members, each after a marker character; other texts unchanged."""

    def read(text: str) -> str:
        try:
            members = json.loads(text)
        except (ValueError, RecursionError):
            try:
                members = ast.literal_eval(text.strip())  # a list in a CSV that pandas wrote
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                return text  # such as {{name}}, a set of sets to Python
        if not all(isinstance(member, str | int | float | None) for member in members):
            return text
        return "".join(_MARK + str(member).replace(_MARK, " ") for member in members if member is not None)

    return change_where(
        texts,
        texts.str.contains(_LIST),
        lambda chosen: pl.Series([read(text) for text in chosen], dtype=pl.String),
    )
