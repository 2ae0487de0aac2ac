"""Bayesian personalised ranking."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

import polars as pl

from recsys.candidates.block_products import multiply
from recsys.candidates.scores import DenseScores, Scores
from recsys.candidates.source import CandidateSource, FitInputs, SourceInputs
from recsys.collab.bpr import BprModel
from recsys.config import BprConfig
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories

_FILE = "bpr.safetensors"


@register_source
class BprSource(CandidateSource):
    """Dot products of histories' mean item factors and item factors, plus the item's bias."""

    name = "bpr"
    section_path: ClassVar[str] = "collab.bpr"
    model: ClassVar[str] = "bpr"

    def __init__(self, model: BprModel) -> None:
        self._model = model

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.model(cls))

    def score(self, histories: Histories) -> Scores:
        """Score known items for users with a history of known items."""
        # Users and items that the model does not know are NaN throughout, and so are their products.
        scores = multiply(self._model.user_factors(histories), self._model.item_factors)
        scores += self._model.item_biases
        return DenseScores.from_array(scores)

    @classmethod
    def fit(cls, inputs: FitInputs, settings: BprConfig) -> BprModel:
        """See `CandidateSource`."""
        return BprModel.fit(inputs.histories, settings, inputs.config.seed)

    @classmethod
    def save(cls, model: BprModel, folder: Path) -> None:
        """See `CandidateSource`."""
        model.save(folder / _FILE)

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: BprConfig) -> BprModel:
        """See `CandidateSource`."""
        return BprModel.load(folder / _FILE)
