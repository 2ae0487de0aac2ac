"""A quick look at raw data before ingest: the heads of all files, judged by the same rules."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl

from recsys.config import DatasetConfig
from recsys.config.raw_files import Column, RawFiles
from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.ingestion.interactions import InteractionReader
from recsys.dataset.ingestion.items import ItemReader
from recsys.dataset.ingestion.judgement import Judge
from recsys.dataset.ingestion.vectors import check_vectors, name_place, read_vector_files
from recsys.dataset.raw.batches import RawBatch
from recsys.dataset.raw.reading import read_batches
from recsys.errors import DataError
from recsys.progress import format_count
from recsys.storage.spilled_frames import SpilledFrames

# Rows of each file that are looked at, and seconds for the files of a table.
_HEAD_ROWS, _SECONDS = 1000, 2.0
# What is checked of interactions: name -> what the rules of its rows end with.
_CHECKS = {
    "users and items": ("user_id", "item_id", "_item"),
    "times": ("_time", "_order"),
    "event kinds": ("_event",),
    "values": ("_value", "_position"),
}


@dataclass(frozen=True)
class Look:
    """What a look at raw data found.

    Attributes:
        name: what was looked at.
        good: whether ingest would accept it.
        found: what was found, or what is wrong and what to do.
    """

    name: str
    good: bool
    found: str


def look_at_raw_data(config: DatasetConfig, now: datetime) -> list[Look]:
    """Look at the heads of all raw files: whether they can be read, have the columns and follow the rules of ingest.

    Args:
        config: raw files and the meaning of their columns.
        now: aware instant; events later than a day after it are bad.
    """
    with TemporaryDirectory() as scratch:
        folder = Path(scratch)
        items = [*_look_at_items(config, now, folder), *_look_at_vectors(config)]
        return [*items, *_look_at_interactions(config, now, folder)]


def _look_at_items(config: DatasetConfig, now: datetime, folder: Path) -> list[Look]:
    reader = ItemReader(config, now, SpilledFrames(folder, "items"))
    heads = _Heads("items", config.items, reader.columns)
    try:
        for batch in heads:
            reader.add(batch)
    except DataError as error:
        return [Look("raw items", False, str(error))]
    rows = _look_at_rules("item rows", reader.judge, reader.judge.rejected)
    try:
        reader.created.check()
    except DataError as error:
        rows = Look("item rows", False, str(error))
    return [Look("raw items", True, heads.describe()), rows]


def _look_at_vectors(config: DatasetConfig) -> Iterator[Look]:
    """Yield a look at the vectors of each name that has files of its own; others are in the files of the items."""
    for name, settings in config.items.vectors.items():
        if settings.path is None:
            continue
        try:
            rows = check_vectors(name_place(name), pl.concat(read_vector_files(name, settings, _HEAD_ROWS)))
        except DataError as error:
            yield Look(f"vectors {name}", False, str(error))
        else:
            length = format_count(len(rows["vector"][0]), "number")
            yield Look(f"vectors {name}", True, f"{format_count(rows.height, 'vector')} of {length} checked")


def _look_at_interactions(config: DatasetConfig, now: datetime, folder: Path) -> list[Look]:
    ids, complete = _read_item_ids(config)
    reader = InteractionReader(config, ids, now, SpilledFrames(folder, "interactions"))
    heads = _Heads("interactions", config.interactions, reader.columns)
    try:
        for batch in heads:
            reader.read(batch)
    except DataError as error:
        return [Look("raw interactions", False, str(error))]
    looks = [Look("raw interactions", True, heads.describe())]
    for name, endings in _CHECKS.items():
        rules = {rule: count for rule, count in reader.judge.rejected.items() if rule.endswith(endings)}
        if not complete:
            # The catalogue is too large to say which items it lacks.
            rules.pop("unknown_item", None)
        looks.append(_look_at_rules(name, reader.judge, rules))
    try:
        reader.time.check()
    except DataError as error:
        looks = [Look(look.name, False, str(error)) if look.name == "times" else look for look in looks]
    return looks


def _look_at_rules(name: str, judge: Judge, rules: Mapping[str, int]) -> Look:
    if not rules:
        return Look(name, True, f"good in {format_count(judge.read, 'row')} checked")
    share = sum(rules.values()) / judge.read
    found = f"{share:.1%} of {format_count(judge.read, 'row')} checked break a rule: {judge.explain(list(rules))}"
    return Look(name, not judge.exceeds(rules), found)


class _Heads:
    """The first rows of each file of a table, as long as time is left."""

    def __init__(self, what: str, files: RawFiles, columns: Mapping[str, Column | tuple[Column, ...]]) -> None:
        self._batches = read_batches(what, files, columns, limit=_HEAD_ROWS)
        self._names: dict[str, None] = {}
        self._rows = 0

    def __iter__(self) -> Iterator[RawBatch]:
        end = time.monotonic() + _SECONDS
        for batch in self._batches:
            self._names[batch.file] = None
            self._rows += batch.values.height
            yield batch
            if time.monotonic() > end:
                return

    def describe(self) -> str:
        files, rows = format_count(len(self._names), "file"), format_count(self._rows, "row")
        return f"{files}, such as {next(iter(self._names), 'none')}; {rows} checked"


def _read_item_ids(config: DatasetConfig) -> tuple[pl.Series, bool]:
    """Return the ids of the catalogue, sorted, and whether these are all."""
    files, parts = config.items, [pl.Series(dtype=pl.String)]
    end = time.monotonic() + _SECONDS
    try:
        for batch in read_batches("items", files, {"item_id": files.columns.item_id}):
            parts.append(clean_ids(batch.values["item_id"], files.missing.get("item_id", ())).drop_nulls())
            if time.monotonic() > end:
                return pl.concat(parts).unique().sort(), False
    except DataError:
        # Said of the items.
        return pl.concat(parts).unique().sort(), False
    return pl.concat(parts).unique().sort(), True
