"""User towers: what a history of item vectors says at places of it.

All have one contract: `tower(vectors, stretches)` takes (n, size) float32 item vectors and stretches of histories over
them, and returns (n_asked, size) states. The state at a place knows this place and real ones before it, never a later
one, so that one pass answers "what came next?" at all places.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from recsys.config import InterestConfig

# Spread of weights that must not start at zero.
INITIAL = 0.02


@dataclass(frozen=True)
class Stretches:
    """Stretches of histories, and the places of them that are asked about.

    Attributes:
        items: (n_users, longest) int64, rows of the vectors, oldest first; any number where nothing is.
        real: (n_users, longest) bool: something is.
        ordered: False where the data has no order: no place then counts for more because it stands later.
        rows: (n_asked) int64, the user of each place that is asked about.
        places: (n_asked) int64, the place.
    """

    items: NDArray[np.int64]
    real: NDArray[np.bool_]
    ordered: bool
    rows: NDArray[np.int64]
    places: NDArray[np.int64]


def take(vectors: torch.Tensor, places: NDArray[np.int64]) -> torch.Tensor:
    """Return the rows at places; unlike plain indexing its gradients are added up in the same order each time."""
    return functional.embedding(torch.from_numpy(np.ascontiguousarray(places)), vectors)


def add_up(vectors: torch.Tensor, rows: csr_array) -> torch.Tensor:
    """Return (n, size): for each of the sparse rows the sum of the vectors it names, by its weights."""
    return functional.embedding_bag(
        torch.from_numpy(rows.indices.astype(np.int64)),
        # Under autocast they may be of half precision, and the weights are not.
        vectors.float(),
        torch.from_numpy(rows.indptr[:-1].astype(np.int64)),
        per_sample_weights=torch.from_numpy(rows.data),
        mode="sum",
    )


def make_tower(size: int, config: InterestConfig) -> nn.Module:
    """Return the tower that the config names, for vectors of this size."""
    match config.tower:
        case "mean":
            return MeanTower(size, config.history_decay)
        case "attention":
            return AttentionTower(size, config.history_length, config.history_decay)
        case "transformer":
            return TransformerTower(size, config)


class MeanTower(nn.Module):
    """The mean m of the vectors so far, each step back weighing `decay` times less, plus a linear map of m.

    The map starts at zero.
    """

    def __init__(self, size: int, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self.map = _start_at_zero(size)

    def forward(self, vectors: torch.Tensor, stretches: Stretches) -> torch.Tensor:
        """Read the histories."""
        back = stretches.places[:, None] - np.arange(stretches.items.shape[1])[None, :]
        seen = (back > 0) & stretches.real[stretches.rows] | (back == 0)
        weights = np.where(seen, (self._decay if stretches.ordered else 1.0) ** np.maximum(back, 0), 0.0)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
        shape = (len(seen), len(vectors))
        past = csr_array((weights[seen], stretches.items[stretches.rows][seen], ends), shape=shape)
        mean = add_up(vectors, past)
        moved: torch.Tensor = mean + self.map(mean)
        return moved


class AttentionTower(nn.Module):
    """Each place attends over its past; with what it read goes a linear map of it, as in `MeanTower`.

    How much a place minds an earlier one is a learned bilinear form of their vectors (query and key maps in one) plus a
    learned bias for each number of steps between them. The form starts at zero and the biases at the logarithms of the
    mean's weights, so at first it is the recency-weighted mean. Where there is no order the biases are left out.
    """

    def __init__(self, size: int, length: int, decay: float) -> None:
        super().__init__()
        self.query_key = _start_at_zero(size)
        self.recency = nn.Parameter(float(np.log(decay)) * torch.arange(length, dtype=torch.float32))
        self.map = _start_at_zero(size)

    def forward(self, vectors: torch.Tensor, stretches: Stretches) -> torch.Tensor:
        """Read the histories, which are no longer than the biases go back."""
        sequences = take(vectors, stretches.items)
        scores = self.query_key(sequences) @ sequences.mT
        if stretches.ordered:
            scores = scores + self.recency[_count_steps_back(sequences.shape[1]).clamp(min=0)]
        read = scores.masked_fill(~_find_seen(stretches.real), -torch.inf).softmax(dim=2) @ sequences
        read = read[torch.from_numpy(stretches.rows), torch.from_numpy(stretches.places)]
        moved: torch.Tensor = read + self.map(read)
        return moved


class TransformerTower(nn.Module):
    """A small causal transformer over the vectors and their places (Kang and McAuley 2018, ICDM).

    Places are counted from the oldest, so real places come first. Without an order they say how many came before.
    """

    def __init__(self, size: int, config: InterestConfig) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(config.history_length, size).normal_(0.0, INITIAL))
        self.blocks = nn.ModuleList(_Block(size, config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(size)
        self.dropout = nn.Dropout(config.dropout)
        self._scale = float(size) ** 0.5

    def forward(self, vectors: torch.Tensor, stretches: Stretches) -> torch.Tensor:
        """Read the histories, which are no longer than `history_length`."""
        sequences, seen = take(vectors, stretches.items), _find_seen(stretches.real)[:, None]
        states: torch.Tensor = self.dropout(sequences * self._scale + self.positions[: sequences.shape[1]])
        for block in self.blocks:
            states = block(states, seen)
        normed: torch.Tensor = self.norm(states[torch.from_numpy(stretches.rows), torch.from_numpy(stretches.places)])
        return normed


class _Block(nn.Module):
    """One transformer layer, norms first."""

    def __init__(self, size: int, config: InterestConfig) -> None:
        super().__init__()
        self.heads, self.rate = config.heads, config.dropout
        self.attention_norm, self.feed_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.output = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), nn.Dropout(config.dropout), nn.Linear(2 * size, size)
        )
        self.dropout = nn.Dropout(config.dropout)

    def forward(self, states: torch.Tensor, seen: torch.Tensor) -> torch.Tensor:
        batch, length, size = states.shape
        parts = self.query_key_value(self.attention_norm(states)).view(batch, length, 3, self.heads, -1)
        query, key, value = parts.permute(2, 0, 3, 1, 4)
        rate = self.rate if self.training else 0.0
        read = functional.scaled_dot_product_attention(query, key, value, attn_mask=seen, dropout_p=rate)
        states = states + self.dropout(self.output(read.transpose(1, 2).reshape(batch, length, size)))
        fed: torch.Tensor = states + self.dropout(self.feed(self.feed_norm(states)))
        return fed


def _start_at_zero(size: int) -> nn.Linear:
    linear = nn.Linear(size, size, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


def _count_steps_back(length: int) -> torch.Tensor:
    """Return (length, length) int64: steps from each place (row) back to another; negative for later ones."""
    places = torch.arange(length)
    return places[:, None] - places[None, :]


def _find_seen(real: NDArray[np.bool_]) -> torch.Tensor:
    """Return (batch, length, length) bool: the row's place sees the column's. Each sees itself: none may be blind."""
    back = _count_steps_back(real.shape[1])
    return (back > 0) & torch.from_numpy(real)[:, None, :] | (back == 0)
