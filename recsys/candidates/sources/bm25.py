"""Item-to-item neighbours with BM25 weights."""

from __future__ import annotations

from typing import ClassVar

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item
from recsys.config import Bm25Config
from recsys.config.plugins import register_source


@register_source
class Bm25Source(NeighbourSource):
    """Items of the same users, with more weight on focused users and rarer items."""

    name = "bm25"
    section_path: ClassVar[str] = "collab.bm25"
    model: ClassVar[str] = "bm25"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: Bm25Config) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_item_to_item(inputs.histories, settings, inputs.config.threads, inputs.engine)
