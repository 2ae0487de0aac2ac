"""Batches of texts for trainings without users: texts of similar length, mixed differently in each epoch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.text.encoder import make_batches

# The backward pass needs memory too: a training batch has a quarter of the tokens of one that is only encoded.
_SMALLER_BATCH = 4


def count_text_batches(lengths: Sequence[int], batch_tokens: int) -> int:
    """Return how many batches an epoch of `mix_text_batches` has."""
    return len(_split(lengths, batch_tokens))


def mix_text_batches(
    lengths: Sequence[int], epochs: int, batch_tokens: int, rng: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Yield the text indices of each batch; every epoch mixes texts and batches again, and has the same number of them.

    Args:
        lengths: (n_texts) tokens of each text.
        epochs: passes over all texts.
        batch_tokens: tokens in a batch that is only encoded.
        rng: draws at the start of each epoch; the caller may draw from it in between.
    """
    for _ in range(epochs):
        mixed = rng.permutation(len(lengths))
        batches = _split(np.asarray(lengths)[mixed].tolist(), batch_tokens)
        for number in rng.permutation(len(batches)):
            yield mixed[batches[number]]


def _split(lengths: Sequence[int], batch_tokens: int) -> list[NDArray[np.int64]]:
    return list(make_batches(lengths, batch_tokens // _SMALLER_BATCH))
