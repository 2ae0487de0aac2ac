"""Counts over all histories: how many users each item has, how recently, and in which segments."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import CandidatesConfig
from recsys.dataset.histories import Histories
from recsys.dataset.values import mark_values
from recsys.errors import DataError

# The arrays of a sparse matrix, in the order that its constructor takes.
_PARTS = ("data", "indices", "indptr")
_ITEM_ARRAYS = ("users", "recent", "first_age", "last_age", "mean_weight")


@dataclass(frozen=True)
class ItemStatistics:
    """Counts of a catalogue's items over all histories, as of their cutoff.

    Attributes:
        users: (n_items) float32, number of users who interacted with the item.
        recent: (n_items) float32, the same with each user's last interaction halved every half-life.
        first_age: (n_items) float32, days since the first interaction; NaN if none or without times.
        last_age: (n_items) float32, days since the last interaction; NaN if none or without times.
        mean_weight: (n_items) float32, mean weight of the events; NaN if none.
        segments: the same by users' segment; None if no source needs it.
    """

    users: NDArray[np.float32]
    recent: NDArray[np.float32]
    first_age: NDArray[np.float32]
    last_age: NDArray[np.float32]
    mean_weight: NDArray[np.float32]
    segments: SegmentStatistics | None = None

    @classmethod
    def count(
        cls, histories: Histories, half_life_days: float | None, segment_values: pl.Series | None = None
    ) -> ItemStatistics:
        """Count over all users of the histories, and by segment if the items' segment values are given."""
        size = histories.n_items
        weights = decay_by_age(histories.ages, half_life_days)
        first = np.full(size, -np.inf, dtype=np.float32)
        np.maximum.at(first, histories.items, np.nan_to_num(histories.first_ages, nan=-np.inf))
        last = np.full(size, np.inf, dtype=np.float32)
        np.minimum.at(last, histories.items, np.nan_to_num(histories.ages, nan=np.inf))
        weight, events = (
            np.bincount(histories.items, weights=values, minlength=size)
            for values in (histories.weights, histories.counts)
        )
        return cls(
            users=np.bincount(histories.items, minlength=size).astype(np.float32),
            recent=np.bincount(histories.items, weights=weights, minlength=size).astype(np.float32),
            first_age=np.where(np.isneginf(first), np.nan, first).astype(np.float32),
            last_age=np.where(np.isposinf(last), np.nan, last).astype(np.float32),
            mean_weight=np.where(events > 0, weight / np.maximum(events, 1), np.nan).astype(np.float32),
            segments=None
            if segment_values is None
            else SegmentStatistics.count(histories, half_life_days, segment_values),
        )

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return the counts as arrays by name, for a file."""
        arrays: dict[str, NDArray[Any]] = {name: getattr(self, name) for name in _ITEM_ARRAYS}
        if self.segments is not None:
            for name, matrix in (("members", self.segments.members), ("weights", self.segments.weights)):
                arrays |= {f"segment_{name}_{part}": getattr(matrix, part) for part in _PARTS}
        return arrays

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray[Any]]) -> ItemStatistics:
        """Return the statistics from the arrays of `to_arrays`; other arrays are ignored."""
        segments = None
        if "segment_members_data" in arrays:
            members, weights = (
                tuple(arrays[f"segment_{name}_{part}"] for part in _PARTS) for name in ("members", "weights")
            )
            shape = (len(members[-1]) - 1, len(weights[-1]) - 1)
            segments = SegmentStatistics(csr_array(members, shape=shape), csr_array(weights, shape=shape[::-1]))
        users, recent, first_age, last_age, mean_weight = (arrays[name] for name in _ITEM_ARRAYS)
        return cls(users, recent, first_age, last_age, mean_weight, segments)


@dataclass(frozen=True)
class SegmentStatistics:
    """Items by the users of each segment, as of the histories' cutoff.

    A segment is a value of an item column, such as a genre. A user belongs to the segment that most items of
    the history have; ties go to the smallest value. A user whose items have no values belongs to none.

    Attributes:
        members: (n_items, n_segments) float32 sparse, 1 where the item has the value; segments sorted by value.
        weights: (n_segments, n_items) float32 sparse: users of the segment who interacted with the item, each
            last interaction halved every half-life.
    """

    members: csr_array
    weights: csr_array

    @classmethod
    def count(cls, histories: Histories, half_life_days: float | None, values: pl.Series) -> SegmentStatistics:
        """Count over all users of the histories.

        Args:
            histories: of all users.
            half_life_days: as for `decay_by_age`.
            values: (n_items) an item column in the order of `histories.item_ids`; see `mark_values`.
        """
        members, _ = mark_values(values)
        segments = _assign(histories, members)
        users = np.flatnonzero(segments >= 0)
        ones = np.ones(len(users), dtype=np.float32)
        belongs = csr_array((ones, (segments[users], users)), shape=(members.shape[1], histories.n_users))
        touches = histories.matrix(decay_by_age(histories.ages, half_life_days))
        return cls(members, (belongs @ touches).sorted_indices())

    def assign(self, histories: Histories) -> NDArray[np.int64]:
        """Return (n_users) int64: each user's segment, -1 for none."""
        return _assign(histories, self.members)


def count_statistics(histories: Histories, items: pl.DataFrame, config: CandidatesConfig) -> ItemStatistics:
    """Count what the config's sources need.

    Args:
        histories: of all users.
        items: `Items` in the order of `histories.item_ids`.
        config: the half-life of popularity, and the column of the segments if a source needs them.

    Raises:
        DataError: the catalogue lacks that column.
    """
    column = config.segment_column if config.counts_segments else None
    if column is not None and column not in items.columns:
        raise DataError(
            f"catalogue: no column '{column}', which is set as candidates.segment_column; found "
            f"{', '.join(map(repr, items.columns))}; name it in dataset.items and ingest again"
        )
    return ItemStatistics.count(histories, config.half_life_days, None if column is None else items[column])


def decay_by_age(ages: NDArray[np.float32], half_life_days: float | None) -> NDArray[np.float32]:
    """Return 0.5 ** (age / half-life) float32; 1 for all without a half-life or without times."""
    if half_life_days is None:
        return np.ones(len(ages), dtype=np.float32)
    return (0.5 ** (np.nan_to_num(ages) / half_life_days)).astype(np.float32)


def _assign(histories: Histories, members: csr_array) -> NDArray[np.int64]:
    """Return (n_users) int64: the segment that most of the user's items are members of, -1 for none."""
    counts = (histories.matrix(np.ones(len(histories.items), dtype=np.float32)) @ members).tocoo()
    user, segment = counts.coords
    order = np.lexsort((segment, -counts.data, user))
    users, first = np.unique(user[order], return_index=True)
    segments = np.full(histories.n_users, -1, dtype=np.int64)
    segments[users] = segment[order[first]]
    return segments
