"""What goes into the layers that learn: frozen hidden states, or the tokens themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import clean_text
from recsys.text.training.augmentation import find_fields


class Inputs(Protocol):
    """The texts of a catalogue, at the point from which the encoder is trained."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n_texts + 1) int64; text t's tokens are `starts[t]:starts[t + 1]` of all tokens."""

    @property
    def trainable_layers(self) -> int:
        """The last so many layers run on what `pad` returns."""

    def pad(self, encoder: Encoder, places: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, longest, size) hidden states and the (batch, longest) bool mask of real tokens."""


@dataclass(frozen=True)
class FrozenStates:
    """Hidden states of every text below the layers that learn, computed once per catalogue.

    Attributes:
        states: (n_tokens, hidden_size) of all texts one after the other; bfloat16 or float32.
        starts: as in `Inputs`.
        trainable_layers: as in `Inputs`.
    """

    states: torch.Tensor
    starts: NDArray[np.int64]
    trainable_layers: int

    def pad(self, encoder: Encoder, places: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and mask as in `Inputs`; nothing below learns."""
        del encoder
        if not len(places):
            return self.states.new_zeros((0, 1, self.states.shape[1])), torch.zeros((0, 1), dtype=torch.bool)
        rows = [self.states[self.starts[place] : self.starts[place + 1]] for place in places]
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        return hidden, _mask(self.starts, places, hidden.shape[1]).to(hidden.device)


@dataclass(frozen=True)
class Tokens:
    """Token numbers of every text: all layers and the word vectors learn.

    Attributes:
        numbers: (n_tokens) int64 of all texts one after the other.
        starts: as in `Inputs`.
        trainable_layers: all of them.
    """

    numbers: NDArray[np.int64]
    starts: NDArray[np.int64]
    trainable_layers: int

    def pad(self, encoder: Encoder, places: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states and mask as in `Inputs`; gradients flow back to the word vectors."""
        rows = [self.numbers[self.starts[place] : self.starts[place + 1]].tolist() for place in places]
        if not rows:
            size = encoder.model.config.hidden_size
            return torch.zeros((0, 1, size), device=encoder.device), torch.zeros(
                (0, 1), dtype=torch.bool, device=encoder.device
            )
        ids, mask = encoder.pad(rows)
        return encoder.embed_tokens(ids), mask


def read_tokens(encoder: Encoder, texts: Sequence[str]) -> Tokens:
    """Tokenize a catalogue for training that reaches down to the word vectors."""
    tokens = encoder.tokenize(texts)
    numbers = np.fromiter((number for text in tokens for number in text), dtype=np.int64)
    return Tokens(numbers, _starts(tokens), len(encoder.layers))


def freeze_states(
    encoder: Encoder, texts: Sequence[str], trainable_layers: int, progress: Progress | None = None
) -> FrozenStates:
    """Run every text through the layers below the last `trainable_layers`."""
    tokens = encoder.tokenize(texts)
    trainable_layers = min(trainable_layers, len(encoder.layers))
    run = encoder.prepare(encoder.layers[: len(encoder.layers) - trainable_layers])
    kind = getattr(torch, encoder.precision)
    rows: list[torch.Tensor] = [torch.empty(0)] * len(texts)

    def work(batch: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        with torch.no_grad():
            ids, mask = encoder.pad([tokens[place] for place in batch])
            return run(encoder.embed_tokens(ids), mask).to(kind), mask

    for batch, (hidden, mask) in encoder.run_batches(work, [len(one) for one in tokens]):
        for place, states, real in zip(batch, hidden, mask, strict=True):
            rows[place] = states[real].clone()
        if progress:
            progress(len(batch))
    states = torch.cat(rows) if rows else torch.empty(0, encoder.model.config.hidden_size)
    return FrozenStates(states, _starts(tokens), trainable_layers)


def encode_inputs(encoder: Encoder, inputs: Inputs, progress: Progress | None = None) -> NDArray[np.float32]:
    """Return what `encoder.encode` returns for the same texts, running only the layers that learn.

    In float32 the vectors are equal up to rounding; in bfloat16 frozen states were rounded once more, and the cosine
    to `encode` is above 0.9999.
    """
    run = encoder.prepare(encoder.layers[len(encoder.layers) - inputs.trainable_layers :])
    vectors = np.zeros((len(inputs.starts) - 1, encoder.embedding_size), dtype=np.float32)

    def work(batch: NDArray[np.int64]) -> torch.Tensor:
        with torch.inference_mode():
            hidden, mask = inputs.pad(encoder, batch)
            return encoder.pool(run(hidden, mask), mask).cpu()

    for batch, found in encoder.run_batches(work, np.diff(inputs.starts).tolist()):
        vectors[batch] = found.numpy()
        if progress:
            progress(len(batch))
    return vectors


def _starts(tokens: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(one) for one in tokens])]).astype(np.int64)


def _mask(starts: NDArray[np.int64], places: NDArray[np.int64], longest: int) -> torch.Tensor:
    lengths = torch.from_numpy(starts[places + 1] - starts[places])
    return torch.arange(longest)[None, :] < lengths[:, None]


def read_fields(encoder: Encoder, texts: Sequence[str], parts: Sequence[Sequence[str]]) -> list[NDArray[np.int16]]:
    """Return of each text the field that each token comes from, -1 for special ones.

    Args:
        encoder: whose tokenizer cuts the texts.
        texts: of the catalogue.
        parts: of each text what its fields contributed, in order.
    """
    clean = [clean_text(text, encoder.max_tokens) for text in texts]
    encoded = encoder.tokenizer(
        clean,
        truncation=True,
        max_length=encoder.max_tokens,
        return_special_tokens_mask=True,
        return_offsets_mapping=encoder.tokenizer.is_fast,
    )
    return find_fields(clean, parts, encoded)
