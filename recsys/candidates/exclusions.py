"""Exclusions: the items that a user's list must not hold, such as what the user has consumed (the seen-item filter)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.histories import Histories, pick_runs


@dataclass(frozen=True)
class Exclusions:
    """Items that no list may hold.

    Attributes:
        recommendable: (n_items) bool; other items are excluded for every user.
        starts: (n_users + 1) int64; user u may not get `items[starts[u]:starts[u + 1]]`.
        items: (n_entries) int32.
    """

    recommendable: NDArray[np.bool_]
    starts: NDArray[np.int64]
    items: NDArray[np.int32]

    @classmethod
    def of(cls, histories: Histories, recommendable: NDArray[np.bool_], *, repeats: bool) -> Exclusions:
        """Exclude what is not recommendable and, without repeats, what each user has consumed."""
        if repeats:
            starts = np.zeros(histories.n_users + 1, dtype=np.int64)
            return cls(recommendable, starts, np.zeros(0, dtype=np.int32))
        starts = np.concatenate([[0], np.cumsum(histories.consumed)])[histories.starts]
        return cls(recommendable, starts, histories.items[histories.consumed])

    @classmethod
    def none(cls, n_users: int, n_items: int) -> Exclusions:
        """Exclude nothing."""
        return cls(np.ones(n_items, dtype=bool), np.zeros(n_users + 1, dtype=np.int64), np.zeros(0, dtype=np.int32))

    def pick(self, users: NDArray[np.int64]) -> Exclusions:
        """Return the exclusions of some users, numbered in the order given."""
        starts, entries = pick_runs(self.starts, users)
        return Exclusions(self.recommendable, starts, self.items[entries])

    def add(self, starts: NDArray[np.int64], items: NDArray[np.int32]) -> Exclusions:
        """Return the same with more items excluded: for user u `items[starts[u]:starts[u + 1]]`."""
        n_users = len(starts) - 1
        users = np.concatenate([np.repeat(np.arange(n_users), np.diff(pointers)) for pointers in (self.starts, starts)])
        order = np.argsort(users, kind="stable")
        ends = np.searchsorted(users[order], np.arange(n_users + 1)).astype(np.int64)
        return Exclusions(self.recommendable, ends, np.concatenate([self.items, items])[order])

    def to_array(self) -> NDArray[np.bool_]:
        """Return (n_users, n_items) bool."""
        exclusions = np.repeat(~self.recommendable[None, :], len(self.starts) - 1, axis=0)
        exclusions[np.repeat(np.arange(len(exclusions)), np.diff(self.starts)), self.items] = True
        return exclusions
