"""Alternating least squares: item factors that any history can be folded into."""

from __future__ import annotations

import hashlib
from copy import copy
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import polars as pl
from implicit.cpu.als import AlternatingLeastSquares
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys import __version__
from recsys.collab.factor_cache import FactorCache, hash_histories
from recsys.config import AlsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import align_rows, map_ids


class AlsModel:
    """Implicit-feedback matrix factorisation (Hu, Koren, Volinsky 2008, ICDM).

    Only item factors are kept. A user's factors are solved from the history, so users who are new or have changed
    since training need no special treatment, and the same history always gives the same factors, whatever else is in
    the catalogue. An item unknown at training has NaN factors and no score.

    Attributes:
        item_factors: (n_items, embedding_size) float32, of the current catalogue.
        cache: asked before a history is folded in; None solves for all.
    """

    def __init__(self, item_factors: NDArray[np.float32], config: AlsConfig) -> None:
        self.item_factors = item_factors
        self.cache: FactorCache | None = None
        self._config = config
        # Users are solved over the catalogue of the training; these are the rows of the current items in it.
        self._trained = item_factors
        self._places = np.arange(len(item_factors), dtype=np.int32)

    @classmethod
    def fit(cls, histories: Histories, config: AlsConfig, seed: int, threads: int) -> AlsModel:
        """Factorise the history matrix; items without users get NaN factors."""
        solver = _make_solver(config, threads, seed)
        # implicit recommends a single BLAS thread: more are slower, and sums would depend on their number.
        with threadpool_limits(1, "blas"):
            solver.fit(csr_matrix(histories.matrix(_confidence(histories))), show_progress=False)
        factors = np.array(solver.item_factors, dtype=np.float32)
        factors[np.bincount(histories.items, minlength=histories.n_items) == 0] = np.nan
        return cls(factors, config)

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> AlsModel:
        """Return the model with its rows in the order of another catalogue; unknown items become NaN."""
        aligned = copy(self)
        aligned.item_factors = align_rows(self.item_factors, trained_ids, item_ids)
        places = map_ids(trained_ids, item_ids)
        aligned._places = np.where(places >= 0, self._places[places], np.int32(-1))
        return aligned

    def with_cache(self, folder: Path, run: str) -> AlsModel:
        """Return the model with a `FactorCache` of its own in a folder, and the name of what a night writes there."""
        cached = copy(self)
        cached.cache = FactorCache(folder, self._digest(), self.item_factors.shape[1], run)
        return cached

    def fold_in(self, histories: Histories) -> NDArray[np.float32]:
        """Return (n_users, embedding_size) float32: the least-squares factors of each history, zeros if empty."""
        if self.cache is None:
            return self._solve(histories)
        keys = hash_histories(histories.starts, self._places[histories.items], histories.weights)
        factors, found = self.cache.look_up(keys)
        if not found.all():
            factors[~found] = self._solve(histories.pick(np.flatnonzero(~found)))
        self.cache.keep(keys, factors, found)
        return factors

    def _solve(self, histories: Histories) -> NDArray[np.float32]:
        places = self._places[histories.items]
        known = places >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[histories.starts]
        entries = (_confidence(histories)[known], places[known], starts)
        matrix = csr_matrix(entries, shape=(histories.n_users, len(self._trained))).sorted_indices()
        return np.asarray(self._solver.recalculate_user(np.arange(histories.n_users), matrix), dtype=np.float32)

    @cached_property
    def _solver(self) -> AlternatingLeastSquares:
        # One thread: users are folded in block by block, and the blocks run in parallel.
        solver = _make_solver(self._config, 1, seed=0)
        # Zero factors take no part in the least squares, so items without users have no effect.
        solver.item_factors = np.nan_to_num(self._trained)
        return solver

    def _digest(self) -> str:
        """Return a hash of all that a user's factors depend on besides the history."""
        said = f"{self._config.model_dump_json()} {self._trained.shape} {__version__} {metadata.version('implicit')}"
        return hashlib.sha256(said.encode() + np.ascontiguousarray(self._trained).tobytes()).hexdigest()

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


def _confidence(histories: Histories) -> NDArray[np.float32]:
    """Return log-damped event weights: ten views count more than one, but not ten times as much."""
    return np.log1p(histories.weights).astype(np.float32)
