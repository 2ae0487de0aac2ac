"""Text augmentation: a text is still about the same item when a part of it is left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def augment(
    lengths: NDArray[np.int64],
    fields: NDArray[np.int16],
    rng: np.random.Generator,
    *,
    token_dropout: float = 0.0,
    field_dropout: float = 0.0,
    span_crop: float = 0.0,
) -> NDArray[np.bool_]:
    """Draw which tokens of each text are seen in this step.

    First a stretch is cropped, then fields of what is left are dropped, then tokens. Special tokens always stay, and of
    the others at least one, so that there is something to read.

    Args:
        lengths: (batch) tokens of each text, special ones included.
        fields: (batch, longest) the field each token comes from; -1 for special tokens and padding.
        rng: draws.
        token_dropout: chance of each token to be left out.
        field_dropout: chance of each field of a text to be left out; one field always stays.
        span_crop: chance of a text to be cut to a stretch of its tokens, which is any length from half of them up.

    Returns:
        (batch, longest) bool, False for padding.
    """
    batch, longest = fields.shape
    inside = np.arange(longest) < np.asarray(lengths)[:, None]
    special = inside & (fields < 0)
    seen = _crop(inside & (fields >= 0), rng, span_crop)
    draws = rng.random((batch, max(1, int(fields.max(initial=0)) + 1)))
    seen &= _stays(np.take_along_axis(draws, np.maximum(fields, 0).astype(np.int64), axis=1), seen, field_dropout)
    seen &= _stays(rng.random((batch, longest)), seen, token_dropout)
    return seen | special


def _stays(draws: NDArray[np.float64], seen: NDArray[np.bool_], chance: float) -> NDArray[np.bool_]:
    """Return what is not dropped; the luckiest of what is seen in a text never is."""
    luckiest = np.where(seen, draws, -1.0).max(axis=1, keepdims=True, initial=-1.0)
    stays: NDArray[np.bool_] = (draws >= chance) | (draws == luckiest)
    return stays


def _crop(real: NDArray[np.bool_], rng: np.random.Generator, chance: float) -> NDArray[np.bool_]:
    """Cut some texts to a stretch of their real tokens, its length and its place drawn evenly."""
    count = real.sum(axis=1)
    cropped, size, place = rng.random((3, len(real)))
    least = (count + 1) // 2
    kept = np.where(cropped < chance, least + (size * (count - least + 1)).astype(np.int64), count)
    start = (place * (count - kept + 1)).astype(np.int64)
    number = np.cumsum(real, axis=1) - 1
    seen: NDArray[np.bool_] = real & (number >= start[:, None]) & (number < (start + kept)[:, None])
    return seen


def find_fields(
    texts: Sequence[str], parts: Sequence[Sequence[str]], encoded: Mapping[str, Any]
) -> list[NDArray[np.int16]]:
    """Return for each text the field that each of its tokens comes from, -1 for special tokens.

    What stands between two fields belongs to the one before. A part that is empty or not in the text has no tokens.

    Args:
        texts: as they were given to the tokenizer.
        parts: of each text what its fields contributed, in the order they stand in the text; field f is `parts[t][f]`.
        encoded: what the tokenizer returned with `return_special_tokens_mask`, and `return_offsets_mapping` where it
            knows from where a token came (`tokenizer.is_fast`); without offsets all tokens are of field 0.

    Returns:
        One (n_tokens) int16 array per text.
    """
    found = []
    offsets = encoded.get("offset_mapping")
    for row, special in enumerate(encoded["special_tokens_mask"]):
        fields = np.zeros(len(special), dtype=np.int16)
        if offsets is not None:
            numbers, starts = _find_parts(texts[row], parts[row])
            first = np.asarray(offsets[row], dtype=np.int64).reshape(-1, 2)[:, 0]
            fields[:] = numbers[np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)]
        fields[np.asarray(special, dtype=bool)] = -1
        found.append(fields)
    return found


def _find_parts(text: str, parts: Sequence[str]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the fields that are in a text, in order, and the character at which each begins."""
    numbers, starts, cursor = [], [], 0
    for number, part in enumerate(parts):
        start = text.find(part, cursor) if part else -1
        if start >= 0:
            numbers.append(number)
            starts.append(start)
            cursor = start + len(part)
    # An empty text is all of its first field.
    return np.asarray(numbers or [0], dtype=np.int16), np.asarray(starts or [0], dtype=np.int64)
