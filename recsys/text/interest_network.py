"""The weights of an interest model, and its loss on a batch."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional

from recsys.config import InterestConfig
from recsys.text.device import products_in
from recsys.text.next_item_batches import NextItemBatch
from recsys.text.term_sums import TermSums
from recsys.text.towers import INITIAL_STD, HistorySpans, gather_rows, make_tower

# A logit without weight in a softmax, whose gradients are still finite.
_EXCLUDED_LOGIT = -1e9
# The weights of a map of vectors in a saved model.
_MAP_KEY = re.compile(r"vector_maps[.](?P<name>.+)_map[.]weight")


class InterestNetwork(nn.Module):
    """The weights of an interest model, except residuals: the maps of texts and vectors, the tower, and term vectors.

    Args:
        embedding_size: length of the texts' embeddings.
        config: shape.
        lengths: of the items' vectors from elsewhere, by name.

    Attributes:
        lengths: the same, sorted by name, which is the order of the vectors in `item_vectors`.
    """

    def __init__(self, embedding_size: int, config: InterestConfig, lengths: Mapping[str, int] | None = None) -> None:
        super().__init__()
        size = config.size or embedding_size
        self._unit = config.size is None
        self.map = nn.Linear(embedding_size, size, bias=False)
        nn.init.normal_(self.map.weight, 0.0, 0.0 if self._unit else INITIAL_STD)
        self.tower = make_tower(size, config)
        # One vector per bucket of hashed terms. Saved models know it by this name.
        self.words = nn.Parameter(torch.zeros(config.hashed_terms, size)) if config.hashed_terms else None
        # By name, so that a loaded model adds them up in the same order.
        self.lengths = dict(sorted((lengths or {}).items()))
        self.vector_maps = nn.ModuleDict(
            {_name_map(name): nn.Linear(length, size, bias=False) for name, length in self.lengths.items()}
        )
        for weight in self.vector_maps.parameters():
            if self._unit:
                # Cosines of the vectors count from the start, like those of the texts.
                nn.init.orthogonal_(weight)
            else:
                nn.init.normal_(weight, 0.0, INITIAL_STD)

    def item_vectors(
        self,
        embeddings: torch.Tensor,
        residuals: torch.Tensor | None,
        terms: torch.Tensor | None = None,
        vectors: Sequence[torch.Tensor] = (),
        kept: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Return (n, size) item vectors of (n, embedding_size) embeddings, with everything else added.

        Args:
            embeddings: (n, embedding_size) of the texts.
            residuals: (n, size), if there are any.
            terms: (n, size) term vectors, if there are any.
            vectors: (n, length) of each of `lengths`, zeros where an item has none.
            kept: (n, 1 + n_lengths) 1 where the text and each vector count, 0 where they are dropped out; None: all
                count.
        """
        parts = [embeddings + self.map(embeddings) if self._unit else self.map(embeddings)]
        parts += [self.vector_maps[_name_map(name)](own) for name, own in zip(self.lengths, vectors, strict=True)]
        if kept is not None:
            parts = [part * kept[:, place, None] for place, part in enumerate(parts)]
        vectors_of_items: torch.Tensor = parts[0]
        for addend in (*parts[1:], residuals, terms):
            vectors_of_items = vectors_of_items if addend is None else vectors_of_items + addend
        return functional.normalize(vectors_of_items, dim=-1) if self._unit else vectors_of_items

    def user_vectors(self, item_vectors: torch.Tensor, spans: HistorySpans) -> torch.Tensor:
        """Return (n_queries, size) user vectors from (n, size) item vectors."""
        states: torch.Tensor = self.tower(item_vectors, spans)
        return functional.normalize(states, dim=-1) if self._unit else states


def read_lengths(state: Mapping[str, torch.Tensor]) -> dict[str, int]:
    """Return the lengths of the vectors that saved weights have maps for, by name."""
    found = {name: _MAP_KEY.fullmatch(name) for name in state}
    return {match["name"]: state[key].shape[1] for key, match in found.items() if match}


def _name_map(name: str) -> str:
    # A module may not have the name of one of the attributes that all modules have.
    return f"{name}_map"


class _LogSumExp(torch.autograd.Function):
    """`logsumexp` over the second dimension, with fewer passes over a large matrix: the softmax is its gradient."""

    @staticmethod
    def forward(ctx: Any, logits: torch.Tensor) -> torch.Tensor:
        """Return (n) float32 of (n, m) logits."""
        shares = logits.softmax(dim=1)
        ctx.save_for_backward(shares)
        # Both largest values belong to the same column.
        return logits.amax(dim=1).float() - shares.amax(dim=1).float().log()

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> torch.Tensor:
        """Return (n, m)."""
        (shares,) = ctx.saved_tensors
        gradient: torch.Tensor = shares * gradients[0][:, None].to(shares.dtype)
        return gradient


def _sum_exponentials(logits: torch.Tensor) -> torch.Tensor:
    """Return (n) float32, the logarithm of the sum of the exponentials of each row of (n, m) logits."""
    sums: torch.Tensor = _LogSumExp.apply(logits)  # type: ignore[no-untyped-call]
    return sums


@dataclass(frozen=True)
class InterestLoss:
    """The loss that an interest model is trained on.

    Attributes:
        network: the weights that learn.
        embeddings: (n_items, embedding_size) float32.
        residuals: (n_items, size), which learn too, if there are any.
        terms: sums of the vectors of the terms in the items' texts, if they are used.
        vectors: (n_items, length) float32 of each of the network's `lengths`, zeros where an item has none.
        ordered: whether the data has an order.
        config: dropout and temperature.
        precision: of matrix products, `float32` or `bfloat16`.
    """

    network: InterestNetwork
    embeddings: torch.Tensor
    residuals: nn.Parameter | None
    terms: TermSums | None
    vectors: Sequence[torch.Tensor]
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
        logits = torch.addmm(self._exclude(batch), states, gather_rows(vectors, negative_rows).T)
        negatives = _sum_exponentials(logits)[:, None] + float(np.log(batch.items_per_negative))
        negatives = gather_rows(negatives, batch.target_queries).squeeze(1)
        losses = torch.logaddexp(target_logits, negatives) - target_logits
        return (losses * self._to_device(batch.target_weights)).mean()

    def _exclude(self, batch: NextItemBatch) -> torch.Tensor:
        """Return (n_queries, n_negatives): 0, or a large negative number where the item is no negative of the query."""
        dtype = torch.bfloat16 if self.precision == "bfloat16" else torch.float32
        excluded = self._to_device(batch.interacted).to(dtype) * _EXCLUDED_LOGIT
        return excluded[self._to_device(batch.query_users)]

    def _item_vectors(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Return (n, size) vectors of some items; residuals and terms are dropped out for a random share of them."""
        network, config, rows = self.network, self.config, self._to_device(items)
        residuals = terms = None
        if self.residuals is not None:
            residuals = self.residuals[rows] * (self._draw(len(items)) >= config.residual_dropout)
        if self.terms is not None:
            terms = self.terms.sum(items) * (self._draw(len(items)) >= config.hashed_terms_dropout)
        embeddings, vectors = self.embeddings[rows], [own[rows] for own in self.vectors]
        kept = self._draw_kept([embeddings, *vectors]) if vectors else None
        return network.item_vectors(embeddings, residuals, terms, vectors, kept)

    def _draw_kept(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        """Return (n, n_parts) 1 for kept parts of items, else 0; never 0 for all parts that an item has."""
        has = torch.stack([part.any(dim=1) for part in parts], dim=1)
        drawn = torch.rand(has.shape, device=has.device) >= self.config.vector_dropout
        kept = has & drawn
        return torch.where(kept.any(dim=1, keepdim=True), kept, has).float()

    def _draw(self, n: int) -> torch.Tensor:
        """Draw (n, 1) numbers from 0 to 1."""
        return torch.rand(n, 1, device=self.embeddings.device)

    def _to_device(self, array: NDArray[Any]) -> torch.Tensor:
        return torch.from_numpy(array).to(self.embeddings.device)
