"""Training examples: which items are encoded in a step, and in whose histories they are looked for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from recsys.config import FineTuneConfig
from recsys.dataset.histories import Histories

# Batches are cut from stretches of so many of them that were sorted by length: little padding, and still chance.
_BATCHES_SORTED_TOGETHER = 8


@dataclass(frozen=True)
class Batch:
    """One step: items that are encoded, and examples whose right answers they are.

    Attributes:
        items: (n_items) int64, distinct, shortest text first.
        entries: (n_examples) int64 entries of the histories; the right answer of each is among the items.
    """

    items: NDArray[np.int64]
    entries: NDArray[np.int64]


def hold_out(histories: Histories, share: float, seed: int) -> tuple[Histories, NDArray[np.int64], NDArray[np.int64]]:
    """Set the newest item of some users aside.

    Args:
        histories: not changed; without an order "newest" is any one.
        share: of the users with at least two items.
        seed: draws them.

    Returns:
        The histories without those entries, the numbers of the drawn users, ascending, and their items kept aside.
    """
    able = np.flatnonzero(histories.lengths > 1)
    count = round(share * len(able))
    users = np.sort(np.random.default_rng(seed).permutation(able)[:count])
    last = histories.starts[users + 1] - 1
    kept = np.ones(len(histories.items), dtype=bool)
    kept[last] = False
    lengths = histories.lengths.copy()
    lengths[users] -= 1
    rest = replace(
        histories,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        **{name: getattr(histories, name)[kept] for name in _PER_ENTRY},
    )
    return rest, users, histories.items[last].astype(np.int64)


_PER_ENTRY = ("items", "weights", "counts", "consumed", "ages", "first_ages")


def shuffle_histories(histories: Histories, rng: np.random.Generator) -> Histories:
    """Return histories without an order in a new order: what stands before an entry is then a random part.

    Histories that have an order come back as they are.
    """
    if histories.ordered:
        return histories
    order = np.lexsort((rng.random(len(histories.items)), histories.users))
    return replace(histories, **{name: getattr(histories, name)[order] for name in _PER_ENTRY})


def draw_batches(
    histories: Histories, lengths: NDArray[np.int64], config: FineTuneConfig, rng: np.random.Generator
) -> list[Batch]:
    """Draw one epoch.

    Args:
        histories: entries with an older one before them are examples.
        lengths: (n_items) tokens of each item's text.
        config: how items are drawn, how many, and how many examples each.
        rng: draws.
    """
    entries = rng.permutation(_find_examples(histories))
    if config.draw == "interactions":
        return _cut_entries(histories, entries, lengths, config)
    items = histories.items[entries]
    order = np.argsort(items, kind="stable")
    touched, starts, counts = np.unique(items[order], return_index=True, return_counts=True)
    place = np.arange(len(order)) - np.repeat(starts, counts)
    # Entries were shuffled, so the first few of each item are drawn at random.
    kept = entries[order[place < config.examples_per_item]]
    groups = _cut_items(touched.astype(np.int64), lengths, config, rng)
    number = np.full(histories.n_items, -1, dtype=np.int64)
    for group, members in enumerate(groups):
        number[members] = group
    of_entry = number[histories.items[kept]]
    sorted_entries = kept[np.argsort(of_entry, kind="stable")]
    bounds = np.searchsorted(np.sort(of_entry), np.arange(len(groups) + 1))
    return [Batch(members, sorted_entries[bounds[group] : bounds[group + 1]]) for group, members in enumerate(groups)]


def count_batches(histories: Histories, config: FineTuneConfig) -> int:
    """Return how many batches `draw_batches` gives."""
    able = _find_examples(histories)
    drawn = len(able) if config.draw == "interactions" else len(np.unique(histories.items[able]))
    if drawn < 2:
        return 0
    whole = -(-drawn // config.batch_size)
    return min(whole, config.max_steps_per_epoch)


def _find_examples(histories: Histories) -> NDArray[np.int64]:
    """Return the entries with an older one before them."""
    older = np.arange(len(histories.items)) - np.repeat(histories.starts[:-1], histories.lengths)
    return np.flatnonzero(older > 0)


def _cut_items(
    items: NDArray[np.int64], lengths: NDArray[np.int64], config: FineTuneConfig, rng: np.random.Generator
) -> list[NDArray[np.int64]]:
    """Cut items into batches of similar lengths, in random order."""
    items = rng.permutation(items)
    step = config.batch_size * _BATCHES_SORTED_TOGETHER
    batches: list[NDArray[np.int64]] = []
    for start in range(0, len(items), step):
        near = items[start : start + step]
        near = near[np.argsort(lengths[near], kind="stable")]
        batches += np.array_split(near, -(-len(near) // config.batch_size))
    return [batches[place] for place in rng.permutation(len(batches))[: config.max_steps_per_epoch]]


def _cut_entries(
    histories: Histories, entries: NDArray[np.int64], lengths: NDArray[np.int64], config: FineTuneConfig
) -> list[Batch]:
    batches = []
    steps = min(-(-len(entries) // config.batch_size), config.max_steps_per_epoch)
    for step in range(steps):
        part = entries[step * config.batch_size : (step + 1) * config.batch_size]
        items = np.unique(histories.items[part]).astype(np.int64)
        batches.append(Batch(items[np.argsort(lengths[items], kind="stable")], part))
    return batches


def look_back(histories: Histories, entries: NDArray[np.int64], length: int) -> NDArray[np.int64]:
    """Return (n_entries, length) int64 items before each entry, newest first, -1 where there is none."""
    first = histories.starts[histories.users[entries]]
    places = entries[:, None] - 1 - np.arange(length)[None, :]
    found = places >= first[:, None]
    return np.where(found, histories.items[np.where(found, places, 0)], -1).astype(np.int64)


def draw_negatives(
    touched: NDArray[np.int64],
    config: FineTuneConfig,
    batch: Batch,
    hard: Sequence[NDArray[np.int64]],
    targets: NDArray[np.int64],
    rng: np.random.Generator,
) -> NDArray[np.int64]:
    """Return the distinct items, ascending, among which the right one has to be found: the batch's are among them.

    Args:
        touched: items that anybody touched.
        config: the whole catalogue or the batch alone.
        batch: the step.
        hard: (n_items, some) tables of near items, -1 for none.
        targets: (n_examples) the right items.
        rng: draws where the catalogue is too large.
    """
    if config.negatives == "catalogue":
        drawn = touched
        if len(touched) > config.max_negatives:
            drawn = rng.choice(touched, config.max_negatives, replace=False)
        return np.union1d(drawn, batch.items)
    near = [table[np.unique(targets)].ravel() for table in hard]
    everything = np.unique(np.concatenate([batch.items, *near]))
    return everything[everything >= 0]
