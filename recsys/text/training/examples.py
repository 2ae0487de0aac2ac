"""Training examples: which items are encoded in a step, and which of their interactions are predicted."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories

# Items are sorted by length within groups of this many batches: little padding, and batches still vary.
_BATCHES_SORTED_TOGETHER = 8
# The arrays of `Histories` with one value per entry.
_PER_ENTRY = ("items", "weights", "counts", "consumed", "ages", "first_ages")


@dataclass(frozen=True)
class Batch:
    """The items that a step encodes, and the examples that it learns from.

    Attributes:
        items: (n_items) int64, distinct, shortest text first.
        entries: (n_examples) int64 entries of the histories; the target of each is among the items.
    """

    items: NDArray[np.int64]
    entries: NDArray[np.int64]


def hold_out(histories: Histories, share: float, seed: int) -> tuple[Histories, NDArray[np.int64], NDArray[np.int64]]:
    """Hold out the newest item of some users for validation.

    Args:
        histories: not changed; in data without an order any item counts as the newest.
        share: of the users with at least two items.
        seed: draws the users.

    Returns:
        The histories without those entries, the indices of the drawn users, ascending, and their held-out items.
    """
    eligible = np.flatnonzero(histories.lengths > 1)
    count = round(share * len(eligible))
    users = np.sort(np.random.default_rng(seed).permutation(eligible)[:count])
    newest = histories.starts[users + 1] - 1
    kept = np.ones(len(histories.items), dtype=bool)
    kept[newest] = False
    lengths = histories.lengths.copy()
    lengths[users] -= 1
    remaining = replace(
        histories,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        **{name: getattr(histories, name)[kept] for name in _PER_ENTRY},
    )
    return remaining, users, histories.items[newest].astype(np.int64)


def shuffle_histories(histories: Histories, rng: np.random.Generator) -> Histories:
    """Shuffle each history of data without an order, so that the entries before another one are a random subset.

    Histories that have an order are returned unchanged.
    """
    if histories.ordered:
        return histories
    order = np.lexsort((rng.random(len(histories.items)), histories.users))
    return replace(histories, **{name: getattr(histories, name)[order] for name in _PER_ENTRY})


def draw_batches(
    histories: Histories,
    text_lengths: NDArray[np.int64],
    config: FineTuneConfig,
    rng: np.random.Generator,
    new_days: float | None = None,
) -> list[Batch]:
    """Draw the batches of one epoch.

    Args:
        histories: entries with an older one before them are examples.
        text_lengths: (n_items) tokens of each item's text.
        config: how items are drawn, how many, and with how many examples each.
        rng: draws.
        new_days: draw examples that are younger than this, and as many older ones; None: draw all alike.
    """
    entries = rng.permutation(_find_examples(histories))
    if new_days is not None:
        entries = _keep_new(histories, entries, new_days)
    if config.draw == "interactions":
        return _split_entries(histories, entries, text_lengths, config)
    items = histories.items[entries]
    order = np.argsort(items, kind="stable")
    targets, starts, counts = np.unique(items[order], return_index=True, return_counts=True)
    number_within_item = np.arange(len(order)) - np.repeat(starts, counts)
    # Entries were shuffled, so the first few of each item are a random sample.
    kept = entries[order[number_within_item < config.examples_per_item]]
    item_batches = _split_items(targets.astype(np.int64), text_lengths, config, rng)
    batch_of_item = np.full(histories.n_items, -1, dtype=np.int64)
    for number, batch_items in enumerate(item_batches):
        batch_of_item[batch_items] = number
    batch_of_entry = batch_of_item[histories.items[kept]]
    sorted_entries = kept[np.argsort(batch_of_entry, kind="stable")]
    bounds = np.searchsorted(np.sort(batch_of_entry), np.arange(len(item_batches) + 1))
    return [
        Batch(batch_items, sorted_entries[bounds[number] : bounds[number + 1]])
        for number, batch_items in enumerate(item_batches)
    ]


def count_batches(histories: Histories, config: FineTuneConfig, new_days: float | None = None) -> int:
    """Return how many batches `draw_batches` draws, with `new_days` if `config.draw` is `interactions`."""
    examples = _find_examples(histories)
    if new_days is not None:
        examples = _keep_new(histories, examples, new_days)
    drawn = len(examples) if config.draw == "interactions" else len(np.unique(histories.items[examples]))
    if drawn < 2:
        return 0
    return min(-(-drawn // config.batch_size), config.max_steps_per_epoch)


def _find_examples(histories: Histories) -> NDArray[np.int64]:
    """Return the entries with an older one before them."""
    number_within_user = np.arange(len(histories.items)) - np.repeat(histories.starts[:-1], histories.lengths)
    return np.flatnonzero(number_within_user > 0)


def _keep_new(histories: Histories, entries: NDArray[np.int64], days: float) -> NDArray[np.int64]:
    """Return the entries younger than some days, and the first ones of the others, as many as those, in their order."""
    new = histories.ages[entries] < days
    kept: NDArray[np.int64] = entries[new | (np.cumsum(~new) <= new.sum())]
    return kept


def _split_items(
    items: NDArray[np.int64], text_lengths: NDArray[np.int64], config: FineTuneConfig, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Split items into batches of similar text lengths, in random order."""
    items = rng.permutation(items)
    group_size = config.batch_size * _BATCHES_SORTED_TOGETHER
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(items), group_size):
        group = items[start : start + group_size]
        group = group[np.argsort(text_lengths[group], kind="stable")]
        batches += np.array_split(group, -(-len(group) // config.batch_size))
    return [batches[number] for number in rng.permutation(len(batches))[: config.max_steps_per_epoch]]


def _split_entries(
    histories: Histories, entries: NDArray[np.int64], text_lengths: NDArray[np.int64], config: FineTuneConfig
) -> list[Batch]:
    batches = []
    steps = min(-(-len(entries) // config.batch_size), config.max_steps_per_epoch)
    for step in range(steps):
        step_entries = entries[step * config.batch_size : (step + 1) * config.batch_size]
        items = np.unique(histories.items[step_entries]).astype(np.int64)
        batches.append(Batch(items[np.argsort(text_lengths[items], kind="stable")], step_entries))
    return batches


def preceding_items(histories: Histories, entries: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return (n_entries, length) int64 items before each entry, newest first, -1 where there are no more."""
    first = histories.starts[histories.users[entries]]
    earlier = entries[:, None] - 1 - np.arange(length)[None, :]
    exists = earlier >= first[:, None]
    return np.where(exists, histories.items[np.where(exists, earlier, 0)], -1).astype(np.int64)


def draw_negatives(
    interacted_items: NDArray[np.int64],
    config: FineTuneConfig,
    batch: Batch,
    hard_negatives: Sequence[NDArray[np.int64]],
    targets: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the distinct items, ascending, that a step's targets are compared with; they include the batch's items.

    Args:
        interacted_items: items that any user interacted with.
        config: whether negatives come from the whole catalogue or the batch alone.
        batch: the step's.
        hard_negatives: (n_items, k) tables of near items, -1 for none.
        targets: (n_examples) items.
        rng: draws when the catalogue has more items than `max_negatives`.
    """
    if config.negatives == "catalogue":
        drawn = interacted_items
        if len(interacted_items) > config.max_negatives:
            drawn = rng.choice(interacted_items, config.max_negatives, replace=False)
        return np.union1d(drawn, batch.items)
    near = [table[np.unique(targets)].ravel() for table in hard_negatives]
    items = np.unique(np.concatenate([batch.items, *near]))
    return items[items >= 0]
