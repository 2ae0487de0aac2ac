"""Item-to-item neighbours."""

from __future__ import annotations

from typing import ClassVar

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.neighbours import NeighbourModel, fit_item_to_item
from recsys.config import ItemToItemConfig
from recsys.config.plugins import register_source


@register_source
class ItemToItemSource(NeighbourSource):
    """Items of the same users (Sarwar et al. 2001)."""

    name = "item_to_item"
    section_path: ClassVar[str] = "collab.item_to_item"
    model: ClassVar[str] = "item_to_item"
    item_neighbours: ClassVar[str] = "co-occurrence"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: ItemToItemConfig) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_item_to_item(inputs.histories, settings, inputs.config.threads, inputs.engine)
