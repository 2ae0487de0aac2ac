"""Features of candidates, as of the cutoff of the histories they are made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.candidates.source import CandidateSource
from recsys.config.plugins import SOURCES, find_plugin
from recsys.dataset.histories import Histories
from recsys.features.feature import CandidateFeature, declare_extra, describe_extra
from recsys.features.item_facts import ItemFacts
from recsys.features.item_features import ITEM_FEATURES, describe_items
from recsys.features.match_features import NUMBER_FEATURES, SCRIPT_FEATURES, VALUE_FEATURES, describe_matches
from recsys.features.repeat_features import REPEAT_FEATURES, describe_repeats
from recsys.features.similarity_features import (
    NEIGHBOUR_FEATURES,
    NEIGHBOURS,
    VECTOR_FEATURES,
    VECTORS,
    describe_company,
    describe_nearness,
)
from recsys.features.source_features import AGREEMENT_FEATURES, SOURCE_FEATURES, describe_sources
from recsys.features.user_features import USER_FEATURES, describe_users

FIT_FEATURES = {
    "popularity_fit": "item_users minus user_popularity.",
    "age_fit": "Log of one plus item_age_days, minus user_item_age.",
}


def declare_features(
    sources: Sequence[str],
    attributes: Sequence[str],
    extra: Sequence[CandidateFeature] = (),
    modalities: Sequence[str] = (),
) -> dict[str, str]:
    """Return the feature columns in order, each with a sentence of meaning.

    Args:
        sources: names of the sources.
        attributes: names of the items' attribute columns.
        extra: features of plug-ins.
        modalities: names of the items' vectors from elsewhere.

    Raises:
        ConfigError: a plug-in's column has a name that is taken.
    """
    declared = {
        **{
            f"{source}_{kind}": text.format(source=source)
            for source in sources
            for kind, text in SOURCE_FEATURES.items()
        },
        **AGREEMENT_FEATURES,
        **ITEM_FEATURES,
        **USER_FEATURES,
        **FIT_FEATURES,
        **{
            f"{name}_{kind}": text.format(vectors=vectors)
            for name, vectors in _list_vectors(sources, modalities).items()
            for kind, text in VECTOR_FEATURES.items()
        },
        **{
            f"{name}_{kind}": text.format(meaning=meaning)
            for name, meaning in _list_neighbours(sources).items()
            for kind, text in NEIGHBOUR_FEATURES.items()
        },
        **SCRIPT_FEATURES,
        **{
            f"{kind}_{column}": text.format(column=column)
            for column in ("tags", *attributes)
            for kind, text in VALUE_FEATURES.items()
        },
        **{
            f"{kind}_{column}": text.format(column=column)
            for column in attributes
            for kind, text in NUMBER_FEATURES.items()
        },
        **REPEAT_FEATURES,
    }
    return declared | declare_extra(extra, declared)


def describe_rows(
    rows: CandidateRows, histories: Histories, facts: ItemFacts, sources: Sequence[str]
) -> dict[str, NDArray[np.float32]]:
    """Return (n_rows) float32 of each feature in the order of `declare_features`, NaN where a value is missing.

    A row's values depend on the user's own candidates and history and on the facts alone, to the last bit, and not on
    the other users.

    Args:
        rows: candidates of these histories.
        histories: of a block of users, as of the cutoff; no later event can reach a feature.
        facts: of the catalogue as of the same cutoff, in the order of `histories.item_ids`.
        sources: names of the sources in the candidates.
    """
    columns = describe_sources(rows, sources) | describe_items(rows, facts, histories.ages_until)
    columns |= describe_users(rows, histories, facts)
    columns["popularity_fit"] = columns["item_users"] - columns["user_popularity"]
    columns["age_fit"] = np.log1p(np.maximum(columns["item_age_days"], 0)) - columns["user_item_age"]
    for name, vectors in facts.vectors.items():
        columns |= describe_nearness(name, rows, histories, vectors)
    for name, neighbours in facts.neighbours.items():
        columns |= describe_company(name, rows, histories, neighbours)
    columns |= describe_matches(rows, histories, facts)
    columns |= describe_repeats(rows, histories)
    columns |= describe_extra(facts.extra_features, rows, histories, facts)
    declared = declare_features(sources, facts.attributes, facts.extra_features, facts.modalities)
    return {name: columns[name] for name in declared}


def _list_vectors(sources: Sequence[str], modalities: Sequence[str]) -> dict[str, str]:
    """Return the vectors that are compared: built-in ones, those of plug-ins among the sources, and the items' own."""
    of_plugins = {source.name: source.item_vectors for source in _find_plugins(sources) if source.item_vectors}
    return VECTORS | of_plugins | {f"vector_{name}": f"vectors {name}" for name in modalities}


def _list_neighbours(sources: Sequence[str]) -> dict[str, str]:
    """Return the neighbours that are followed: built-in ones, and those that plug-ins among the sources offer."""
    plugins = _find_plugins(sources)
    return NEIGHBOURS | {source.name: source.item_neighbours for source in plugins if source.item_neighbours}


def _find_plugins(sources: Sequence[str]) -> list[type[CandidateSource]]:
    plugins = [find_plugin("source", name) for name in sources if name not in SOURCES]
    return [plugin.target for plugin in plugins if plugin is not None]
