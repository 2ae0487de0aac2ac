"""What enters the layers that learn: frozen hidden states, or the tokens themselves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.dataset.histories import pick_runs
from recsys.text.encoder import Encoder, Progress
from recsys.text.item_text import clean_text
from recsys.text.training.augmentation import assign_fields


class LayerInputs(Protocol):
    """The texts of a catalogue, at the point from which the encoder is trained."""

    @property
    def starts(self) -> NDArray[np.int64]:
        """(n_texts + 1) int64; the tokens of text t are `starts[t]:starts[t + 1]` of all tokens."""

    @property
    def trainable_layers(self) -> int:
        """Number of top layers that run on what `pad` returns."""

    def pad(self, encoder: Encoder, texts: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return (batch, longest, size) hidden states of some texts, and the (batch, longest) bool mask of tokens."""


@dataclass(frozen=True)
class FrozenStates:
    """Hidden states of every text below the layers that learn, computed once per catalogue.

    Attributes:
        states: (n_tokens, hidden_size) of all texts, concatenated; bfloat16 or float32.
        starts: as in `LayerInputs`.
        trainable_layers: as in `LayerInputs`.
    """

    states: torch.Tensor
    starts: NDArray[np.int64]
    trainable_layers: int

    def pad(self, encoder: Encoder, texts: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return states and mask as in `LayerInputs`; no gradient flows below them."""
        del encoder
        if not len(texts):
            mask = torch.zeros((0, 1), dtype=torch.bool, device=self.states.device)
            return self.states.new_zeros((0, 1, self.states.shape[1])), mask
        rows = [self.states[self.starts[text] : self.starts[text + 1]] for text in texts]
        hidden = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.from_numpy(self.starts[texts + 1] - self.starts[texts])
        mask = torch.arange(hidden.shape[1])[None, :] < lengths[:, None]
        return hidden, mask.to(hidden.device)


@dataclass(frozen=True)
class Tokens:
    """Token ids of every text: all layers and the word vectors learn.

    Attributes:
        ids: (n_tokens) int64 of all texts, concatenated.
        starts: as in `LayerInputs`.
        trainable_layers: all of them.
    """

    ids: NDArray[np.int64]
    starts: NDArray[np.int64]
    trainable_layers: int

    def pad(self, encoder: Encoder, texts: NDArray[np.int64]) -> tuple[torch.Tensor, torch.Tensor]:
        """Return hidden states and mask as in `LayerInputs`; gradients flow back to the word vectors."""
        if not len(texts):
            hidden = torch.zeros((0, 1, encoder.model.config.hidden_size), device=encoder.device)
            return hidden, torch.zeros((0, 1), dtype=torch.bool, device=encoder.device)
        ids, mask = encoder.pad([self.ids[self.starts[text] : self.starts[text + 1]].tolist() for text in texts])
        return encoder.embed_tokens(ids), mask


def tokenize_texts(encoder: Encoder, texts: Sequence[str]) -> Tokens:
    """Tokenize a catalogue for a training that reaches down to the word vectors."""
    tokens = encoder.tokenize(texts)
    ids = np.fromiter((token for text in tokens for token in text), dtype=np.int64)
    return Tokens(ids, _starts(tokens), len(encoder.layers))


def freeze_states(
    encoder: Encoder, texts: Sequence[str], trainable_layers: int, progress: Progress | None = None
) -> FrozenStates:
    """Run every text through the layers below the top `trainable_layers`."""
    tokens = encoder.tokenize(texts)
    starts = _starts(tokens)
    trainable_layers = min(trainable_layers, len(encoder.layers))
    run = encoder.prepare(encoder.layers[: len(encoder.layers) - trainable_layers])
    # Written in place: gathering the states of a large catalogue first would take their memory twice.
    states = torch.empty(
        (int(starts[-1]), encoder.model.config.hidden_size),
        dtype=getattr(torch, encoder.precision),
        device=encoder.device,
    )

    def compute_states(batch: NDArray[np.int64]) -> torch.Tensor:
        with torch.no_grad():
            ids, mask = encoder.pad([tokens[text] for text in batch])
            return run(encoder.embed_tokens(ids), mask)[mask].to(states.dtype)

    for batch, batch_states in encoder.run_batches(compute_states, np.diff(starts).tolist()):
        _, rows = pick_runs(starts, batch)
        states[torch.from_numpy(rows).to(states.device)] = batch_states
        if progress:
            progress(len(batch))
    return FrozenStates(states, starts, trainable_layers)


def encode_inputs(encoder: Encoder, inputs: LayerInputs, progress: Progress | None = None) -> NDArray[np.float32]:
    """Return what `encoder.encode` returns for the same texts, running only the layers that learn.

    In float32 the vectors are equal up to rounding. In bfloat16, frozen states were rounded once more, and the cosine
    to the vectors of `encode` is above 0.9995.
    """
    run = encoder.prepare(encoder.layers[len(encoder.layers) - inputs.trainable_layers :])
    vectors = np.zeros((len(inputs.starts) - 1, encoder.embedding_size), dtype=np.float32)

    def compute_vectors(batch: NDArray[np.int64]) -> torch.Tensor:
        with torch.inference_mode():
            hidden, mask = inputs.pad(encoder, batch)
            return encoder.pool(run(hidden, mask), mask).cpu()

    for batch, batch_vectors in encoder.run_batches(compute_vectors, np.diff(inputs.starts).tolist()):
        vectors[batch] = batch_vectors.numpy()
        if progress:
            progress(len(batch))
    return vectors


def find_token_fields(
    encoder: Encoder, texts: Sequence[str], field_texts: Sequence[Sequence[str]]
) -> list[NDArray[np.int16]]:
    """Return for each text the field that each of its tokens comes from, -1 for special tokens.

    Args:
        encoder: whose tokenizer is used.
        texts: of the catalogue.
        field_texts: for each text, what its fields contributed, in order.
    """
    clean = [clean_text(text, encoder.max_tokens) for text in texts]
    encoded = encoder.tokenizer(
        clean,
        truncation=True,
        max_length=encoder.max_tokens,
        return_special_tokens_mask=True,
        return_offsets_mapping=encoder.tokenizer.is_fast,
    )
    return assign_fields(clean, field_texts, encoded)


def _starts(tokens: Sequence[Sequence[int]]) -> NDArray[np.int64]:
    return np.concatenate([[0], np.cumsum([len(text) for text in tokens])]).astype(np.int64)
