"""The objectives of fine-tuning: losses on the vectors of items."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from torch.nn import functional


class Heads(nn.Module):
    """Maps that are trained together with the encoder and discarded afterwards.

    The maps of items and users are residual and start at zero, as in the interest model; the map to collaborative
    factors starts at random.
    """

    def __init__(self, embedding_size: int, factor_size: int) -> None:
        super().__init__()
        self.item_map = nn.Parameter(torch.zeros(embedding_size, embedding_size))
        self.user_map = nn.Parameter(torch.zeros(embedding_size, embedding_size))
        self.factor_map = nn.Linear(embedding_size, factor_size, bias=False) if factor_size else None

    def map_items(self, vectors: torch.Tensor) -> torch.Tensor:
        """Return (n, embedding_size) item vectors, unit rows."""
        return functional.normalize(vectors + vectors @ self.item_map, dim=-1)

    def map_users(self, means: torch.Tensor) -> torch.Tensor:
        """Return (n, embedding_size) user vectors, unit rows, from the mean vectors of histories."""
        return functional.normalize(means + means @ self.user_map, dim=-1)


def average_histories(vectors: torch.Tensor, past: NDArray[np.int64], decay: float) -> torch.Tensor:
    """Return (n_rows, size) means of the past items' vectors, weighted by `decay ** steps back`; zeros without items.

    Args:
        vectors: (n_items, size).
        past: (n_rows, length) item indices, newest first, -1 where there are no more.
        decay: 1 gives all items the same weight.
    """
    exists = torch.from_numpy(past >= 0).to(vectors.device)
    steps_back = torch.arange(past.shape[1], device=vectors.device, dtype=vectors.dtype)
    weights = decay**steps_back * exists
    items = torch.from_numpy(past.clip(min=0)).to(vectors.device)
    total = functional.embedding_bag(items, vectors, per_sample_weights=weights, mode="sum")
    return total / weights.sum(1, keepdim=True).clamp(min=1e-12)


def info_nce_loss(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    targets: torch.Tensor,
    excluded: torch.Tensor,
    temperature: float,
    log_q: torch.Tensor | None = None,
    weights: torch.Tensor | None = None,
) -> torch.Tensor:
    """Return the softmax loss of each query's target among the candidates (van den Oord et al. 2018, arXiv 1807.03748).

    Args:
        queries: (n, size) unit rows.
        candidates: (m, size) unit rows.
        targets: (n) column of each query's target.
        excluded: (n, m) bool: candidates that are not used as negatives because the user interacted with them. The
            target counts even if it is excluded.
        temperature: of the softmax.
        log_q: (m) log of the probability that each candidate is drawn (Yi et al. 2019, RecSys); None: uniform.
        weights: (n) of the examples; None: uniform.
    """
    logits = (queries @ candidates.T).float() / temperature
    if log_q is not None:
        logits = logits - log_q
    excluded = excluded.scatter(1, targets[:, None], False)
    losses = functional.cross_entropy(logits.masked_fill(excluded, -torch.inf), targets, reduction="none")
    if weights is None:
        return losses.mean()
    return (losses * weights).sum() / weights.sum().clamp(min=1e-12)


def align_factors(vectors: torch.Tensor, factors: torch.Tensor, factor_map: nn.Module) -> torch.Tensor:
    """Return the mean of 1 - cosine between mapped text vectors and their items' collaborative factors.

    It lets the text alone predict the factors of an item without interactions (van den Oord et al. 2013, NeurIPS).

    Args:
        vectors: (n, size) of texts.
        factors: (n, factor_size), NaN rows for items without, which are left out.
        factor_map: from size to factor_size.
    """
    known = ~torch.isnan(factors[:, 0])
    cosines = functional.cosine_similarity(factor_map(vectors[known]).float(), factors[known], dim=-1)
    return (1.0 - cosines).sum() / known.sum().clamp(min=1)
