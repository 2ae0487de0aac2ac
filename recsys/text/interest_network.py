"""The weights of an interest model, and its loss on a batch."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn
from torch.nn import functional

from recsys.config import InterestConfig
from recsys.text.device import products_in
from recsys.text.next_item_batches import NextItemBatch
from recsys.text.towers import INITIAL_STD, HistorySpans, gather_rows, make_tower, sum_rows

# A logit without weight in a softmax, whose gradients are still finite.
_EXCLUDED_LOGIT = -1e9


class InterestNetwork(nn.Module):
    """The weights of an interest model, except residuals: the map of texts, the tower, and the vectors of terms."""

    def __init__(self, embedding_size: int, config: InterestConfig) -> None:
        super().__init__()
        size = config.size or embedding_size
        self._unit = config.size is None
        self.map = nn.Linear(embedding_size, size, bias=False)
        nn.init.normal_(self.map.weight, 0.0, 0.0 if self._unit else INITIAL_STD)
        self.tower = make_tower(size, config)
        # One vector per bucket of hashed terms. Saved models know it by this name.
        self.words = nn.Parameter(torch.zeros(config.hashed_terms, size)) if config.hashed_terms else None

    def item_vectors(
        self, embeddings: torch.Tensor, residuals: torch.Tensor | None, terms: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return (n, size) item vectors of (n, embedding_size) embeddings, with residuals and term vectors added."""
        vectors: torch.Tensor = embeddings + self.map(embeddings) if self._unit else self.map(embeddings)
        for addend in (residuals, terms):
            vectors = vectors if addend is None else vectors + addend
        return functional.normalize(vectors, dim=-1) if self._unit else vectors

    def user_vectors(self, item_vectors: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
        """Return (n_queries, size) user vectors from (n, size) item vectors."""
        states: torch.Tensor = self.tower(item_vectors, spans)
        return functional.normalize(states, dim=-1) if self._unit else states


@dataclass(frozen=True)
class InterestLoss:
    """The loss that an interest model is trained on.

    Attributes:
        network: the weights that learn.
        embeddings: (n_items, embedding_size) float32.
        residuals: (n_items, size), which learn too, if there are any.
        terms: (n_items, hashed_terms) weighted terms of the items' texts, if they are used.
        ordered: whether the data has an order.
        config: dropout and temperature.
        precision: of matrix products, `float32` or `bfloat16`.
    """

    network: InterestNetwork
    embeddings: torch.Tensor
    residuals: nn.Parameter | None
    terms: csr_array | None
    ordered: bool
    config: InterestConfig
    precision: str

    def compute(self, batch: NextItemBatch) -> Iterator[torch.Tensor]:
        """Yield the mean weighted softmax loss of the targets, each against the negatives of its query."""
        with products_in(self.precision, self.embeddings.device):
            loss = self._softmax_loss(batch)
        yield loss

    def _softmax_loss(self, batch: NextItemBatch) -> torch.Tensor:
        items, rows = np.unique(np.concatenate([batch.items.ravel(), batch.negatives]), return_inverse=True)
        vectors = self._item_vectors(items)
        history_rows, negative_rows = rows[: batch.items.size], rows[batch.items.size :]
        past = history_rows.reshape(batch.items.shape)[:, :-1]
        spans = HistorySpans(past, batch.mask[:, :-1], self.ordered, batch.query_users, batch.query_steps)
        states = self.network.user_vectors(vectors, spans)
        if self.config.size is None:
            states = states / self.config.temperature
        target_vectors = gather_rows(vectors, history_rows[batch.targets])
        target_logits = (gather_rows(states, batch.target_queries) * target_vectors).sum(dim=1).float()
        logits = (states @ gather_rows(vectors, negative_rows).T).float() + float(np.log(batch.items_per_negative))
        interacted = self._to_device(batch.interacted)[self._to_device(batch.query_users)]
        negatives = logits.masked_fill(interacted, _EXCLUDED_LOGIT).logsumexp(dim=1, keepdim=True)
        negatives = gather_rows(negatives, batch.target_queries).squeeze(1)
        losses = torch.logaddexp(target_logits, negatives) - target_logits
        return (losses * self._to_device(batch.target_weights)).mean()

    def _item_vectors(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Return (n, size) vectors of some items; residuals and terms are dropped out for a random share of them."""
        network, config, rows = self.network, self.config, self._to_device(items)
        residuals = terms = None
        if self.residuals is not None:
            residuals = self.residuals[rows] * (self._draw(len(items)) >= config.residual_dropout)
        if self.terms is not None and network.words is not None:
            terms = sum_rows(network.words, self.terms[items])
            terms = terms * (self._draw(len(items)) >= config.hashed_terms_dropout)
        return network.item_vectors(self.embeddings[rows], residuals, terms)

    def _draw(self, n: int) -> torch.Tensor:
        """Draw (n, 1) numbers from 0 to 1."""
        return torch.rand(n, 1, device=self.embeddings.device)

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.embeddings.device)
