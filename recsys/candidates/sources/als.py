"""Alternating least squares."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.index import ItemIndex
from recsys.candidates.products import score_items
from recsys.candidates.scores import Scores
from recsys.candidates.source import CandidateSource, FitInputs, SourceInputs
from recsys.collab.als import AlsModel
from recsys.collab.factor_cache import FactorCache
from recsys.config import AlsConfig
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories

_FILE = "als.safetensors"


@register_source
class AlsSource(CandidateSource):
    """Dot products of folded-in user factors and item factors."""

    name = "als"
    section_path: ClassVar[str] = "collab.als"
    model: ClassVar[str] = "als"
    continues: ClassVar[bool] = True
    item_vectors: ClassVar[str] = "ALS factors"

    def __init__(
        self, model: AlsModel, approximate_from: int | None = None, factor_cache: FactorCache | None = None
    ) -> None:
        """Take the model, the number of known items from which an index is searched, and a cache of users' factors."""
        self._model, self._cache = model, factor_cache
        known = np.flatnonzero(~np.isnan(model.item_factors[:, 0])).astype(np.int32)
        self._index = ItemIndex(model.item_factors[known], known)
        self._approximate = approximate_from is not None and len(known) >= approximate_from

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.model(cls), inputs.config.approximate_from, inputs.factor_cache)

    def score(self, histories: Histories) -> Scores:
        """Score known items for users with a history of known items."""
        users = self._model.fold_in(histories, self._cache)
        return score_items(
            users, np.asarray(~users.any(axis=1)), self._index, histories.n_items, approximate=self._approximate
        )

    @classmethod
    def fit(cls, inputs: FitInputs, settings: AlsConfig) -> AlsModel:
        """See `CandidateSource`."""
        seed, threads = inputs.config.seed, inputs.config.threads
        return AlsModel.fit(inputs.histories, settings, seed, threads, engine=inputs.engine, start=inputs.earlier)

    @classmethod
    def can_start_from(cls, model: AlsModel, settings: AlsConfig) -> bool:
        """See `CandidateSource`."""
        return model.can_start(settings)

    @classmethod
    def save(cls, model: AlsModel, folder: Path) -> None:
        """See `CandidateSource`."""
        model.save(folder / _FILE)

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: AlsConfig) -> AlsModel:
        """See `CandidateSource`."""
        return AlsModel.load(folder / _FILE, settings)

    @classmethod
    def vectors_of(cls, model: AlsModel) -> NDArray[np.float32]:
        """See `CandidateSource`."""
        return model.item_factors
