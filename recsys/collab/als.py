"""Alternating least squares: item factors that any history can be folded into."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.collab.id_map import align_rows
from recsys.config import AlsConfig
from recsys.dataset.histories import Histories


class AlsModel:
    """Implicit-feedback matrix factorisation (Hu, Koren, Volinsky 2008, ICDM).

    Only item factors are kept. A user's factors are solved for from the history at hand, so users who are new or
    who changed since training need nothing special, and the same history always gives the same factors.
    An item unknown at training time has NaN factors: the model says nothing about it.
    """

    def __init__(self, item_factors: NDArray[np.float32], config: AlsConfig) -> None:
        self.item_factors = item_factors
        self._config = config

    @classmethod
    def fit(cls, histories: Histories, config: AlsConfig, seed: int, threads: int) -> AlsModel:
        """Factorise the history matrix; items nobody touched get NaN factors."""
        solver = _make_solver(config, threads, seed)
        # implicit wants one BLAS thread beside its own: more are slower, and sums would depend on their number.
        with threadpool_limits(1, "blas"):
            solver.fit(csr_matrix(_confidence(histories)), show_progress=False)
        factors = np.array(solver.item_factors, dtype=np.float32)
        factors[np.bincount(histories.items, minlength=histories.n_items) == 0] = np.nan
        return cls(factors, config)

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> AlsModel:
        """Return the model with its rows in the order of another catalogue; unknown items become NaN."""
        return AlsModel(align_rows(self.item_factors, trained_ids, item_ids), self._config)

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Return (n_users, embedding_size) float32: the least-squares factors of each history, zeros if empty."""
        matrix = csr_matrix(_confidence(histories))
        return np.asarray(self._solver.recalculate_user(np.arange(histories.n_users), matrix), dtype=np.float32)

    @cached_property
    def _solver(self) -> AlternatingLeastSquares:
        # One thread: users are folded in block by block, and the blocks share the processors.
        solver = _make_solver(self._config, 1, seed=0)
        # Zero factors take no part in the least squares, so unknown items neither help nor hurt.
        solver.item_factors = np.nan_to_num(self.item_factors)
        return solver

    def save(self, path: Path) -> None:
        """Write the item factors as safetensors."""
        save_file({"item_factors": self.item_factors}, path)

    @classmethod
    def load(cls, path: Path, config: AlsConfig) -> AlsModel:
        """Read what `save` wrote."""
        return cls(load_file(path)["item_factors"], config)


def _make_solver(config: AlsConfig, threads: int, seed: int) -> AlternatingLeastSquares:
    with threadpool_limits(1, "blas"):
        return AlternatingLeastSquares(
            factors=config.embedding_size,
            regularization=config.regularization,
            alpha=config.alpha,
            iterations=config.epochs,
            random_state=seed,
            num_threads=threads,
        )


def _confidence(histories: Histories) -> csr_matrix:
    """Log-damped event weights: ten views are more than one, but not ten times as much."""
    return histories.matrix(np.log1p(histories.weights).astype(np.float32))
