"""Sums of term vectors for training: their gradient is written to memory that is kept from step to step."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recsys.text.towers import sum_rows


class TermSums:
    """Sums the vectors of the terms in items' texts, and trains those of the buckets that occur.

    The vectors of all buckets take a hundred megabytes. On a processor a gradient of that size costs more time to
    allocate in each step than to compute, so `backward` overwrites one gradient; `words.grad` must not be kept.

    Args:
        vectors: (n_buckets, size), the vectors of all buckets, which `store` changes.
        terms: (n_items, n_buckets) weighted terms, at least one.

    Attributes:
        words: (n_used, size), the vectors of the buckets that occur: to move the others would only cost time.
    """

    def __init__(self, vectors: nn.Parameter, terms: csr_array) -> None:
        self._vectors = vectors
        used = np.unique(terms.indices)
        self._rows = torch.from_numpy(used.astype(np.int64)).to(vectors.device)
        self._terms = csr_array(terms[:, used])
        self.words = nn.Parameter(vectors.detach()[self._rows])
        self._gradient: torch.Tensor | None = None
        self._chosen: tuple[NDArray[np.int64], csr_array, torch.Tensor] | None = None

    def store(self) -> None:
        """Write what was learned to the vectors of all buckets."""
        with torch.no_grad():
            self._vectors[self._rows] = self.words

    def sum(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Return (n, size) sums of some items."""
        if self.words.device.type != "cpu":
            return sum_rows(self.words, self._terms[items])
        if self._gradient is None:
            self._gradient = torch.zeros_like(self.words)
        # With the whole catalogue as negatives all steps have the same items.
        if self._chosen is None or not np.array_equal(self._chosen[0], items):
            terms = self._terms[items]
            self._chosen = items, terms, _transpose(terms)
        _, terms, transposed = self._chosen
        sums: torch.Tensor = _Sum.apply(self.words, terms, transposed, self._gradient)  # type: ignore[no-untyped-call]
        return sums


class _Sum(torch.autograd.Function):
    """`sum_rows` that sets the gradient of the vectors itself."""

    @staticmethod
    def forward(
        ctx: Any, words: nn.Parameter, terms: csr_array, transposed: torch.Tensor, gradient: torch.Tensor
    ) -> torch.Tensor:
        """Return (n, size)."""
        ctx.words, ctx.transposed, ctx.gradient = words, transposed, gradient
        return sum_rows(words, terms)

    @staticmethod
    def backward(ctx: Any, *gradients: torch.Tensor) -> tuple[None, None, None, None]:
        """Set the gradient of the words."""
        if ctx.words.grad is not None:
            raise RuntimeError("term vectors: a second gradient before the optimiser moved; internal error")
        torch.addmm(ctx.gradient, ctx.transposed, gradients[0], beta=0, out=ctx.gradient)
        ctx.words.grad = ctx.gradient
        return None, None, None, None


def _transpose(terms: csr_array) -> torch.Tensor:
    """Return a sparse (n_buckets, n) tensor of (n, n_buckets) terms."""
    turned = csr_array(terms.T.tocsr())
    with warnings.catch_warnings():
        # torch warns that sparse tensors are new, and that their contents are not checked.
        warnings.simplefilter("ignore", UserWarning)
        return torch.sparse_csr_tensor(
            torch.from_numpy(turned.indptr.astype(np.int64)),
            torch.from_numpy(turned.indices.astype(np.int64)),
            torch.from_numpy(turned.data),
            size=turned.shape,
        )
