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
    """Sums the vectors of the terms in items' texts.

    The vectors of all buckets take a hundred megabytes. On a processor a gradient of that size costs more time to
    allocate in each step than to compute, so `backward` overwrites one gradient; `words.grad` must not be kept.

    Args:
        words: (n_buckets, size), the vectors of the buckets.
        terms: (n_items, n_buckets) weighted terms.
    """

    def __init__(self, words: nn.Parameter, terms: csr_array) -> None:
        self._words = words
        self._terms = terms
        self._gradient: torch.Tensor | None = None
        self._chosen: tuple[NDArray[np.int64], csr_array, torch.Tensor] | None = None

    def sum(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Return (n, size) sums of some items."""
        if self._words.device.type != "cpu":
            return sum_rows(self._words, self._terms[items])
        if self._gradient is None:
            self._gradient = torch.zeros_like(self._words)
        # With the whole catalogue as negatives all steps have the same items.
        if self._chosen is None or not np.array_equal(self._chosen[0], items):
            terms = self._terms[items]
            self._chosen = items, terms, _transpose(terms)
        _, terms, transposed = self._chosen
        sums: torch.Tensor = _Sum.apply(self._words, terms, transposed, self._gradient)  # type: ignore[no-untyped-call]
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
