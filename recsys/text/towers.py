"""User towers: modules that turn a history of item vectors into a user vector.

All towers have the same contract: `tower(vectors, spans)` takes (n, size) float32 item vectors and spans of histories
over them, and returns (n_queries, size) states. The state at a step depends on the item of that step and the items
before it in the span, never on later ones, so one pass predicts the next item at all steps.
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
from recsys.text.attention import attend
from recsys.text.dropout import ByteDropout

# Standard deviation of initial weights that are not zero.
INITIAL_STD = 0.02


@dataclass(frozen=True)
class HistorySpans:
    """Spans of histories, and the steps whose states are computed.

    Attributes:
        items: (n_users, longest) int64, rows of the item vectors, oldest first; arbitrary where the mask is False.
        mask: (n_users, longest) bool: there is an item; False beyond the end of a span.
        ordered: False for data without an order: items then do not weigh more because they come later.
        query_users: (n_queries) int64, the row of each query's user.
        query_steps: (n_queries) int64, the column of each query's newest item.
    """

    items: NDArray[np.int64]
    mask: NDArray[np.bool_]
    ordered: bool
    query_users: NDArray[np.int64]
    query_steps: NDArray[np.int64]


def gather_rows(vectors: torch.Tensor, rows: NDArray[np.int64]) -> torch.Tensor:
    """Return the vectors at some rows; unlike plain indexing, gradients are summed in a fixed order."""
    return functional.embedding(torch.from_numpy(np.ascontiguousarray(rows)).to(vectors.device), vectors)


def sum_rows(vectors: torch.Tensor, weights: csr_array) -> torch.Tensor:
    """Return (n, size): the product of a sparse (n, n_vectors) weight matrix with the vectors."""
    return functional.embedding_bag(
        torch.from_numpy(weights.indices.astype(np.int64)).to(vectors.device),
        # Under autocast the vectors may have half precision, and the weights do not.
        vectors.float(),
        torch.from_numpy(weights.indptr[:-1].astype(np.int64)).to(vectors.device),
        per_sample_weights=torch.from_numpy(weights.data).to(vectors.device),
        mode="sum",
    )


def make_tower(size: int, config: InterestConfig) -> nn.Module:
    """Return the configured tower for vectors of this size."""
    match config.tower:
        case "mean":
            return MeanTower(size, config.history_decay)
        case "attention":
            return AttentionTower(size, config.history_length, config.history_decay)
        case "transformer":
            return TransformerTower(size, config)


class MeanTower(nn.Module):
    """The mean m of the vectors up to a step, each step back weighing `decay` times less, plus a linear map of m.

    The map starts at zero.
    """

    def __init__(self, size: int, decay: float) -> None:
        super().__init__()
        self._decay = decay
        self.map = _make_zero_map(size)

    def forward(self, vectors: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
        """Compute the states."""
        steps_back = spans.query_steps[:, None] - np.arange(spans.items.shape[1])[None, :]
        seen = (steps_back > 0) & spans.mask[spans.query_users] | (steps_back == 0)
        decay = self._decay if spans.ordered else 1.0
        weights = np.where(seen, decay ** np.maximum(steps_back, 0), 0.0)
        weights = (weights / weights.sum(axis=1, keepdims=True)).astype(np.float32)
        ends = np.concatenate([[0], np.cumsum(seen.sum(axis=1))])
        shape = (len(seen), len(vectors))
        mean = sum_rows(vectors, csr_array((weights[seen], spans.items[spans.query_users][seen], ends), shape=shape))
        states: torch.Tensor = mean + self.map(mean)
        return states


class AttentionTower(nn.Module):
    """Single-head attention of each step over the steps up to it, plus a linear map of the result as in `MeanTower`.

    The attention score of an earlier step is a learned bilinear form of the two vectors (query and key maps in one)
    plus a learned bias for the number of steps between them. The form starts at zero and the biases at the logarithms
    of the mean's weights, so the tower starts as the recency-weighted mean. Without an order there are no biases.
    """

    def __init__(self, size: int, length: int, decay: float) -> None:
        super().__init__()
        self.query_key = _make_zero_map(size)
        self.recency = nn.Parameter(float(np.log(decay)) * torch.arange(length, dtype=torch.float32))
        self.map = _make_zero_map(size)

    def forward(self, vectors: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
        """Compute the states; spans must not be longer than the number of biases."""
        sequences = gather_rows(vectors, spans.items)
        scores = self.query_key(sequences) @ sequences.mT
        if spans.ordered:
            steps_back = _count_steps_back(sequences.shape[1], vectors.device)
            scores = scores + self.recency[steps_back.clamp(min=0)]
        seen = _causal_mask(spans.mask, vectors.device)
        attended = _pick_queries(scores.masked_fill(~seen, -torch.inf).softmax(dim=2) @ sequences, spans)
        states: torch.Tensor = attended + self.map(attended)
        return states


class TransformerTower(nn.Module):
    """A small causal transformer over item vectors and learned positions (Kang and McAuley 2018, ICDM).

    Positions count from the oldest item of the span. In data without an order they only encode how many items came
    before.
    """

    def __init__(self, size: int, config: InterestConfig) -> None:
        super().__init__()
        self.positions = nn.Parameter(torch.empty(config.history_length, size).normal_(0.0, INITIAL_STD))
        self.blocks = nn.ModuleList(_TransformerLayer(size, config) for _ in range(config.layers))
        self.norm = nn.LayerNorm(size)
        self.dropout = ByteDropout(config.dropout)
        self._scale = float(size) ** 0.5

    def forward(self, vectors: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
        """Compute the states; spans must not be longer than `history_length`."""
        sequences = gather_rows(vectors, spans.items)
        states: torch.Tensor = self.dropout(sequences * self._scale + self.positions[: sequences.shape[1]])
        for layer in self.blocks:
            states = layer(states)
        normed: torch.Tensor = self.norm(_pick_queries(states, spans))
        return normed


class _TransformerLayer(nn.Module):
    """A pre-norm transformer layer."""

    def __init__(self, size: int, config: InterestConfig) -> None:
        super().__init__()
        self.heads = config.heads
        self.attention_norm, self.feed_norm = nn.LayerNorm(size), nn.LayerNorm(size)
        self.query_key_value, self.output = nn.Linear(size, 3 * size), nn.Linear(size, size)
        self.feed = nn.Sequential(
            nn.Linear(size, 2 * size), nn.GELU(), ByteDropout(config.dropout), nn.Linear(2 * size, size)
        )
        self.dropout = ByteDropout(config.dropout)

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        batch, length, size = states.shape
        projected = self.query_key_value(self.attention_norm(states)).view(batch, length, 3, self.heads, -1)
        query, key, value = projected.permute(2, 0, 3, 1, 4)
        # What lies beyond the end of a span is later than all of its steps, so it needs no mask.
        attended = attend(query, key, value, causal=True, scale=query.shape[-1] ** -0.5)
        states = states + self.dropout(self.output(attended.transpose(1, 2).reshape(batch, length, size)))
        transformed: torch.Tensor = states + self.dropout(self.feed(self.feed_norm(states)))
        return transformed


def _make_zero_map(size: int) -> nn.Linear:
    linear = nn.Linear(size, size, bias=False)
    nn.init.zeros_(linear.weight)
    return linear


def _pick_queries(states: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
    """Return (n_queries, size): of (n_users, longest, size) states those of the queries."""
    users, steps = (torch.from_numpy(rows).to(states.device) for rows in (spans.query_users, spans.query_steps))
    return states[users, steps]


def _count_steps_back(length: int, device: torch.device) -> torch.Tensor:
    """Return (length, length) int64: steps from the row's step back to the column's; negative for later ones."""
    steps = torch.arange(length, device=device)
    return steps[:, None] - steps[None, :]


def _causal_mask(mask: NDArray[np.bool_], device: torch.device) -> torch.Tensor:
    """Return (batch, length, length) bool: the row's step sees the column's.

    Every step sees itself, also beyond the end of a span: a softmax over nothing would be NaN.
    """
    steps_back = _count_steps_back(mask.shape[1], device)
    return (steps_back > 0) & torch.from_numpy(mask).to(device)[:, None, :] | (steps_back == 0)
