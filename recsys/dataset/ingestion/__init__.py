"""Raw files -> Items, Interactions and the rejected rows, each with the rule it broke.

`items` and `interactions` list the rules in the order in which they are checked. Interactions are read batch by batch
and sorted on disk, so memory follows the number of users and items, not that of the events.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from recsys.config import DatasetConfig
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.ingestion.event_blocks import EventCounts, make_blocks
from recsys.dataset.ingestion.interactions import read_interactions
from recsys.dataset.ingestion.items import read_items
from recsys.dataset.ingestion.judgement import Judge, TableCounts
from recsys.dataset.ingestion.read_ahead import read_ahead
from recsys.dataset.ingestion.summary import Summary, summarize
from recsys.dataset.ingestion.vectors import attach_vectors
from recsys.errors import ConfigError, DataError
from recsys.storage.spilled_frames import SpilledFrames
from recsys.tables import Interactions, Items, Rejected, check, empty

_NEXT_STEP = "internal error in ingest; please report it"


@dataclass(frozen=True)
class Ingested:
    """The tables of a snapshot; `rejected` is sorted by table (items first), file and row."""

    items: pl.DataFrame
    interactions: pl.DataFrame
    rejected: pl.DataFrame
    counts: dict[str, TableCounts]
    summary: Summary


@dataclass
class IngestedBlocks:
    """The tables of a snapshot, the long ones in blocks that are read once.

    Attributes:
        items: `Items`.
        rejected: blocks of `Rejected`, sorted by table (items first), file and row.
        interactions: blocks of `Interactions`, each of whole users.
    """

    items: pl.DataFrame
    rejected: Iterator[pl.DataFrame]
    interactions: Iterator[pl.DataFrame]
    _kinds: tuple[str, ...]
    _item_counts: TableCounts
    _judge: Judge
    _events: EventCounts

    @property
    def counts(self) -> dict[str, TableCounts]:
        """What became of the rows of each table; complete once the interactions are read."""
        events, judge = self._events, self._judge
        interactions = TableCounts(
            judge.read,
            events.kept,
            judge.rejected,
            events.repeats,
            events.differing,
            judge.skipped,
            events.returns,
            events.taken_back,
            events.lone_returns,
            events.excess,
            events.crowded_days,
        )
        return {"items": self._item_counts, "interactions": interactions}

    @property
    def summary(self) -> Summary:
        """What was read; complete once the interactions are read."""
        return summarize(self.items, self._events, self._kinds, self.counts)


def ingest(config: DatasetConfig, *, now: datetime) -> Ingested:
    """Read and clean all raw rows, and reject those that break a rule.

    Items have the columns of `Items`, then the attributes in the order of the config, as text, empty where missing.
    Ties keep the order of the files; without times and an order every row has step 0, so that the order of the files
    is never taken for the order of the users' events. Times without a zone, also `created_at`, are in the zone of
    the interactions.

    Args:
        config: raw files and the meaning of their columns.
        now: aware instant; events later than a day after it are rejected.

    Raises:
        DataError: files cannot be read, a column is missing, or too many rows break a rule.
        ConfigError: the time zone does not exist.
    """
    with TemporaryDirectory() as scratch:
        made = ingest_blocks(config, now=now, scratch=Path(scratch))
        interactions = pl.concat(made.interactions)
        rejected = pl.concat([empty(Rejected), *made.rejected])
        return Ingested(
            items=made.items,
            interactions=check(Interactions, interactions, "ingested interactions", _NEXT_STEP),
            rejected=check(Rejected, rejected, "rejected rows", _NEXT_STEP),
            counts=made.counts,
            summary=made.summary,
        )


def ingest_blocks(
    config: DatasetConfig, *, now: datetime, scratch: Path, forgotten: ForgottenUsers | None = None
) -> IngestedBlocks:
    """Do the same as `ingest` in little memory: the interactions come in blocks.

    Args:
        config: raw files and the meaning of their columns.
        now: aware instant; events later than a day after it are rejected.
        scratch: an empty folder for what does not fit in memory, about 30 bytes per event, until the blocks are read.
        forgotten: users whose rows are rejected; None: nobody is forgotten.

    Raises:
        DataError: files cannot be read, a column is missing, or too many rows break a rule.
        ConfigError: the time zone does not exist.
    """
    if now.tzinfo is None:
        raise DataError(
            f"ingest: now is {now.isoformat()} without a time zone; expected an aware datetime, for example in UTC"
        )
    _check_time_zone(config.interactions.time_zone)
    rejected = SpilledFrames(scratch, "rejected")
    items, item_counts = read_items(config, now, rejected)
    items = check(Items, attach_vectors(config.items, items), "ingested items", _NEXT_STEP)
    events = read_interactions(config, items["item_id"], now, scratch, rejected, forgotten)
    kinds = tuple(config.interactions.event_weights)
    counts = EventCounts(np.zeros(items.height, dtype=np.bool_), np.zeros(len(kinds), dtype=np.int64))
    blocks = read_ahead(make_blocks(config, events, items["item_id"], counts))
    return IngestedBlocks(items, iter(rejected), blocks, kinds, item_counts, events.judge, counts)


def ingest_events(config: DatasetConfig, item_ids: pl.Series, *, now: datetime, scratch: Path) -> pl.DataFrame:
    """Read and clean raw interactions alone, such as those that follow published lists.

    Args:
        config: raw files of the interactions and their meaning; those of the items are not read.
        item_ids: known items, distinct and sorted; events with others are rejected.
        now: aware instant; events later than a day after it are rejected.
        scratch: an empty folder, as for `ingest_blocks`.

    Returns:
        `Interactions`.

    Raises:
        DataError: as for `ingest_blocks`.
        ConfigError: the time zone does not exist.
    """
    _check_time_zone(config.interactions.time_zone)
    rejected = SpilledFrames(scratch, "rejected")
    events = read_interactions(config, item_ids, now, scratch, rejected)
    kinds = len(config.interactions.event_weights)
    counts = EventCounts(np.zeros(len(item_ids), dtype=np.bool_), np.zeros(kinds, dtype=np.int64))
    blocks = list(make_blocks(config, events, item_ids, counts))
    return check(Interactions, pl.concat(blocks), "ingested events", _NEXT_STEP)


def _check_time_zone(time_zone: str) -> None:
    try:
        pl.Series([0], dtype=pl.Datetime("us")).dt.replace_time_zone(time_zone)
    except pl.exceptions.PolarsError as error:
        raise ConfigError(
            f"dataset.interactions.time_zone: no zone '{time_zone}'; expected a name such as UTC or Europe/Berlin"
        ) from error
