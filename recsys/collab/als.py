"""Alternating least squares: item factors that any history can be folded into."""

from __future__ import annotations

import hashlib
from copy import copy
from functools import cached_property
from importlib import metadata
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys import __version__
from recsys.collab.als_blocks import BlockAls
from recsys.collab.factor_cache import FactorCache, hash_histories
from recsys.config import AlsConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap
from recsys.engines import HERE, Engine


class AlsModel:
    """Implicit-feedback matrix factorisation (Hu, Koren, Volinsky 2008, ICDM).

    Only item factors are stored. A user's factors are solved for from the user's history, so users who are new or
    who changed since training need no special treatment, and the same history always gives the same factors, whatever
    else the catalogue holds. An item unknown at training time has NaN factors: the model does not score it.

    Attributes:
        item_factors: (n_items, embedding_size) float32, in the order of the catalogue that the model is aligned with.
    """

    def __init__(self, item_factors: NDArray[np.float32], config: AlsConfig) -> None:
        self.item_factors = item_factors
        self._config = config
        # Users are solved for over the items of the training; these are the indices of this catalogue's items there.
        self._trained = item_factors
        self._trained_index = np.arange(len(item_factors), dtype=np.int32)

    @classmethod
    def fit(
        cls,
        histories: Histories,
        config: AlsConfig,
        seed: int,
        threads: int,
        *,
        engine: Engine = HERE,
        start: AlsModel | None = None,
    ) -> AlsModel:
        """Factorise the history matrix; items without interactions get NaN factors.

        Args:
            histories: of all users, as of the cutoff.
            config: size, regularization and epochs.
            seed: draws the first factors.
            threads: of a task; they change no factor.
            engine: solves for blocks of users and items; it is open if it has several workers. The bytes do not
                depend on it.
            start: a model as of an earlier cutoff that `can_start` this one, over the catalogue of the histories:
                `config.refresh_epochs` continue from its item factors. Users are solved for first, so theirs are not
                needed, and items that it does not know start like all items do without it.
        """
        solver = _make_solver(config, threads, seed, engine)
        if start is not None:
            _start_from(solver, start.item_factors, histories, config, seed)
        # implicit has its own threads: more BLAS threads are slower, and sums would depend on their number.
        with threadpool_limits(1, "blas"):
            solver.fit(csr_matrix(histories.matrix(_confidence(histories))))
        factors = np.array(solver.item_factors, dtype=np.float32)
        factors[np.bincount(histories.items, minlength=histories.n_items) == 0] = np.nan
        return cls(factors, config)

    def can_start(self, config: AlsConfig) -> bool:
        """Whether a model with these settings can continue from this one: they differ at most in the epochs."""
        same = {"epochs": config.epochs, "refresh_epochs": config.refresh_epochs}
        return self._config.model_copy(update=same) == config

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> AlsModel:
        """Return the model with its rows in the order of another catalogue; unknown items become NaN."""
        aligned = copy(self)
        trained = IdMap(trained_ids)
        aligned.item_factors = trained.align_rows(self.item_factors, item_ids)
        index = trained.index_of(item_ids)
        aligned._trained_index = np.where(index >= 0, self._trained_index[index], np.int32(-1))
        return aligned

    def open_cache(self, folder: Path, run: str) -> FactorCache:
        """Open the cache of this model's user factors, aligned or not.

        Args:
            folder: created when the first file is written.
            run: names what is written, such as a run date.
        """
        return FactorCache(folder, self.digest(), self.item_factors.shape[1], run)

    def fold_in(self, histories: Histories, cache: FactorCache | None = None) -> NDArray[np.float32]:
        """Return the least-squares factors of each history, zeros for an empty one.

        Args:
            histories: over the catalogue that the model is aligned with.
            cache: from `open_cache`; histories that it knows are looked up, and all factors are kept in it.

        Returns:
            (n_users, embedding_size) float32, the same with and without a cache.
        """
        if cache is None:
            return self._solve(histories)
        keys = hash_histories(histories.starts, self._trained_index[histories.items], histories.weights)
        factors, known = cache.look_up(keys)
        if not known.all():
            factors[~known] = self._solve(histories.pick(np.flatnonzero(~known)))
        cache.keep(keys, factors, known)
        return factors

    def _solve(self, histories: Histories) -> NDArray[np.float32]:
        items = self._trained_index[histories.items]
        known = items >= 0
        starts = np.concatenate([[0], np.cumsum(known)])[histories.starts]
        entries = (_confidence(histories)[known], items[known], starts)
        matrix = csr_matrix(entries, shape=(histories.n_users, len(self._trained))).sorted_indices()
        return np.asarray(self._solver.recalculate_user(np.arange(histories.n_users), matrix), dtype=np.float32)

    @cached_property
    def _solver(self) -> BlockAls:
        # One thread: users are folded in block by block, and the blocks run in parallel.
        solver = _make_solver(self._config, 1, seed=0)
        # Items without interactions must not count, and zero factors add nothing to the least squares.
        solver.item_factors = np.nan_to_num(self._trained)
        return solver

    def digest(self) -> str:
        """Return the SHA-256 of everything that a user's factors depend on except the history."""
        versions = f"{__version__} {metadata.version('implicit')}"
        text = f"{self._config.model_dump_json()} {self._trained.shape} {versions}"
        return hashlib.sha256(text.encode() + np.ascontiguousarray(self._trained).tobytes()).hexdigest()

    def save(self, path: Path) -> None:
        """Write the item factors as safetensors."""
        save_file({"item_factors": self.item_factors}, path)

    @classmethod
    def load(cls, path: Path, config: AlsConfig) -> AlsModel:
        """Read what `save` wrote."""
        return cls(load_file(path)["item_factors"], config)


def _make_solver(config: AlsConfig, threads: int, seed: int, engine: Engine = HERE) -> BlockAls:
    with threadpool_limits(1, "blas"):
        return BlockAls(
            engine,
            factors=config.embedding_size,
            regularization=config.regularization,
            alpha=config.alpha,
            iterations=config.epochs,
            random_state=seed,
            num_threads=threads,
        )


def _start_from(
    solver: BlockAls, known: NDArray[np.float32], histories: Histories, config: AlsConfig, seed: int
) -> None:
    """Let the solver begin with known item factors, and refresh them.

    Args:
        solver: changed.
        known: (n_items, embedding_size) float32, NaN where an item is new.
        histories: as of the cutoff.
        config: size and epochs.
        seed: draws the factors of new items, in the range that implicit begins with.
    """
    drawn = np.random.default_rng(seed).random(known.shape, dtype=np.float32) * np.float32(0.01)
    solver.item_factors = np.where(np.isnan(known), drawn, known)
    solver.user_factors = np.zeros((histories.n_users, config.embedding_size), dtype=np.float32)
    solver.iterations = config.refresh_epochs


def _confidence(histories: Histories) -> NDArray[np.float32]:
    """Return log-damped event weights: ten views count more than one, but not ten times as much."""
    return np.log1p(histories.weights).astype(np.float32)
