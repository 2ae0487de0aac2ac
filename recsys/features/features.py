"""Features of candidates, as of the cut-off of the histories they are made from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys.dataset.histories import Histories
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

# Users described at a time, and cells of the largest table (users by items or values) that this may need: 64 MB.
_USERS_AT_ONCE = 128
_CELLS = 16_000_000

FIT_FEATURES = {
    "popularity_fit": "item_users minus user_popularity.",
    "age_fit": "Log of one plus item_age_days, minus user_item_age.",
}


def declare_features(sources: Sequence[str], attributes: Sequence[str]) -> dict[str, str]:
    """Return the feature columns in order, each with one sentence that says what it is.

    Args:
        sources: names of the sources.
        attributes: names of the items' attribute columns.
    """
    return {
        **{f"{one}_{kind}": text.format(source=one) for one in sources for kind, text in SOURCE_FEATURES.items()},
        **AGREEMENT_FEATURES,
        **ITEM_FEATURES,
        **USER_FEATURES,
        **FIT_FEATURES,
        **{
            f"{name}_{kind}": text.format(vectors=vectors)
            for name, vectors in VECTORS.items()
            for kind, text in VECTOR_FEATURES.items()
        },
        **{
            f"{name}_{kind}": text.format(meaning=meaning)
            for name, meaning in NEIGHBOURS.items()
            for kind, text in NEIGHBOUR_FEATURES.items()
        },
        **SCRIPT_FEATURES,
        **{
            f"{kind}_{column}": text.format(column=column)
            for column in ("tags", *attributes)
            for kind, text in VALUE_FEATURES.items()
        },
        **{f"{kind}_{one}": text.format(column=one) for one in attributes for kind, text in NUMBER_FEATURES.items()},
        **REPEAT_FEATURES,
    }


def make_features(
    candidates: pl.DataFrame, histories: Histories, facts: ItemFacts, sources: Sequence[str]
) -> pl.DataFrame:
    """Return the candidates' keys and one Float32 column per declared feature, null where there is nothing to say.

    A row's values depend on the user's own candidates and history and on the facts, to the last bit: not on which users
    stand beside them.

    Args:
        candidates: `Candidates` of these histories.
        histories: as of the cut-off; no later event can reach a feature.
        facts: of the catalogue as of the same cut-off, in the order of `histories.item_ids`.
        sources: names of the sources in the candidates.
    """
    widest = max(1, histories.n_items, *(values.shape[1] for values in facts.values.values()))
    size = max(1, min(_USERS_AT_ONCE, _CELLS // widest))
    starts = np.arange(0, max(1, histories.n_users), size)
    ends = np.searchsorted(candidates["user_index"].to_numpy(), np.append(starts, histories.n_users))
    return pl.concat(
        _describe(
            candidates[ends[place] : ends[place + 1]],
            histories.select(slice(start, start + size)),
            start,
            facts,
            sources,
        )
        for place, start in enumerate(starts.tolist())
    )


def _describe(
    candidates: pl.DataFrame, histories: Histories, first_user: int, facts: ItemFacts, sources: Sequence[str]
) -> pl.DataFrame:
    user = candidates["user_index"].to_numpy() - np.uint32(first_user)
    item = candidates["item_index"].to_numpy()
    columns = describe_items(item, facts, histories.reference) | describe_users(user, histories, facts)
    columns["popularity_fit"] = columns["item_users"] - columns["user_popularity"]
    columns["age_fit"] = np.log1p(np.maximum(columns["item_age_days"], 0)) - columns["user_item_age"]
    for name in VECTORS:
        columns |= describe_nearness(name, user, item, histories, facts.vectors[name])
    for name in NEIGHBOURS:
        columns |= describe_company(name, user, item, histories, facts.neighbours[name])
    columns |= describe_matches(user, item, histories, facts)
    columns |= describe_repeats(user, item, histories)
    names = declare_features(sources, facts.attributes)
    return (
        describe_sources(candidates, sources)
        .hstack(pl.DataFrame(columns))
        .select("user_index", "item_index", *(pl.col(name).cast(pl.Float32).fill_nan(None) for name in names))
    )
