"""Text augmentation: training on texts with some tokens hidden."""

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
    """Draw which tokens of each text are seen in a step.

    A text is first cropped to a span, then whole fields are dropped, then single tokens. Special tokens always stay,
    and so does at least one other token.

    Args:
        lengths: (batch) tokens of each text, special ones included.
        fields: (batch, longest) the field each token comes from; -1 for special tokens and padding.
        rng: draws.
        token_dropout: probability that a token is dropped.
        field_dropout: probability that a field of a text is dropped; one field always stays.
        span_crop: probability that a text is cropped to a span of its tokens, of any length from half of them up.

    Returns:
        (batch, longest) bool, False for padding.
    """
    batch, longest = fields.shape
    inside = np.arange(longest) < np.asarray(lengths)[:, None]
    special = inside & (fields < 0)
    seen = _crop(inside & (fields >= 0), rng, span_crop)
    draws = rng.random((batch, max(1, int(fields.max(initial=0)) + 1)))
    field_draws = np.take_along_axis(draws, np.maximum(fields, 0).astype(np.int64), axis=1)
    seen &= _survives(field_draws, seen, field_dropout)
    seen &= _survives(rng.random((batch, longest)), seen, token_dropout)
    return seen | special


def _survives(draws: NDArray[np.float64], seen: NDArray[np.bool_], probability: float) -> NDArray[np.bool_]:
    """Return what is not dropped; the highest draw among the seen tokens of a text never is."""
    highest = np.where(seen, draws, -1.0).max(axis=1, keepdims=True, initial=-1.0)
    survives: NDArray[np.bool_] = (draws >= probability) | (draws == highest)
    return survives


def _crop(tokens: NDArray[np.bool_], rng: np.random.Generator, probability: float) -> NDArray[np.bool_]:
    """Crop some texts to a span of their tokens, with uniformly drawn length and start."""
    count = tokens.sum(axis=1)
    crop_draws, length_draws, start_draws = rng.random((3, len(tokens)))
    shortest = (count + 1) // 2
    cropped_length = shortest + (length_draws * (count - shortest + 1)).astype(np.int64)
    length = np.where(crop_draws < probability, cropped_length, count)
    start = (start_draws * (count - length + 1)).astype(np.int64)
    index = np.cumsum(tokens, axis=1) - 1
    seen: NDArray[np.bool_] = tokens & (index >= start[:, None]) & (index < (start + length)[:, None])
    return seen


def assign_fields(
    texts: Sequence[str], field_texts: Sequence[Sequence[str]], encoded: Mapping[str, Any]
) -> list[NDArray[np.int16]]:
    """Return for each text the field that each of its tokens comes from, -1 for special tokens.

    Characters between two fields belong to the field before them. A field that is empty or not in the text has no
    tokens.

    Args:
        texts: as they were given to the tokenizer.
        field_texts: for each text, what its fields contributed, in order; field f of text t is `field_texts[t][f]`.
        encoded: what the tokenizer returned with `return_special_tokens_mask`, and with `return_offsets_mapping` if it
            supports offsets (`tokenizer.is_fast`); without offsets all tokens belong to field 0.

    Returns:
        One (n_tokens) int16 array per text.
    """
    fields_by_text = []
    offsets = encoded.get("offset_mapping")
    for row, special in enumerate(encoded["special_tokens_mask"]):
        fields = np.zeros(len(special), dtype=np.int16)
        if offsets is not None:
            present, starts = _locate_fields(texts[row], field_texts[row])
            first = np.asarray(offsets[row], dtype=np.int64).reshape(-1, 2)[:, 0]
            fields[:] = present[np.maximum(np.searchsorted(starts, first, side="right") - 1, 0)]
        fields[np.asarray(special, dtype=bool)] = -1
        fields_by_text.append(fields)
    return fields_by_text


def _locate_fields(text: str, field_texts: Sequence[str]) -> tuple[NDArray[np.int16], NDArray[np.int64]]:
    """Return the fields that are in a text, in order, and the character at which each begins."""
    present, starts, cursor = [], [], 0
    for field, field_text in enumerate(field_texts):
        start = text.find(field_text, cursor) if field_text else -1
        if start >= 0:
            present.append(field)
            starts.append(start)
            cursor = start + len(field_text)
    # An empty text belongs to its first field.
    return np.asarray(present or [0], dtype=np.int16), np.asarray(starts or [0], dtype=np.int64)
