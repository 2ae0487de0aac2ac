"""Neighbours by tags and attributes."""

from __future__ import annotations

from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, diags_array, hstack

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.neighbours import NeighbourModel
from recsys.config import AttributesConfig
from recsys.config.plugins import register_source
from recsys.dataset.values import list_named_columns, mark_values
from recsys.text.tfidf import find_nearest


@register_source
class AttributesSource(NeighbourSource):
    """Items that have tags and attributes in common with those of the history."""

    name = "attributes"
    section_path: ClassVar[str] = "candidates.attributes"
    model: ClassVar[str] = "attributes"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: AttributesConfig) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_attribute_neighbours(inputs.items, inputs.known, settings)

    @classmethod
    def refit_attributes(
        cls, model: NeighbourModel, items: pl.DataFrame, known: NDArray[np.bool_], settings: AttributesConfig
    ) -> NeighbourModel:
        """Return the neighbours of the changed catalogue, so that items that joined since have some."""
        return fit_attribute_neighbours(items, known, settings)


def fit_attribute_neighbours(items: pl.DataFrame, known: NDArray[np.bool_], config: AttributesConfig) -> NeighbourModel:
    """Find each item's `k` nearest other items by the tags and attributes that both have.

    Each value in common adds 1 / sqrt(number of items with the value), so a shared author counts more than a shared
    genre. The sum is not divided by the number of values of an item: on the data it was tried on, items that are
    described by more values are also those that users take more often.

    Args:
        items: `Items`; those that are not known yet are no neighbours and count for nothing.
        known: (n_items) bool, the item was in the catalogue at the cutoff.
        config: `k`, which values count, and the decay.
    """
    columns = [mark_values(items[column])[0] for column in list_named_columns(items)]
    marks = csr_array(diags_array(known.astype(np.float32)) @ csr_array(hstack(columns, format="csr")))
    counts = np.bincount(marks.indices, weights=marks.data, minlength=marks.shape[1])
    # Values of a single item connect nothing.
    kept = (counts > 1) & (counts <= config.max_items)
    marks = csr_array(marks[:, kept])
    weighted = csr_array(marks @ diags_array((1.0 / np.sqrt(counts[kept])).astype(np.float32)))
    return NeighbourModel(find_nearest(weighted, marks, config.k), config.decay)
