"""Which item follows which."""

from __future__ import annotations

from typing import ClassVar

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.neighbours import NeighbourModel, fit_transitions
from recsys.config import TransitionsConfig
from recsys.config.plugins import register_source


@register_source
class TransitionsSource(NeighbourSource):
    """Items that often follow those of the history."""

    name = "transitions"
    section_path: ClassVar[str] = "collab.transitions"
    model: ClassVar[str] = "transitions"
    item_neighbours: ClassVar[str] = "transitions"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: TransitionsConfig) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_transitions(inputs.histories, settings, inputs.engine)
