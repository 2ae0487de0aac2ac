"""The fitted models behind the sources, over one catalogue."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.neighbour_source import NeighbourSource
from recsys.candidates.registry import find_models, load_source
from recsys.candidates.source import CandidateSource, FitInputs
from recsys.candidates.sources.tfidf import fit_text_neighbours
from recsys.collab.neighbours import NeighbourModel
from recsys.config import Config
from recsys.config.plugins import SOURCES

__all__ = ["NEIGHBOUR_SECTIONS", "CandidateModels", "FitInputs", "fit_text_neighbours"]

# The built-in item-by-item models, and the sections with the weights of a history.
NEIGHBOUR_SECTIONS = {
    source.model: source.section_path for source in map(load_source, SOURCES) if issubclass(source, NeighbourSource)
}
# Models of plug-ins are saved below it, each in its own folder.
_PLUGINS = "plugins"


@dataclass(frozen=True)
class CandidateModels:
    """The fitted models over one catalogue.

    Attributes:
        item_ids: (n_items) strings, sorted: the catalogue.
        models: name -> fitted model; a model that nothing needs is not there.
        owners: name -> the source that fits, saves and loads it.
    """

    item_ids: pl.Series
    models: Mapping[str, Any]
    owners: Mapping[str, type[CandidateSource]]

    @classmethod
    def fit(cls, inputs: FitInputs, fitted: Mapping[str, Any]) -> CandidateModels:
        """Fit the models that the config needs.

        Args:
            inputs: as of one cutoff.
            fitted: name -> model that is fitted already, as of the same cutoff.
        """
        owners = find_models(inputs.config.candidates.depths)
        models = {
            name: fitted[name] if name in fitted else owner.fit(inputs, owner.read_settings(inputs.config))
            for name, owner in owners.items()
        }
        return cls(inputs.histories.item_ids, models, owners)

    def __getitem__(self, name: str) -> Any:
        """Return a model by name."""
        return self.models[name]

    @property
    def neighbours(self) -> dict[str, NeighbourModel]:
        """The item-by-item models by name."""
        return {name: model for name, model in self.models.items() if isinstance(model, NeighbourModel)}

    @property
    def item_vectors(self) -> dict[str, NDArray[np.float32]]:
        """(n_items, size) float32 that sources offer to the features, by the name of the source; NaN: unknown item."""
        offers = ((owner, self.models[name]) for name, owner in self.owners.items() if owner.item_vectors)
        return {owner.name: owner.vectors_of(model) for owner, model in offers}

    @property
    def item_neighbours(self) -> dict[str, csr_array]:
        """(n_items, n_items) float32 that sources offer to the features, by the name of the source."""
        offers = ((owner, self.models[name]) for name, owner in self.owners.items() if owner.item_neighbours)
        return {owner.name: owner.neighbours_of(model) for owner, model in offers}

    @property
    def fit_on_attributes(self) -> bool:
        """Whether any of the models is fitted on tags and attributes alone, so that `refit_attributes` changes it."""
        unchanged = CandidateSource.refit_attributes.__func__  # type: ignore[attr-defined]
        return any(owner.refit_attributes.__func__ is not unchanged for owner in self.owners.values())  # type: ignore[attr-defined]

    @property
    def continuing(self) -> CandidateModels:
        """The models alone that training can continue from."""
        owners = {name: owner for name, owner in self.owners.items() if owner.continues}
        return replace(self, models={name: self.models[name] for name in owners}, owners=owners)

    def with_models(self, **models: Any) -> CandidateModels:
        """Return the same with some models replaced."""
        return replace(self, models={**self.models, **models})

    def with_decays(self, config: Config) -> CandidateModels:
        """Return the models with the config's settings of how they score; nothing is fitted again."""
        return self._map(lambda owner, model: owner.with_settings(model, owner.read_settings(config)))

    def align(self, item_ids: pl.Series) -> CandidateModels:
        """Return the models over another catalogue; they score no items that they do not know."""
        if self.item_ids.equals(item_ids):
            return self
        moved = self._map(lambda owner, model: owner.align(model, self.item_ids, item_ids))
        return replace(moved, item_ids=item_ids)

    def with_texts(self, texts: pl.Series) -> CandidateModels:
        """Return the models with the catalogue's texts read, for those that score by them."""
        return self._map(lambda owner, model: owner.with_texts(model, texts))

    def refit_texts(self, texts: pl.Series, config: Config) -> CandidateModels:
        """Return the models with those that are fitted on texts alone fitted on changed texts."""
        return self._map(lambda owner, model: owner.refit_texts(model, texts, owner.read_settings(config)))

    def refit_attributes(self, items: pl.DataFrame, known: NDArray[np.bool_], config: Config) -> CandidateModels:
        """Return the models with those that are fitted on tags and attributes alone fitted on changed ones.

        Args:
            items: `Items` of the catalogue.
            known: (n_items) bool, the item has joined it.
            config: all settings.
        """
        return self._map(lambda owner, model: owner.refit_attributes(model, items, known, owner.read_settings(config)))

    def save(self, folder: Path) -> None:
        """Write each model into an existing folder; the catalogue is kept by the caller."""
        for name, owner in self.owners.items():
            inside = _folder_of(name, owner, folder)
            inside.mkdir(parents=True, exist_ok=True)
            owner.save(self.models[name], inside)

    @classmethod
    def load(
        cls, folder: Path, item_ids: pl.Series, config: Config, names: Collection[str] | None = None
    ) -> CandidateModels:
        """Read what `save` wrote over the same catalogue.

        Args:
            folder: that was written.
            item_ids: (n_items) strings, the catalogue.
            config: all settings.
            names: of the models that were written; None: all that the config needs.
        """
        owners = find_models(config.candidates.depths)
        if names is not None:
            owners = {name: owner for name, owner in owners.items() if name in names}
        models = {
            name: owner.load(_folder_of(name, owner, folder), item_ids, owner.read_settings(config))
            for name, owner in owners.items()
        }
        return cls(item_ids, models, owners)

    def _map(self, change: Callable[[type[CandidateSource], Any], Any]) -> CandidateModels:
        return replace(self, models={name: change(self.owners[name], model) for name, model in self.models.items()})


def _folder_of(name: str, owner: type[CandidateSource], folder: Path) -> Path:
    return folder if owner.name in SOURCES else folder / _PLUGINS / name
