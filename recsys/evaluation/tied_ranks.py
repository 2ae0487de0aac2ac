"""Where the positives stand in one model's lists, ties counted: what every metric and every cut is made from."""

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
    """One model's lists for some users, and the place of each of their positives.

    Attributes:
        lists: `(n_users, depth)` int32 item numbers, best first, -1 where a list is shorter.
        first: `(n_users, depth)` int32, the first place (0 the top) of the tie that a place belongs to.
        tied: `(n_users, depth)` int32, how many ranked items tie at the place, itself and items beyond the depth
            included.
        users: `(n_positives,)` int32, the user number of each positive.
        places: `(n_positives,)` int32, the first place of the positive's tie; -1 where no tie that holds it reaches
            into the list.
        ties: `(n_positives,)` int32, how many items tie there; 1 where there is no place.
    """

    lists: NDArray[np.int32]
    first: NDArray[np.int32]
    tied: NDArray[np.int32]
    users: NDArray[np.int32]
    places: NDArray[np.int32]
    ties: NDArray[np.int32]

    @classmethod
    def from_ranks(cls, users: NDArray[np.int32], ranks: pl.Series, n_users: int, depth: int) -> TiedRanks:
        """Return what the ranks of positives tell when the lists are gone: all but which items stood around them.

        Args:
            users: `(n_positives,)` user numbers.
            ranks: `(n_positives,)` ranks in lists without ties, 1 the best; null: not in the list.
            n_users: how many there are.
            depth: places of a list that are looked at; `lists` holds 0 in all of them.
        """
        places = ranks.cast(pl.Int32).fill_null(0).to_numpy() - 1
        shape = (n_users, depth)
        return cls(
            lists=np.zeros(shape, dtype=np.int32),
            first=np.broadcast_to(np.arange(depth, dtype=np.int32), shape),
            tied=np.ones(shape, dtype=np.int32),
            users=users,
            places=np.where(places < depth, places, -1).astype(np.int32),
            ties=np.ones(len(places), dtype=np.int32),
        )

    @classmethod
    def join(cls, parts: Sequence[TiedRanks]) -> TiedRanks:
        """Put the ranks_by_model of runs of users one below the other; users are numbered on."""
        starts = np.cumsum([0, *(len(part.lists) for part in parts[:-1])])
        users = [part.users + start for part, start in zip(parts, starts, strict=True)]
        rest = {
            name: np.concatenate([getattr(part, name) for part in parts])
            for name in ("lists", "first", "tied", "places", "ties")
        }
        return cls(users=np.concatenate(users).astype(np.int32), **rest)

    def find_hits(self, kept: NDArray[np.bool_] | None = None) -> TiedHits:
        """Return what stands in the places; `kept` `(n_positives,)` leaves only some positives positive."""
        inside = self.places >= 0 if kept is None else (self.places >= 0) & kept
        counts = np.zeros(self.lists.shape, dtype=np.int32)
        np.add.at(counts, (self.users[inside], self.places[inside]), 1)
        found = np.where(self.lists >= 0, np.take_along_axis(counts, self.first, axis=1), 0)
        above = np.arange(self.lists.shape[1], dtype=np.int32) - self.first
        return TiedHits(found, self.tied, above)

    def count_positives(self, kept: NDArray[np.bool_] | None = None) -> Counts:
        """Return the positives of each user, `(n_users,)` int64; of the kept ones where some are left out."""
        users = self.users if kept is None else self.users[kept]
        return np.bincount(users, minlength=len(self.lists)).astype(np.int64)

    def chance_in_first(self, n: int) -> Values:
        """Return the chance that each positive stands in the first n places, `(n_positives,)` float64."""
        share: Values = np.clip(n - self.places, 0, self.ties) / self.ties
        return np.where(self.places >= 0, share, 0.0)


def rank_positives(ranked: pl.DataFrame, positives: pl.DataFrame, n_users: int, depth: int) -> TiedRanks:
    """Find each positive's place in lists that may hold ties.

    Args:
        ranked: `user_index`, `item_index`, `score`, `rank` of everything the model ranks (at least each user's best
            `depth` and all that ties with the last of them), sorted by user, then rank; equal scores of a user tie.
        positives: `user_index`, `item_index`, distinct.
        n_users: users are numbered 0 … n_users - 1; one without ranked items has an empty list.
        depth: places of a list that are looked at.
    """
    user = ranked["user_index"].to_numpy().astype(np.int64)
    score = ranked["score"].to_numpy()
    new_tie = np.ones(len(user), dtype=bool)
    new_tie[1:] = (user[1:] != user[:-1]) | (score[1:] != score[:-1])
    tie = np.cumsum(new_tie) - 1
    place = ranked["rank"].to_numpy().astype(np.int64) - 1
    first, size = place[new_tie][tie], np.bincount(tie)[tie]
    shown = place < depth
    at = (user[shown], place[shown])
    lists = _fill(np.full((n_users, depth), -1), at, ranked["item_index"].to_numpy()[shown])
    own_place = np.broadcast_to(np.arange(depth), (n_users, depth))
    found = positives.select(_PAIR).join(
        ranked.select(*_PAIR, pl.int_range(pl.len()).alias("row")), on=_PAIR, how="left", maintain_order="left"
    )
    row = found["row"].fill_null(-1).to_numpy()
    known = row >= 0
    places, ties = np.full(len(row), -1, dtype=np.int32), np.ones(len(row), dtype=np.int32)
    places[known] = first[row[known]]
    ties[known] = size[row[known]]
    beyond = places >= depth
    places[beyond], ties[beyond] = -1, 1
    return TiedRanks(
        lists=lists,
        first=_fill(own_place, at, first[shown]),
        tied=_fill(np.ones((n_users, depth)), at, size[shown]),
        users=positives["user_index"].to_numpy().astype(np.int32),
        places=places,
        ties=ties,
    )


def _fill(
    start: NDArray[Any], at: tuple[NDArray[np.int64], NDArray[np.int64]], values: NDArray[Any]
) -> NDArray[np.int32]:
    """Return a matrix as int32 with values put in."""
    matrix = start.astype(np.int32)
    matrix[at] = values
    return matrix
