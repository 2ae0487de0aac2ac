"""Bayesian personalised ranking: item factors and biases learned from which of two items a user has."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
from implicit.cpu.bpr import BayesianPersonalizedRanking
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from threadpoolctl import threadpool_limits

from recsys.config import BprConfig
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap


class BprModel:
    """Matrix factorisation for the order of items (Rendle et al. 2009, UAI).

    A user's score of an item is the dot product of their factors, plus the item's bias. The users' own factors
    are not kept: a user's factors are the mean over the items of the history, so users who are new or have changed
    since training need no special treatment. Negatives are drawn among items with users, in proportion to their
    number, so the bias is an item's appeal beyond its popularity.

    Attributes:
        item_factors: (n_items, embedding_size) float32; NaN for an item unknown at training.
        item_biases: (n_items) float32; NaN likewise.
    """

    def __init__(self, item_factors: NDArray[np.float32], item_biases: NDArray[np.float32]) -> None:
        self.item_factors = item_factors
        self.item_biases = item_biases

    @classmethod
    def fit(cls, histories: Histories, config: BprConfig, seed: int) -> BprModel:
        """Learn from which users interacted with which items; items without users are unknown.

        Runs on a single thread: several would write into the same factors, and results would differ from run to run.
        """
        interacted = np.bincount(histories.items, minlength=histories.n_items) > 0
        if not interacted.any():
            return cls.blank(histories.n_items)
        solver = BayesianPersonalizedRanking(
            factors=config.embedding_size,
            learning_rate=config.learning_rate,
            regularization=config.regularization,
            iterations=config.epochs,
            random_state=seed,
            num_threads=1,
        )
        with threadpool_limits(1, "blas"):
            matrix = histories.matrix(np.ones(len(histories.items), dtype=np.float32))
            solver.fit(csr_matrix(matrix), show_progress=False)
        # implicit keeps an item's bias as its last factor, with a 1 as every user's last factor.
        learned = np.where(interacted[:, None], solver.item_factors, np.nan).astype(np.float32)
        return cls(learned[:, :-1].copy(), learned[:, -1].copy())

    @classmethod
    def blank(cls, n_items: int) -> BprModel:
        """Return a model in which every item is unknown."""
        return cls(np.empty((n_items, 0), dtype=np.float32), np.full(n_items, np.nan, dtype=np.float32))

    @property
    def known(self) -> NDArray[np.bool_]:
        """(n_items) bool, the item was known at training."""
        return ~np.isnan(self.item_biases)

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> BprModel:
        """Return the model over another catalogue; items it does not know become NaN."""
        trained = IdMap(trained_ids)
        factors = trained.align_rows(self.item_factors, item_ids)
        return BprModel(factors, trained.align_rows(self.item_biases[:, None], item_ids)[:, 0])

    def user_factors(self, histories: Histories) -> NDArray[np.float32]:
        """Return (n_users, embedding_size) float32: the mean factors of each history's known items, NaN without any."""
        matrix = histories.matrix(self.known[histories.items].astype(np.float32))
        with np.errstate(invalid="ignore"):
            means = (matrix @ np.nan_to_num(self.item_factors)) / matrix.sum(axis=1)[:, None]
        return np.asarray(means, dtype=np.float32)

    def save(self, path: Path) -> None:
        """Write factors and biases as safetensors."""
        save_file({"item_factors": self.item_factors, "item_biases": self.item_biases}, path)

    @classmethod
    def load(cls, path: Path) -> BprModel:
        """Read what `save` wrote."""
        arrays = load_file(path)
        return cls(arrays["item_factors"], arrays["item_biases"])
