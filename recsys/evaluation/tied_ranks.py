"""The ranks of the positives in one model's lists, ties included: the input of every metric and every segment."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.metrics import Counts, TiedHits, Values

_PAIR = ["user_index", "item_index"]


@dataclass(frozen=True)
class TiedRanks:
    """One model's lists for some users, and the rank of each of their positives.

    Ranks are counted from 0 here. Items with equal scores form a tie; a tie starts at the rank of its first item and
    may reach beyond the end of the list.

    Attributes:
        lists: `(n_users, depth)` int32 item numbers, best first, -1 where a list is shorter.
        tie_starts: `(n_users, depth)` int32, the first rank of the tie at each rank.
        tie_sizes: `(n_users, depth)` int32, the number of items in the tie at each rank, at least 1.
        users: `(n_positives,)` int32, the user number of each positive.
        positive_starts: `(n_positives,)` int32, the first rank of the positive's tie; -1 where no tie that contains the
            positive starts inside the list.
        positive_tie_sizes: `(n_positives,)` int32, the number of items in that tie; 1 where there is none.
    """

    lists: NDArray[np.int32]
    tie_starts: NDArray[np.int32]
    tie_sizes: NDArray[np.int32]
    users: NDArray[np.int32]
    positive_starts: NDArray[np.int32]
    positive_tie_sizes: NDArray[np.int32]

    @classmethod
    def from_ranks(cls, users: NDArray[np.int32], ranks: pl.Series, n_users: int, depth: int) -> TiedRanks:
        """Rebuild what the ranks of the positives determine when the lists were not kept.

        Args:
            users: `(n_positives,)` user numbers.
            ranks: `(n_positives,)` ranks in lists without ties, 1 is the best; null where the item is not listed.
            n_users: number of users.
            depth: length of the lists; `lists` holds 0 everywhere.
        """
        starts = ranks.cast(pl.Int32).fill_null(0).to_numpy() - 1
        shape = (n_users, depth)
        return cls(
            lists=np.zeros(shape, dtype=np.int32),
            tie_starts=np.broadcast_to(np.arange(depth, dtype=np.int32), shape),
            tie_sizes=np.ones(shape, dtype=np.int32),
            users=users,
            positive_starts=np.where(starts < depth, starts, -1).astype(np.int32),
            positive_tie_sizes=np.ones(len(starts), dtype=np.int32),
        )

    @classmethod
    def join(cls, shards: Sequence[TiedRanks]) -> TiedRanks:
        """Concatenate the ranks of several shards of users; the user numbers continue from shard to shard."""
        offsets = np.cumsum([0, *(len(shard.lists) for shard in shards[:-1])])
        users = [shard.users + offset for shard, offset in zip(shards, offsets, strict=True)]
        rest = {
            name: np.concatenate([getattr(shard, name) for shard in shards])
            for name in ("lists", "tie_starts", "tie_sizes", "positive_starts", "positive_tie_sizes")
        }
        return cls(users=np.concatenate(users).astype(np.int32), **rest)

    def find_hits(self, kept: NDArray[np.bool_] | None = None) -> TiedHits:
        """Return the hits at each rank; only the positives in `kept`, `(n_positives,)` bool, count as positives."""
        inside = self.positive_starts >= 0 if kept is None else (self.positive_starts >= 0) & kept
        counts = np.zeros(self.lists.shape, dtype=np.int32)
        np.add.at(counts, (self.users[inside], self.positive_starts[inside]), 1)
        positives = np.where(self.lists >= 0, np.take_along_axis(counts, self.tie_starts, axis=1), 0)
        above = np.arange(self.lists.shape[1], dtype=np.int32) - self.tie_starts
        return TiedHits(positives, self.tie_sizes, above)

    def count_positives(self, kept: NDArray[np.bool_] | None = None) -> Counts:
        """Return the number of positives of each user, `(n_users,)` int64; with `kept`, only of those."""
        users = self.users if kept is None else self.users[kept]
        return np.bincount(users, minlength=len(self.lists)).astype(np.int64)

    def chance_in_first(self, n: int) -> Values:
        """Return the probability that each positive is among the first n, `(n_positives,)` float64."""
        share: Values = np.clip(n - self.positive_starts, 0, self.positive_tie_sizes) / self.positive_tie_sizes
        return np.where(self.positive_starts >= 0, share, 0.0)


def rank_positives(ranked: pl.DataFrame, positives: pl.DataFrame, n_users: int, depth: int) -> TiedRanks:
    """Look up the rank of each positive in lists that may contain ties.

    Args:
        ranked: `user_index`, `item_index`, `score`, `rank` of everything the model ranks (at least each user's best
            `depth` items and all that tie with the last of them), sorted by user, then rank; equal scores of a user
            tie.
        positives: `user_index`, `item_index`, distinct.
        n_users: users are numbered 0 … n_users - 1; the list of a user without ranked items is empty.
        depth: length of the lists.
    """
    user = ranked["user_index"].to_numpy().astype(np.int64)
    rank = ranked["rank"].to_numpy().astype(np.int64) - 1
    start, size = _find_ties(user, ranked["score"].to_numpy(), rank)
    listed = rank < depth
    cells = (user[listed], rank[listed])
    rows = positives.select(_PAIR).join(
        ranked.select(*_PAIR, pl.int_range(pl.len()).alias("row")), on=_PAIR, how="left", maintain_order="left"
    )["row"]
    positive_starts, positive_tie_sizes = _look_up_ties(rows, start, size, depth)
    return TiedRanks(
        lists=_fill(np.full((n_users, depth), -1), cells, ranked["item_index"].to_numpy()[listed]),
        tie_starts=_fill(np.broadcast_to(np.arange(depth), (n_users, depth)), cells, start[listed]),
        tie_sizes=_fill(np.ones((n_users, depth)), cells, size[listed]),
        users=positives["user_index"].to_numpy().astype(np.int32),
        positive_starts=positive_starts,
        positive_tie_sizes=positive_tie_sizes,
    )


def _find_ties(
    user: NDArray[np.int64], score: NDArray[Any], rank: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the first rank and the size of each row's tie, `(n_rows,)` int64 each."""
    new_tie = np.ones(len(user), dtype=bool)
    new_tie[1:] = (user[1:] != user[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(new_tie) - 1
    return rank[new_tie][tie], np.bincount(tie)[tie]


def _look_up_ties(
    rows: pl.Series, start: NDArray[np.int64], size: NDArray[np.int64], depth: int
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Return the tie start and size of each positive, from its row in the ranking; null rows have start -1, size 1."""
    row = rows.fill_null(-1).to_numpy()
    ranked = row >= 0
    starts, sizes = np.full(len(row), -1, dtype=np.int32), np.ones(len(row), dtype=np.int32)
    starts[ranked] = start[row[ranked]]
    sizes[ranked] = size[row[ranked]]
    beyond = starts >= depth
    starts[beyond], sizes[beyond] = -1, 1
    return starts, sizes


def _fill(
    default: NDArray[Any], cells: tuple[NDArray[np.int64], NDArray[np.int64]], values: NDArray[Any]
) -> NDArray[np.int32]:
    """Return a copy of a matrix as int32 with values written to some cells."""
    matrix = default.astype(np.int32)
    matrix[cells] = values
    return matrix
