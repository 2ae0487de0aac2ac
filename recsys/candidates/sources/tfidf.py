"""Neighbours by TF-IDF."""

from __future__ import annotations

from typing import ClassVar

import polars as pl

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.source import FitInputs
from recsys.collab.neighbours import NeighbourModel
from recsys.config import TfidfConfig
from recsys.config.plugins import register_source
from recsys.text.tfidf import fit_tfidf


@register_source
class TfidfSource(NeighbourSource):
    """Items whose texts share terms with those of the history."""

    name = "tfidf"
    section_path: ClassVar[str] = "text.tfidf"
    model: ClassVar[str] = "tfidf"

    @classmethod
    def fit(cls, inputs: FitInputs, settings: TfidfConfig) -> NeighbourModel:
        """See `CandidateSource`."""
        return fit_text_neighbours(inputs.texts, settings)

    @classmethod
    def refit_texts(cls, model: NeighbourModel, texts: pl.Series, settings: TfidfConfig) -> NeighbourModel:
        """Return the neighbours of the changed texts, so that items that joined since have some."""
        return fit_text_neighbours(texts, settings)


def fit_text_neighbours(texts: pl.Series, config: TfidfConfig) -> NeighbourModel:
    """Return the TF-IDF neighbours of a catalogue's (n_items) texts."""
    return NeighbourModel(fit_tfidf(texts, config), config.decay)
