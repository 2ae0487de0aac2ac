"""Raw items -> the catalogue and rejected rows, batch by batch.

The rules are checked in this order, and the first that a row breaks is recorded: missing_item_id, unprintable_item_id
(control characters), rounded_item_id (a float that lost digits), list_item_id (a list or an object), item_id_too_long,
empty_text, text_too_long, bad_available, bad_created_at.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import DatasetConfig, ItemFiles
from recsys.config.raw_files import Column
from recsys.dataset.cleaning.ids import (
    clean_attributes,
    clean_ids,
    has_control_characters,
    is_list,
    is_rounded,
    is_too_long,
)
from recsys.dataset.cleaning.lists import join_lists, split_tags
from recsys.dataset.cleaning.missing import drop_missing
from recsys.dataset.cleaning.numbers import parse_flags
from recsys.dataset.cleaning.text import to_plain_text
from recsys.dataset.ingestion.advice import ADVICE_ON_MISSING, advise_on_lists, advise_on_times
from recsys.dataset.ingestion.column_forms import TimeColumn
from recsys.dataset.ingestion.judgement import Judge, TableCounts
from recsys.dataset.ingestion.read_ahead import read_ahead
from recsys.dataset.ingestion.vectors import as_numbers, name_place
from recsys.dataset.item_vectors import PREFIX
from recsys.dataset.raw.batches import RawBatch
from recsys.dataset.raw.reading import read_batches
from recsys.errors import DataError
from recsys.storage.spilled_frames import SpilledFrames
from recsys.tables import Items

_FIELDS = {
    **dict.fromkeys(("unprintable_item_id", "rounded_item_id", "list_item_id", "item_id_too_long"), "item_id"),
    "bad_available": "available",
    "bad_created_at": "created_at",
}


def read_items(config: DatasetConfig, now: datetime, rejected: SpilledFrames) -> tuple[pl.DataFrame, TableCounts]:
    """Read and judge all raw items.

    Args:
        config: their files and what their columns mean. Times without a zone are in the zone of the interactions.
        now: aware instant, for the check of times.
        rejected: where bad rows go.

    Returns:
        `Items`, then the attributes in the order of the config, as text, empty where missing, and the raw vectors that
        the files of the items hold; and the counts.

    Raises:
        DataError: files cannot be read, or too many rows break a rule.
    """
    reader = ItemReader(config, now, rejected)
    for batch in read_ahead(read_batches("items", config.items, reader.columns)):
        reader.add(batch)
    reader.created.check()
    reader.judge.check()
    return reader.items, reader.counts


class ItemReader:
    """Gathers the catalogue from batches of raw items.

    Args:
        config: files of the items, and the zone of times.
        now: aware instant, for the check of times.
        rejected: where bad rows go.
    """

    def __init__(self, config: DatasetConfig, now: datetime, rejected: SpilledFrames) -> None:
        files = config.items
        self._files, self._longest = files, config.max_text_characters
        self.columns = {field: name for field, name in dict(files.columns).items() if name is not None}
        self.columns |= files.attributes
        # Vectors with a path of their own are read apart.
        self._vectors = {PREFIX + name: own.column for name, own in files.vectors.items() if own.path is None}
        self.columns |= self._vectors
        self.created = TimeColumn("items", "created_at", files, config.interactions.time_zone, now)
        self.judge = Judge("items", files, config.max_rejected_share, _FIELDS, self._advise, rejected)
        self._catalogue = _Catalogue(files.keep)

    def add(self, batch: RawBatch) -> None:
        """Add the good rows of a batch, and set the others aside."""
        _check_single(batch.values, self.columns)
        parsed = _parse(self._files, batch, self.created)
        attributes = [
            _read_attribute(batch.values[name], self._files.missing.get(name, ())).alias(name)
            for name in self._files.attributes
        ]
        vectors = [
            as_numbers(name_place(field.removeprefix(PREFIX)), name, batch.values[field]).alias(field)
            for field, name in self._vectors.items()
        ]
        good = self.judge.judge(batch, _find_broken(parsed, attributes, self._longest))
        rows = parsed.select(Items.column_names()).with_columns(*attributes, *vectors)
        self._catalogue.add(rows.filter(pl.Series(good)))

    @property
    def items(self) -> pl.DataFrame:
        """`Items` and the attributes."""
        return self._catalogue.items.sort("item_id")

    @property
    def counts(self) -> TableCounts:
        """What became of the rows."""
        judge, catalogue = self.judge, self._catalogue
        kept = catalogue.items.height
        return TableCounts(*(judge.read, kept, judge.rejected, catalogue.repeats, catalogue.differing, judge.skipped))

    def _advise(self, rule: str, values: pl.Series) -> str:
        if rule == "missing_item_id":
            return ADVICE_ON_MISSING
        if rule == "list_item_id":
            return advise_on_lists(values, "items", "item_id", self._files.columns.item_id)
        if rule == "bad_created_at":
            return advise_on_times(values, self.created)
        if rule == "text_too_long":
            return f"dataset.max_text_characters allows {self._longest:,}"
        return "expected true or false" if rule == "bad_available" else ""


class _Catalogue:
    """Items with distinct ids: rows with the id of another row are folded into it and counted."""

    def __init__(self, keep: str) -> None:
        self._keep = keep
        self._rows: pl.DataFrame | None = None
        self.repeats = self.differing = 0

    def add(self, rows: pl.DataFrame) -> None:
        fields = rows.select(pl.exclude("item_id", "tags", f"^{PREFIX}.*$"), pl.col("tags").list.join("\x1f"))
        rows = rows.with_columns(fields.hash_rows(seed=0).alias("\n"))
        rows = rows if self._rows is None else pl.concat([self._rows, rows])
        first = pl.col("item_id").is_first_distinct() if self._keep == "first" else pl.col("item_id").is_last_distinct()
        kept = rows.filter(first)
        if kept.height < rows.height:
            folded = rows.filter(~first).select("item_id", "\n")
            compared = folded.join(kept.select("item_id", kept="\n"), on="item_id")
            differing = compared.filter(pl.col("\n") != pl.col("kept")).height
            self.differing += differing
            self.repeats += folded.height - differing
        self._rows = kept

    @property
    def items(self) -> pl.DataFrame:
        if self._rows is None:
            raise DataError("items: no rows of data; check the export")
        return self._rows.drop("\n")


def _parse(files: ItemFiles, batch: RawBatch, created: TimeColumn) -> pl.DataFrame:
    values = batch.values
    nothing = pl.repeat(None, values.height, dtype=pl.String, eager=True)

    def column(field: str) -> pl.Series:
        return values[field] if field in values.columns else nothing

    times, blank = created.read(column("created_at"))
    return pl.DataFrame(
        {
            "item_id": clean_ids(values["item_id"], files.missing.get("item_id", ())),
            **{field: _read_text(column(field), files.missing.get(field, ())) for field in ("title", "description")},
            "tags": split_tags(_without_words(column("tags"), files.missing.get("tags", ())), files.tags_separator),
            "available": parse_flags(column("available"), files.missing.get("available", ())),
            "created_at": times,
            "created_blank": blank,
        }
    )


def _find_broken(
    parsed: pl.DataFrame, attributes: Sequence[pl.Series], longest: int
) -> Mapping[str, NDArray[np.bool_]]:
    texts = [pl.col("title"), pl.col("description"), pl.col("tags").list.join(","), *map(pl.lit, attributes)]
    rules = {
        "missing_item_id": pl.col("item_id").is_null(),
        "unprintable_item_id": has_control_characters(pl.col("item_id")),
        "rounded_item_id": is_rounded(pl.col("item_id")),
        "list_item_id": is_list(pl.col("item_id")),
        "item_id_too_long": is_too_long(pl.col("item_id")),
        "empty_text": (pl.col("title") == "") & (pl.col("description") == ""),
        "text_too_long": pl.any_horizontal(text.str.len_chars() > longest for text in texts),
        "bad_available": pl.col("available").is_null(),
        "bad_created_at": pl.col("created_at").is_null() & ~pl.col("created_blank"),
    }
    broken = parsed.select(rule.fill_null(False).alias(name) for name, rule in rules.items())
    return {name: broken[name].to_numpy() for name in rules}


def _without_words(values: pl.Series, words: tuple[str, ...]) -> pl.Series:
    """Return values without those that mean a missing one; in texts only the words of the config do."""
    if not words or isinstance(values.dtype, pl.List):
        return values
    return drop_missing(values, words, usual=())


def _read_text(values: pl.Series, words: tuple[str, ...]) -> pl.Series:
    return to_plain_text(join_lists(_without_words(values, words)))


def _read_attribute(values: pl.Series, words: tuple[str, ...]) -> pl.Series:
    return to_plain_text(join_lists(clean_attributes(values, words) if values.dtype == pl.String else values))


def _check_single(values: pl.DataFrame, columns: Mapping[str, Column | tuple[Column, ...]]) -> None:
    """Raise if a column holds lists, except for the fields that may."""
    for field in ("item_id", "available", "created_at"):
        if field in columns and isinstance(values.schema[field], pl.List):
            raise DataError(
                f"items: column '{columns[field]}' contains lists, expected a single value per row for {field}; name "
                "another column in dataset.items.columns"
            )
