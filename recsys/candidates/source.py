"""What a candidate source is: the class that built-in sources and plug-ins extend, and the inputs it gets."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, reduce
from pathlib import Path
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.scores import Scores
from recsys.candidates.statistics import ItemStatistics
from recsys.collab.factor_cache import FactorCache
from recsys.config import CandidatesConfig, Config, Section
from recsys.dataset.histories import Histories, find_known
from recsys.dataset.item_vectors import Vectors, read_vectors
from recsys.engines import HERE, Engine
from recsys.errors import ConfigError
from recsys.text.item_text import ItemTexts

_Made = TypeVar("_Made", bound="CandidateSource")


class Source(Protocol):
    """Scores the items of a catalogue for users.

    Attributes:
        name: its columns are `{name}_score` and `{name}_rank`.
        reason: key of the sentence shown for an item that this source explains best.
    """

    name: str
    reason: str

    def score(self, histories: Histories) -> Scores:
        """Return the scores of every item for each of these users."""


@dataclass(frozen=True)
class FitInputs:
    """What a source may learn from, all as of one cutoff.

    Attributes:
        histories: of all users; no later event is in them.
        items: `Items` in the order of `histories.item_ids`. Items that join the catalogue after the cutoff are
            there, too, with everything but their texts: see `known`.
        embeddings: (n_items, embedding_size) float32, unit rows, of the items' texts.
        config: all settings; random numbers come from its seed.
        engine: runs the tasks of a fit that can be divided; open.
        earlier: for a source that `continues`: its model as of an earlier cutoff, over the same catalogue; None: there
            is none.
    """

    histories: Histories
    items: pl.DataFrame
    embeddings: NDArray[np.float32]
    config: Config
    engine: Engine = HERE
    earlier: Any = None

    @cached_property
    def known(self) -> NDArray[np.bool_]:
        """(n_items) bool, the item was in the catalogue before the cutoff."""
        return find_known(self.items, self.histories.cutoff).to_numpy()

    @cached_property
    def texts(self) -> pl.Series:
        """(n_items) texts as of the cutoff; "" for items that join later."""
        return ItemTexts.from_items(self.items, self.config.text.fields).as_of(self.histories.cutoff)


@dataclass(frozen=True)
class SourceInputs:
    """What a source scores with: tonight's catalogue and the fitted models over it.

    Attributes:
        config: the candidates section.
        items: `Items`, the catalogue.
        statistics: counts over all users' histories on it.
        embeddings: (n_items, embedding_size) float32, unit rows, of its texts.
        models: fitted models by name, aligned with it.
        factor_cache: where the ALS factors of users are looked up and kept; None: all of them are computed.
    """

    config: CandidatesConfig
    items: pl.DataFrame
    statistics: ItemStatistics
    embeddings: NDArray[np.float32]
    models: Mapping[str, Any]
    factor_cache: FactorCache | None = None
    _made: dict[type[CandidateSource], CandidateSource] = field(default_factory=dict, repr=False)

    @cached_property
    def vectors(self) -> dict[str, Vectors]:
        """The items' vectors from elsewhere, by name."""
        return read_vectors(self.items)

    def model(self, source: type[CandidateSource]) -> Any:
        """Return the fitted model of a source.

        Raises:
            ConfigError: it was not fitted.
        """
        if source.model not in self.models:
            raise ConfigError(
                f"source '{source.name}': its model '{source.model}' was not fitted; name the source in "
                "candidates.depths and train again"
            )
        return self.models[source.model]

    def make(self, source: type[_Made]) -> _Made:
        """Return a source over these inputs, made once: some map the whole catalogue first."""
        if source not in self._made:
            self._made[source] = source.make(self)
        return cast(_Made, self._made[source])


class CandidateSource(ABC):
    """A source of candidates: what it needs, how its model is fitted and kept, and how it scores.

    One subclass per source. A source without a model implements `make` and `score` alone.

    Attributes:
        name: of the source; lower case.
        reason: key of the sentence shown for its items; by default the name.
        sentences: language code -> that sentence, for keys that the package has no sentence for.
        section: validates the settings of a plug-in, given under `candidates.options.NAME`.
        section_path: where a built-in source has its settings instead.
        model: name of the model that it fits; "" for none.
        continues: `fit` can continue from the model of an earlier cutoff, `inputs.earlier`.
        uses: sources whose fitted models it scores with, too.
        needs_segments: `statistics.segments` is counted for it.
        item_vectors: what the vectors are that `vectors_of` offers to the features; "" for none.
        item_neighbours: what makes one item point at another in the matrix that `neighbours_of` offers; "" for none.
    """

    name: str
    reason: str
    sentences: ClassVar[Mapping[str, str]] = {}
    section: ClassVar[type[Section]] = Section
    section_path: ClassVar[str] = ""
    model: ClassVar[str] = ""
    continues: ClassVar[bool] = False
    uses: ClassVar[tuple[type[CandidateSource], ...]] = ()
    needs_segments: ClassVar[bool] = False
    item_vectors: ClassVar[str] = ""
    item_neighbours: ClassVar[str] = ""

    def __init_subclass__(cls) -> None:
        """Let the name be the key of the reason where a class declares no other."""
        if "name" in cls.__dict__ and "reason" not in cls.__dict__:
            cls.reason = cls.name

    @classmethod
    @abstractmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """Return the source over a catalogue."""

    @abstractmethod
    def score(self, histories: Histories) -> Scores | NDArray[np.float32]:
        """Return the scores of every item for each of these users; a user's depend on that user's history alone.

        A plug-in may return an (n_users, n_items) float32 array, NaN where an item has no score.
        """

    @classmethod
    def check_contract(cls) -> None:
        """Refuse a class that declares something and lacks the methods for it.

        Raises:
            ConfigError: names the methods.
        """
        needed = {
            "model": ("fit", "save", "load"),
            "item_vectors": ("vectors_of",),
            "item_neighbours": ("neighbours_of",),
        }
        for attribute, methods in needed.items():
            lacking = [name for name in methods if getattr(cls, name).__func__ is _METHODS[name].__func__]
            if getattr(cls, attribute) and lacking:
                raise ConfigError(
                    f"source class {cls.__module__}.{cls.__qualname__}: declares {attribute} "
                    f"'{getattr(cls, attribute)}', but has no method {', '.join(lacking)}"
                )

    @classmethod
    def read_settings(cls, config: Config) -> Any:
        """Return the source's section of a config."""
        if cls.section_path:
            return reduce(getattr, cls.section_path.split("."), config)
        return cls.read_options(config.candidates)

    @classmethod
    def read_options(cls, config: CandidatesConfig) -> Any:
        """Return the settings of a plug-in, as its `section`; in `make`, call it with `inputs.config`."""
        return cls.section.model_validate(config.options.get(cls.name, {}))

    @classmethod
    def fit(cls, inputs: FitInputs, settings: Any) -> Any:
        """Return the fitted model.

        Args:
            inputs: as of one cutoff.
            settings: the source's section.
        """
        raise NotImplementedError(f"source '{cls.name}' declares the model '{cls.model}', but has no method fit")

    @classmethod
    def can_start_from(cls, model: Any, settings: Any) -> bool:
        """Whether `fit` can continue from a model that may have been fitted with other settings; by default always."""
        return True

    @classmethod
    def save(cls, model: Any, folder: Path) -> None:
        """Write the model into an existing folder, without pickle; the catalogue's ids are kept by the caller."""
        raise NotImplementedError(f"source '{cls.name}' declares the model '{cls.model}', but has no method save")

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: Any) -> Any:
        """Return the model that `save` wrote.

        Args:
            folder: that `save` wrote into.
            item_ids: (n_items) of the catalogue that the model was saved over.
            settings: the source's section.
        """
        raise NotImplementedError(f"source '{cls.name}' declares the model '{cls.model}', but has no method load")

    @classmethod
    def align(cls, model: Any, trained_ids: pl.Series, item_ids: pl.Series) -> Any:
        """Return the model over another catalogue; it scores no items that it does not know."""
        return model.align(trained_ids, item_ids)

    @classmethod
    def with_settings(cls, model: Any, settings: Any) -> Any:
        """Return the model with other settings of how it scores, without fitting it again; by default unchanged."""
        return model

    @classmethod
    def with_texts(cls, model: Any, texts: pl.Series) -> Any:
        """Return the aligned model with the catalogue's texts read, for models that score by them."""
        return model

    @classmethod
    def refit_texts(cls, model: Any, texts: pl.Series, settings: Any) -> Any:
        """Return the model fitted on changed texts, for models that are fitted on texts alone; by default unchanged."""
        return model

    @classmethod
    def refit_attributes(cls, model: Any, items: pl.DataFrame, known: NDArray[np.bool_], settings: Any) -> Any:
        """Return the model fitted on changed tags and attributes, for models fitted on these alone; else unchanged."""
        return model

    @classmethod
    def vectors_of(cls, model: Any) -> NDArray[np.float32]:
        """Return (n_items, size) float32 for the features, NaN rows for unknown items; see `item_vectors`."""
        raise NotImplementedError(f"source '{cls.name}' declares item_vectors, but has no method vectors_of")

    @classmethod
    def neighbours_of(cls, model: Any) -> csr_array:
        """Return (n_items, n_items) float32 for the features, row = item in the history; see `item_neighbours`."""
        raise NotImplementedError(f"source '{cls.name}' declares item_neighbours, but has no method neighbours_of")


# Methods of this class, to recognise those that a subclass does not implement.
_METHODS = CandidateSource.__dict__
