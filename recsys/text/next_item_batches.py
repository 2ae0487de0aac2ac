"""Batches of next-item prediction: spans of histories, the steps to predict after, targets and negatives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.config import InterestConfig
from recsys.dataset.histories import Histories

# Of a step, unless the config says how many: a step over more items takes seconds.
MAX_NEGATIVES = 16_384
# Number of batches whose users are sorted by length together.
_SORTED_BATCHES = 16


@dataclass(frozen=True)
class NextItemBatch:
    """Spans of histories and what is predicted in them; a query is one step after which items are predicted.

    Attributes:
        items: (n_users, longest) int64, oldest first, 0 beyond the end of a span.
        mask: (n_users, longest) bool: False beyond the end.
        query_users: (n_queries) int64, the row of each query's user.
        query_steps: (n_queries) int64, the column of each query's newest known item.
        targets: (n_targets) int64, flat indices into `items`.
        target_queries: (n_targets) int64, the query that each target belongs to.
        target_weights: (n_targets) float32, mean 1.
        negatives: (n_negatives) int64 distinct items, shared by all queries.
        interacted: (n_users, n_negatives) bool: the user interacted with the item at any time, so it is not a negative.
        items_per_negative: how many items of the pool each negative represents.
    """

    items: NDArray[np.int64]
    mask: NDArray[np.bool_]
    query_users: NDArray[np.int64]
    query_steps: NDArray[np.int64]
    targets: NDArray[np.int64]
    target_queries: NDArray[np.int64]
    target_weights: NDArray[np.float32]
    negatives: NDArray[np.int64]
    interacted: NDArray[np.bool_]
    items_per_negative: float


class NextItemSampler:
    """Draws batches of users and what is predicted for them.

    Args:
        histories: as of the cutoff.
        pool: items that may be negatives.
        config: sizes of batches, spans, targets and negatives.
        seed: seeds all draws.
    """

    def __init__(self, histories: Histories, pool: NDArray[np.int64], config: InterestConfig, seed: int) -> None:
        self._histories = histories
        self._interacted: csr_array = histories.matrix()
        self._pool = pool
        self._config = config
        self._rng = np.random.default_rng(seed)

    def draw_epochs(self, steps: int) -> Iterator[list[NDArray[np.int64]]]:
        """Yield the batches of each epoch, users with at least two items, until there were `steps` batches."""
        users = np.flatnonzero(self._histories.lengths > 1)
        while steps > 0:
            batches = self._split(self._rng.permutation(users))[:steps]
            steps -= len(batches)
            yield batches

    def _split(self, users: NDArray[np.int64]) -> list[NDArray[np.int64]]:
        """Return batches of users whose spans have similar lengths, in random order, so that there is little padding.

        Users are sorted by length within groups of many batches, so that a batch's users differ from epoch to epoch. A
        mean has no padding.
        """
        n_batches = -(-len(users) // self._config.batch_size)
        if self._config.tower == "mean":
            return np.array_split(users, n_batches)
        lengths = np.minimum(self._histories.lengths, span_length(self._histories, self._config) + 1)
        batches: list[NDArray[np.int64]] = []
        for numbers in np.array_split(np.arange(n_batches), -(-n_batches // _SORTED_BATCHES)):
            group = users[len(users) * numbers[0] // n_batches : len(users) * (numbers[-1] + 1) // n_batches]
            group = group[np.argsort(lengths[group], kind="stable")]
            batches += np.array_split(group, len(numbers))
        return [batches[number] for number in self._rng.permutation(len(batches))]

    def sample(self, users: NDArray[np.int64]) -> NextItemBatch:
        """Draw spans of these users' histories, queries in them, and shared negatives."""
        config, histories, pool = self._config, self._histories, self._pool
        entries, mask = select_spans(histories, users, span_length(histories, config) + 1, self._rng)
        query_users, query_steps = self._draw_queries(mask)
        target_queries, targets = _find_targets(mask, query_users, query_steps, histories.ordered)
        weights = np.ones(len(targets), dtype=np.float32)
        if config.event_weights:
            weights = histories.weights[entries.ravel()[targets]]
            weights = weights / max(float(weights.mean()), 1e-12)
        negatives = pool
        if (count := config.negatives or MAX_NEGATIVES) < len(pool):
            negatives = self._rng.choice(pool, count, replace=False)
        return NextItemBatch(
            items=look_up_items(histories, entries, mask),
            mask=mask,
            query_users=query_users,
            query_steps=query_steps,
            targets=targets,
            target_queries=target_queries,
            target_weights=weights,
            negatives=negatives,
            interacted=self._interacted[users][:, negatives].toarray() > 0,
            items_per_negative=len(pool) / len(negatives),
        )

    def _draw_queries(self, mask: NDArray[np.bool_]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Return the users and steps of queries.

        With an order these are all steps that have a next one, or a sample of them. Without an order it is one drawn
        step per user, in the second half of the span: when the model is used, the whole history is known.
        """
        if not self._histories.ordered:
            last = mask.sum(axis=1) - 1
            users = np.flatnonzero(last > 0)
            return users, ((0.5 + 0.5 * self._rng.random(len(users))) * last[users]).astype(np.int64)
        users, steps = np.nonzero(mask[:, 1:])
        if self._config.targets is not None and len(users) > self._config.targets:
            kept = np.sort(self._rng.choice(len(users), self._config.targets, replace=False))
            users, steps = users[kept], steps[kept]
        return users, steps


def _find_targets(
    mask: NDArray[np.bool_], query_users: NDArray[np.int64], query_steps: NDArray[np.int64], ordered: bool
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return for each target its query and its flat index.

    With an order the target is the next item; without one, all items after the step are targets.
    """
    longest = mask.shape[1]
    if ordered:
        return np.arange(len(query_users)), query_users * longest + query_steps + 1
    later = mask[query_users] & (np.arange(longest)[None, :] > query_steps[:, None])
    queries, steps = np.nonzero(later)
    return queries, query_users[queries] * longest + steps


def select_spans(
    histories: Histories, users: NDArray[np.int64], length: int, rng: np.random.Generator | None
) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """Return one span of at most `length` entries per user.

    Without a generator, a span is the newest entries. With one, for training, half of the spans start anywhere, so that
    training sees all of a long history; in data without an order a span is a random subset in random order.

    Returns:
        (n_users, longest) int64 entries, oldest first, 0 beyond the end; and the (n_users, longest) bool mask of
        entries.
    """
    lengths, starts = histories.lengths[users], histories.starts[users]
    span_lengths = np.minimum(lengths, length)
    first = starts + lengths - span_lengths
    if rng is not None and histories.ordered:
        drawn = starts + (rng.random(len(users)) * (lengths - span_lengths + 1)).astype(np.int64)
        first = np.where(rng.random(len(users)) < 0.5, first, drawn)
    steps = np.arange(int(span_lengths.max()))[None, :]
    mask = steps < span_lengths[:, None]
    entries = np.where(mask, first[:, None] + steps, 0)
    if rng is not None and not histories.ordered:
        # All entries of the users, shuffled within each user; a span takes the first ones.
        rows = np.repeat(np.arange(len(users)), lengths)
        ends = np.cumsum(lengths)
        user_entries = np.arange(len(rows)) + np.repeat(starts - (ends - lengths), lengths)
        shuffled = user_entries[np.lexsort((rng.random(len(rows)), rows))]
        entries = np.where(mask, shuffled[np.where(mask, (ends - lengths)[:, None] + steps, 0)], 0)
    return entries, mask


def span_length(histories: Histories, config: InterestConfig) -> int:
    """Return how many items of a history a tower reads: the newest ones, but a mean without an order reads all."""
    if config.tower == "mean" and not histories.ordered:
        return max(1, int(histories.lengths.max(initial=0)))
    return config.history_length


def look_up_items(histories: Histories, entries: NDArray[np.int64], mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the items of entries, 0 where the mask is False."""
    return np.where(mask, histories.items[entries], 0).astype(np.int64)
