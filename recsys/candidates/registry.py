"""From names to source classes, built-in ones and plug-ins alike, and to sources over a catalogue."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.contract import CheckedSource
from recsys.candidates.source import CandidateSource, Source, SourceInputs
from recsys.candidates.statistics import ItemStatistics
from recsys.collab.factor_cache import FactorCache
from recsys.config import CandidatesConfig
from recsys.config.plugins import SOURCES, demand_plugin, find_vectors, order_sources
from recsys.errors import ConfigError

if TYPE_CHECKING:
    from recsys.candidates.models import CandidateModels

# Sources that are measured alone whatever the config proposes from, so their models are always fitted.
ALWAYS_MEASURED = ("popular", "item_to_item", "ease", "als", "tfidf", "text")


def load_source(name: str) -> type[CandidateSource]:
    """Return the class of a source, importing its module.

    Raises:
        ConfigError: no source has this name, or its class is not a `CandidateSource`.
    """
    if (vectors := find_vectors(name)) is not None:
        module = import_module("recsys.candidates.sources.nearest_vectors")
        return cast(type[CandidateSource], module.find_vector_source(vectors))
    if name in SOURCES:
        import_module(f"recsys.candidates.sources.{name}")
    target = demand_plugin("source", name).target
    if not issubclass(target, CandidateSource):
        raise ConfigError(
            f"source '{name}': {target.__module__}.{target.__qualname__} is not a subclass of "
            "recsys.candidates.source.CandidateSource; make it a subclass"
        )
    return target


def find_models(depths: Iterable[str]) -> dict[str, type[CandidateSource]]:
    """Return the fitted models that a config needs: name -> the source that fits, saves and loads it.

    Needed are the models of the sources that propose, of those that are always measured alone, and of built-in sources
    whose vectors or neighbours the features use. Several sources may use the same model, which is fitted once.

    Args:
        depths: names of the sources that propose.

    Raises:
        ConfigError: two sources fit a model of the same name.
    """
    proposing = set(depths)
    owners: dict[str, type[CandidateSource]] = {}
    for name in order_sources([*SOURCES, *proposing]):
        source = load_source(name)
        needed = name in proposing or name in ALWAYS_MEASURED or source.item_vectors or source.item_neighbours
        for owner in (*source.uses, source) if needed else ():
            if owner.model and owners.setdefault(owner.model, owner) is not owner:
                raise ConfigError(
                    f"sources '{owners[owner.model].name}' and '{owner.name}' both fit a model '{owner.model}'; rename "
                    "the model of one of them, or name the other source under `uses`"
                )
    return owners


def make_sources(
    names: Sequence[str],
    config: CandidatesConfig,
    models: CandidateModels,
    statistics: ItemStatistics,
    embeddings: NDArray[np.float32],
    items: pl.DataFrame,
    factor_cache: FactorCache | None = None,
) -> list[Source]:
    """Return the sources with these names, in their order.

    Args:
        names: of built-in sources or plug-ins, whether or not the config proposes from them.
        config: settings; its depths are not used.
        models: over the catalogue.
        statistics: of all users' histories on it.
        embeddings: (n_items, embedding_size) float32, unit rows, of its texts.
        items: `Items`, the catalogue.
        factor_cache: where `als` looks up and keeps the factors of users; None: all of them are computed.

    Raises:
        ConfigError: an unknown name, or the model of a source was not fitted.
    """
    inputs = SourceInputs(config, items, statistics, embeddings, models.models, factor_cache)
    return [make_source(load_source(name), inputs) for name in names]


def make_source(source: type[CandidateSource], inputs: SourceInputs) -> Source:
    """Return a source over a catalogue; the scores of a plug-in are checked whenever it is asked."""
    made = cast(Source, inputs.make(source))
    return made if source.__module__.startswith("recsys.candidates.") else CheckedSource(made)
