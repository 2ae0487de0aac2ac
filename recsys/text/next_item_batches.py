"""NextItemBatch "what came next?" about histories, in batches: what an interest model learns from."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories


@dataclass(frozen=True)
class NextItemBatch:
    """A batch of stretches of histories, and what is asked about them.

    Attributes:
        items: (n_users, longest) int64, oldest first, 0 beyond the end.
        real: (n_users, longest) bool.
        rows: (n_asked) int64, the user of each place that is asked about.
        places: (n_asked) int64, the place: what is known ends there.
        answers: (n_answers) int64, places of right answers in `items`, flat.
        asked: (n_answers) int64, which of the asked places each belongs to.
        weights: (n_answers) float32, mean 1: how much each answer counts.
        negatives: (n_negatives) int64 distinct items.
        owned: (n_users, n_negatives) bool: the user has the item at some time, so for this user it is no negative.
        stands_for: items of the pool per negative drawn.
    """

    items: NDArray[np.int64]
    real: NDArray[np.bool_]
    rows: NDArray[np.int64]
    places: NDArray[np.int64]
    answers: NDArray[np.int64]
    asked: NDArray[np.int64]
    weights: NDArray[np.float32]
    negatives: NDArray[np.int64]
    owned: NDArray[np.bool_]
    stands_for: float


class NextItemSampler:
    """Draws batches of users and the questions about them.

    Args:
        histories: as of the cut-off.
        pool: item numbers that may be negatives.
        config: how many of what.
        seed: draws everything.
    """

    def __init__(self, histories: Histories, pool: NDArray[np.int64], config: InterestConfig, seed: int) -> None:
        self._histories = histories
        self._owned: csr_array = histories.matrix()
        self._pool = pool
        self._config = config
        self._rng = np.random.default_rng(seed)

    def draw_epochs(self, steps: int) -> Iterator[list[NDArray[np.int64]]]:
        """Yield batches of users with two items and more, epoch by epoch, until there were so many batches."""
        users = np.flatnonzero(self._histories.lengths > 1)
        while steps > 0:
            parts = -(-len(users) // self._config.batch_size)
            batches = np.array_split(self._rng.permutation(users), parts)[:steps]
            steps -= len(batches)
            yield batches

    def ask(self, users: NDArray[np.int64]) -> NextItemBatch:
        """Draw stretches of these users' histories, the places that are asked about, and shared negatives."""
        config, histories, pool = self._config, self._histories, self._pool
        entries, real = cut_stretches(histories, users, find_length(histories, config) + 1, self._rng)
        rows, places = self._choose_places(real)
        asked, answers = _find_answers(real, rows, places, histories.ordered)
        weights = np.ones(len(asked), dtype=np.float32)
        if config.event_weights:
            weights = histories.weights[entries.ravel()[answers]]
            weights = weights / max(float(weights.mean()), 1e-12)
        negatives = pool
        if config.negatives is not None and config.negatives < len(pool):
            negatives = self._rng.choice(pool, config.negatives, replace=False)
        return NextItemBatch(
            items=find_items(histories, entries, real),
            real=real,
            rows=rows,
            places=places,
            answers=answers,
            asked=asked,
            weights=weights,
            negatives=negatives,
            owned=self._owned[users][:, negatives].toarray() > 0,
            stands_for=len(pool) / len(negatives),
        )

    def _choose_places(self, real: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return users and places: with an order all that have a next one, without one drawn place of each user.

        Without an order half of the history is known at least: whoever is asked at night will know all of it.
        """
        if not self._histories.ordered:
            last = real.sum(axis=1) - 1
            rows = np.flatnonzero(last > 0)
            return rows, ((0.5 + 0.5 * self._rng.random(len(rows))) * last[rows]).astype(np.int64)
        rows, places = np.nonzero(real[:, 1:])
        if self._config.targets is not None and len(rows) > self._config.targets:
            kept = np.sort(self._rng.choice(len(rows), self._config.targets, replace=False))
            rows, places = rows[kept], places[kept]
        return rows, places


def _find_answers(
    real: NDArray[np.bool_], rows: NDArray[np.int64], places: NDArray[np.int64], ordered: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return of each answer which question it belongs to, and its flat place.

    With an order the next item is the answer. Without one all that are left are.
    """
    longest = real.shape[1]
    if ordered:
        return np.arange(len(rows)), rows * longest + places + 1
    left = real[rows] & (np.arange(longest)[None, :] > places[:, None])
    asked, place = np.nonzero(left)
    return asked, rows[asked] * longest + place


def cut_stretches(
    histories: Histories, users: NDArray[np.int64], length: int, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return (n_users, longest) entry numbers, oldest first, and which of them are real.

    Of a longer history the newest `length` entries; with a generator every other time a stretch drawn from anywhere, so
    that training meets all of it, and of data without order any entries in any order.
    """
    lengths, starts = histories.lengths[users], histories.starts[users]
    taken = np.minimum(lengths, length)
    first = starts + lengths - taken
    if rng is not None and histories.ordered:
        drawn = starts + (rng.random(len(users)) * (lengths - taken + 1)).astype(np.int64)
        first = np.where(rng.random(len(users)) < 0.5, first, drawn)
    steps = np.arange(int(taken.max()))[None, :]
    real = steps < taken[:, None]
    entries = np.where(real, first[:, None] + steps, 0)
    if rng is not None and not histories.ordered:
        # All entries of the users, shuffled within each; a row takes as many as it has places.
        rows = np.repeat(np.arange(len(users)), lengths)
        ends = np.cumsum(lengths)
        own = np.arange(len(rows)) + np.repeat(starts - (ends - lengths), lengths)
        shuffled = own[np.lexsort((rng.random(len(rows)), rows))]
        entries = np.where(real, shuffled[np.where(real, (ends - lengths)[:, None] + steps, 0)], 0)
    return entries, real


def find_length(histories: Histories, config: InterestConfig) -> int:
    """Return how many items of a history are read: the newest, but where none is newer a mean takes all."""
    if config.tower == "mean" and not histories.ordered:
        return max(1, int(histories.lengths.max(initial=0)))
    return config.history_length


def find_items(histories: Histories, entries: NDArray[np.int64], real: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the item numbers of entries, 0 where they are not real."""
    return np.where(real, histories.items[entries], 0).astype(np.int64)
