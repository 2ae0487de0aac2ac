"""EASE."""

from __future__ import annotations

from typing import ClassVar

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.ease import fit_ease
from recsys.collab.neighbours import NeighbourModel
from recsys.config import EaseConfig
from recsys.config.plugins import register_source


@register_source
class EaseSource(NeighbourSource):
    """Each item predicted from all others at once (Steck 2019)."""

    name = "ease"
    section_path: ClassVar[str] = "collab.ease"
    model: ClassVar[str] = "ease"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: EaseConfig) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_ease(inputs.histories, settings, inputs.config.threads)
