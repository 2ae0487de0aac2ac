"""Batches of texts alone: texts of like length meet, others in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.text.encoder import make_batches

# Going back through the layers takes room too: a training batch is a quarter of one that is only encoded.
_SMALLER_BATCH = 4


def count_text_batches(lengths: Sequence[int], batch_tokens: int) -> int:
    """Return how many batches an epoch of `mix_text_batches` has."""
    return len(_cut(lengths, batch_tokens))


def mix_text_batches(
    lengths: Sequence[int], epochs: int, batch_tokens: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield places of texts, batch by batch, in each epoch others together and in another order, as many in each.

    Args:
        lengths: (n_texts) tokens of each.
        epochs: passes over all texts.
        batch_tokens: tokens in a batch that is only encoded.
        rng: draws at the start of each epoch; the caller may draw from it in between.
    """
    for _ in range(epochs):
        mixed = rng.permutation(len(lengths))
        batches = _cut(np.asarray(lengths)[mixed].tolist(), batch_tokens)
        for number in rng.permutation(len(batches)):
            yield mixed[batches[number]]


def _cut(lengths: Sequence[int], batch_tokens: int) -> list[NDArray[np.int64]]:
    return list(make_batches(lengths, batch_tokens // _SMALLER_BATCH))
