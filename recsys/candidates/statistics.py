"""What all histories together say about the items, as of their cut-off."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.dataset.histories import Histories


@dataclass(frozen=True)
class ItemStatistics:
    """What a catalogue's histories say about its items, as of their cut-off.

    Attributes:
        users: (n_items) float32, how many users touched the item.
        recent: (n_items) float32, the same with each user's touch halved every half-life.
        first_age: (n_items) float32, days since the first touch; NaN if none or without times.
    """

    users: NDArray[np.float32]
    recent: NDArray[np.float32]
    first_age: NDArray[np.float32]

    @classmethod
    def count(cls, histories: Histories, half_life_days: float | None) -> ItemStatistics:
        """Count over all users of the histories."""
        size = histories.n_items
        weights = decay_by_age(histories.ages, half_life_days)
        first = np.full(size, -np.inf, dtype=np.float32)
        np.maximum.at(first, histories.items, np.nan_to_num(histories.first_ages, nan=-np.inf))
        return cls(
            users=np.bincount(histories.items, minlength=size).astype(np.float32),
            recent=np.bincount(histories.items, weights=weights, minlength=size).astype(np.float32),
            first_age=np.where(np.isneginf(first), np.nan, first).astype(np.float32),
        )


def decay_by_age(ages: NDArray[np.float32], half_life_days: float | None) -> NDArray[np.float32]:
    """Return 0.5 ** (age / half-life) float32; 1 for all without a half-life or without times."""
    if half_life_days is None:
        return np.ones(len(ages), dtype=np.float32)
    return (0.5 ** (np.nan_to_num(ages) / half_life_days)).astype(np.float32)
