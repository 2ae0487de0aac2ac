"""What new data lost since the last good snapshot: users, items, vectors and interactions, in all and by event kind.

An export may lack a partition, a filter may be wrong, or a kind of event is missing, while every row that is left is
valid. Ordinary feeds pass: one that grows, one that holds a fixed number of days (old events and their users leave, but
others have come), and one whose catalogue turns over slowly. Small data is not judged, for shares of it say nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from recsys.config import DatasetSanityConfig
from recsys.dataset.item_vectors import PREFIX

# Fewer than this many users, items or events are not judged.
_FEW = 30
_VECTORS_LIMIT = "max_vectors_lost"


@dataclass(frozen=True)
class Data:
    """The data of a snapshot, not read yet.

    Attributes:
        items: `Items`.
        interactions: `Interactions`.
    """

    items: pl.LazyFrame
    interactions: pl.LazyFrame


def find_losses(now: Data, before: Data, config: DatasetSanityConfig) -> list[str]:
    """Return one sentence for each loss that is larger than its limit.

    Args:
        now: the new data.
        before: the last good data, under the same settings.
        config: the limits.
    """
    kinds, old_kinds = (_count_kinds(data.interactions) for data in (now, before))
    counts = [_Count("interactions", sum(kinds.values()), sum(old_kinds.values()), "max_interactions_lost")]
    counts += [
        _Count(f"interactions of the kind '{kind}'", kinds.get(kind, 0), old, "max_kind_lost")
        for kind, old in old_kinds.items()
    ]
    users, old_users = (_count(data.interactions, "user_id") for data in (now, before))
    counts.append(_Count("users", users, old_users, "max_users_lost"))
    # Users who should be in the new data: all of theirs has not aged out.
    first = now.interactions.select(pl.col("time").min()).collect(engine="streaming").item()
    due = before.interactions if first is None else before.interactions.filter(pl.col("time") >= first)
    still, expected = _count_known(due, now.interactions, "user_id")
    counts.append(_Count("users with events since the start of the new data", still, expected, "max_users_lost"))
    kept, old_items = _count_known(before.items, now.items, "item_id")
    counts.append(_Count("items of the last good snapshot", kept, old_items, "max_items_lost"))
    counts += [
        _Count(f"vectors '{name}'", _count_vectors(now.items, name), _count_vectors(before.items, name), _VECTORS_LIMIT)
        for name in _name_vectors(before.items)
    ]
    lost = [count for count in counts if count.before >= _FEW and count.lost > getattr(config, count.limit)]
    # Where users are fewer in all, their missing ids need no second sentence.
    named: dict[str, _Count] = {}
    for count in lost:
        named.setdefault(count.what if count.limit in ("max_kind_lost", _VECTORS_LIMIT) else count.limit, count)
    return [count.describe(getattr(config, count.limit)) for count in named.values()]


@dataclass(frozen=True)
class _Count:
    what: str
    now: int
    before: int
    limit: str

    @property
    def lost(self) -> float:
        return 1 - self.now / self.before

    def describe(self, limit: float) -> str:
        return (
            f"{self.lost:.1%} of the {self.what} are missing ({self.now:,} of {self.before:,} left; limit {limit:.0%}, "
            f"dataset.sanity.{self.limit})"
        )


def _count_kinds(interactions: pl.LazyFrame) -> Mapping[str, int]:
    counted = interactions.group_by("event").len().collect(engine="streaming").sort("len", "event", descending=True)
    return {str(kind): int(count) for kind, count in counted.iter_rows()}


def _count(table: pl.LazyFrame, column: str) -> int:
    return int(table.select(pl.col(column).n_unique()).collect(engine="streaming").item())


def _name_vectors(items: pl.LazyFrame) -> list[str]:
    columns = items.collect_schema().names()
    return [column.removeprefix(PREFIX) for column in columns if column.startswith(PREFIX)]


def _count_vectors(items: pl.LazyFrame, name: str) -> int:
    """Return the number of items with a vector."""
    if name not in _name_vectors(items):
        return 0
    return int(items.select(pl.col(PREFIX + name).count()).collect(engine="streaming").item())


def _count_known(before: pl.LazyFrame, now: pl.LazyFrame, column: str) -> tuple[int, int]:
    """Return how many distinct ids of a table are in the other one too, and how many there are."""
    ids, others = (table.select(pl.col(column).unique()) for table in (before, now))
    known = ids.join(others, on=column, how="semi").select(pl.len())
    return int(known.collect(engine="streaming").item()), _count(before, column)
