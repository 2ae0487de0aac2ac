"""Sources that add up the rows of an item-by-item matrix over a history."""

from __future__ import annotations

from pathlib import Path
from typing import Self

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.scores import Scores, add_up
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.collab.neighbours import NeighbourModel
from recsys.config.section import DecayingSection
from recsys.dataset.histories import Histories

# Share of entries from which rows are added up as a whole: as an array they take at most twice the memory.
_DENSE = 0.25


class NeighbourSource(CandidateSource):
    """Sums over the history of an item-by-item matrix. A subclass names the model and fits it."""

    def __init__(self, name: str, reason: str, model: NeighbourModel) -> None:
        self.name = name
        self.reason = reason
        self._model = model
        self._matrix = _lay_out(model.similarity)

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(cls.name, cls.reason, inputs.model(cls))

    def score(self, histories: Histories) -> Scores:
        """Score the items with a positive sum."""
        weights = histories.weigh_steps(self._model.history_decay)
        return add_up(histories.starts, histories.items, weights, self._matrix)

    @classmethod
    def with_settings(cls, model: NeighbourModel, settings: DecayingSection) -> NeighbourModel:
        """Return the same neighbours with the section's decay."""
        return model.with_decay(settings.decay)

    @classmethod
    def save(cls, model: NeighbourModel, folder: Path) -> None:
        """See `CandidateSource`."""
        model.save(folder / f"{cls.model}.npz")

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: DecayingSection) -> NeighbourModel:
        """See `CandidateSource`."""
        return NeighbourModel.load(folder / f"{cls.model}.npz", settings.decay)

    @classmethod
    def neighbours_of(cls, model: NeighbourModel) -> csr_array:
        """See `CandidateSource`."""
        return model.similarity


def _lay_out(similarity: csr_array) -> csr_array | NDArray[np.float32]:
    cells = similarity.shape[0] * similarity.shape[1]
    return similarity.toarray() if 0 < _DENSE * cells <= similarity.nnz else similarity
