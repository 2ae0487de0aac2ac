"""Sums of term vectors for training: they are computed, and the vectors moved, once in several steps."""

from __future__ import annotations

import warnings
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array
from torch import nn

from recsys.config import InterestConfig
from recsys.text.towers import sum_rows

# Vectors that move in every step learn nothing more, and take two thirds of a training's time; but new ones need some
# updates.
_MAX_STEPS_PER_UPDATE, _UPDATES = 4, 100


def count_steps_per_update(steps: int, continued: bool) -> int:
    """Return after how many steps term vectors move.

    Args:
        steps: of the training.
        continued: whether the vectors have been trained before.
    """
    return _MAX_STEPS_PER_UPDATE if continued else min(_MAX_STEPS_PER_UPDATE, max(1, steps // _UPDATES))


@dataclass
class _Chosen:
    """Some items, their terms, and the sums of these, which collect the gradients of several steps."""

    items: NDArray[np.int64]
    terms: csr_array
    transposed: torch.Tensor | None
    sums: torch.Tensor | None = None


class TermSums:
    """Sums the vectors of the terms in items' texts, and trains those of the buckets that occur.

    The vectors of all buckets take a hundred megabytes. To sum and to move them would cost more time than the rest of a
    training step, so they move after every few steps, by the mean of the steps' gradients. In between, the sums stay
    the same and are computed once, if all steps have the same items: with the whole catalogue as negatives they do.

    Args:
        vectors: (n_buckets, size), the vectors of all buckets, which `store` changes.
        terms: (n_items, n_buckets) weighted terms, at least one.
        config: learning rates of the vectors.
        steps: how often `advance` will be called.
        steps_per_update: after how many of them the vectors move.
    """

    def __init__(
        self, vectors: nn.Parameter, terms: csr_array, config: InterestConfig, steps: int, steps_per_update: int
    ) -> None:
        self._vectors = vectors
        used = np.unique(terms.indices)
        self._rows = torch.from_numpy(used.astype(np.int64)).to(vectors.device)
        self._terms = csr_array(terms[:, used])
        self._words = nn.Parameter(vectors.detach()[self._rows])
        self._words.grad = self._gradient = torch.zeros_like(self._words)
        self._optimizer = torch.optim.Adam([self._words], config.hashed_terms_learning_rate, fused=True)
        self._scheduler = torch.optim.lr_scheduler.LinearLR(
            self._optimizer, 1.0, config.last_learning_share, max(1, -(-steps // steps_per_update))
        )
        self._chosen: _Chosen | None = None
        self._steps_per_update, self._pending = steps_per_update, 0

    def sum(self, items: NDArray[np.int64]) -> torch.Tensor:
        """Return (n, size) sums of some items, a leaf whose gradient is collected."""
        if self._chosen is None or not np.array_equal(self._chosen.items, items):
            self._collect()
            terms = self._terms[items]
            self._chosen = _Chosen(items, terms, _transpose(terms) if self._words.device.type == "cpu" else None)
        if self._chosen.sums is None:
            self._chosen.sums = sum_rows(self._words.detach(), self._chosen.terms).requires_grad_()
        return self._chosen.sums

    def advance(self) -> None:
        """Count a step whose gradients have been computed, and move the vectors after the last of several."""
        self._pending += 1
        if self._pending == self._steps_per_update:
            self._update()

    def store(self) -> None:
        """Move the vectors by what is left, and write them to the vectors of all buckets."""
        if self._pending:
            self._update()
        with torch.no_grad():
            self._vectors[self._rows] = self._words

    def _update(self) -> None:
        self._collect()
        self._gradient.div_(self._pending)
        self._optimizer.step()
        self._scheduler.step()
        self._gradient.zero_()
        self._pending = 0

    def _collect(self) -> None:
        """Add the gradient of the sums to that of the vectors, and forget the sums."""
        chosen = self._chosen
        if chosen is None or chosen.sums is None:
            return
        gradient, chosen.sums = chosen.sums.grad, None
        if gradient is None:
            return
        if chosen.transposed is None:
            sum_rows(self._words, chosen.terms).backward(gradient)  # type: ignore[no-untyped-call]
        else:
            # Three times as fast on a processor as the gradient of an embedding bag.
            torch.addmm(self._gradient, chosen.transposed, gradient, out=self._gradient)


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
