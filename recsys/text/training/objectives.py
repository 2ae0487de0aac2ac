"""What fine-tuning learns from: each objective is a loss on the vectors of items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional


class Heads(nn.Module):
    """Maps that are learned beside the encoder and thrown away with the training.

    Those of items and users are residual and zero at first, as in the interest model; that to collaborative factors
    starts at random.
    """

    def __init__(self, embedding_size: int, factor_size: int) -> None:
        super().__init__()
        self.item_map = nn.Parameter(torch.zeros(embedding_size, embedding_size))
        self.user_map = nn.Parameter(torch.zeros(embedding_size, embedding_size))
        self.factor_map = nn.Linear(embedding_size, factor_size, bias=False) if factor_size else None

    def map_items(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return (n, embedding_size), unit rows."""
        return functional.normalize(vectors + vectors @ self.item_map, dim=-1)

    def map_users(self, means: torch.Tensor) -> torch.Tensor:
        """Return (n, embedding_size), unit rows, of the mean vectors of histories."""
        return functional.normalize(means + means @ self.user_map, dim=-1)


def average_past(vectors: torch.Tensor, past: NDArray[np.int64], decay: float) -> torch.Tensor:
    """Return (n_rows, size): means of the past items' vectors, weights `decay ** steps back`; zeros for none.

    Args:
        vectors: (n_items, size).
        past: (n_rows, length) item numbers, newest first, -1 where there is none.
        decay: 1 weighs all the same.
    """
    known = torch.from_numpy(past >= 0).to(vectors.device)
    steps = torch.arange(past.shape[1], device=vectors.device, dtype=vectors.dtype)
    weights = decay**steps * known
    places = torch.from_numpy(past.clip(min=0)).to(vectors.device)
    total = functional.embedding_bag(places, vectors, per_sample_weights=weights, mode="sum")
    return total / weights.sum(1, keepdim=True).clamp(min=1e-12)


def info_nce_loss(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    right: torch.Tensor,
    forbidden: torch.Tensor,
    temperature: float,
    log_q: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the softmax loss of finding each query's right candidate (van den Oord et al. 2018, arXiv 1807.03748).

    Args:
        queries: (n, size) unit rows.
        candidates: (m, size) unit rows.
        right: (n) the right candidate's number.
        forbidden: (n, m) bool: candidates that are no negatives, because the user has them; the right one may be among
            them and counts all the same.
        temperature: of the softmax.
        log_q: (m) logarithm of how often each candidate is drawn (Yi et al. 2019, RecSys); None: all alike.
        weights: (n) of the examples; None: all alike.
    """
    logits = (queries @ candidates.T).float() / temperature
    if log_q is not None:
        logits = logits - log_q
    forbidden = forbidden.scatter(1, right[:, None], False)
    losses = functional.cross_entropy(logits.masked_fill(forbidden, -torch.inf), right, reduction="none")
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def align_factors(vectors: torch.Tensor, factors: torch.Tensor, factor_map: nn.Module) -> torch.Tensor:
    """Return how far mapped text vectors point away from their items' collaborative factors: 1 - cosine, averaged.

    An item nobody has touched then gets such a factor from its text (van den Oord et al. 2013, NeurIPS).

    Args:
        vectors: (n, size) of texts.
        factors: (n, factor_size), NaN rows for items without.
        factor_map: from size to factor_size.
    """
    known = ~torch.isnan(factors[:, 0])
    cosines = functional.cosine_similarity(factor_map(vectors[known]).float(), factors[known], dim=-1)
    return (1.0 - cosines).sum() / known.sum().clamp(min=1)
