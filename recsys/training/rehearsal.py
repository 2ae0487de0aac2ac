"""A rehearsal of plug-ins on a few users, so that a broken one stops a training before hours of fitting."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import CandidateRows
from recsys.candidates.models import CandidateModels
from recsys.candidates.registry import load_source, make_source
from recsys.candidates.source import CandidateSource, FitInputs, SourceInputs
from recsys.candidates.statistics import count_statistics
from recsys.config import CandidatesConfig, Config
from recsys.config.plugins import SOURCES, demand_plugin, find_vectors, order_sources
from recsys.dataset.histories import Histories
from recsys.features.feature import describe_extra, make_features_of_plugins
from recsys.features.features import declare_features
from recsys.features.item_facts import ItemFacts

_USERS = 20
# Size of the random vectors that stand in for embeddings, which do not exist yet.
_SIZE = 8


def rehearse_plugins(config: Config, items: pl.DataFrame, histories: Histories) -> None:
    """Let every plug-in of a config do its part once, on few users and with random embeddings.

    Sources and baselines are fitted and asked for scores and proposals, also for a user without history; features
    describe a few candidates. Plug-ins that score with the models of other sources are not rehearsed.

    Args:
        config: names the plug-ins.
        items: `Items`.
        histories: over the items, as of the oldest cutoff of the training.

    Raises:
        ConfigError: an unknown plug-in, or a name that is taken twice.
        DataError: a plug-in breaks its contract; names it, what it returned and what is expected.
    """
    extra = make_features_of_plugins(config)
    attributes = list(config.dataset.items.attributes)
    # A column that two features declare is refused here.
    declare_features(order_sources(config.candidates.depths), attributes, extra, list(config.dataset.items.vectors))
    sources = [(source, options) for source, options in _list_sources(config) if not source.uses]
    if not sources and not extra:
        return
    users = histories.take(pl.concat([histories.user_ids.head(_USERS), pl.Series(["no such user"])]))
    embeddings = _draw_vectors(histories.n_items, config.seed)
    statistics = count_statistics(users, items, config.candidates)
    exclusions = Exclusions.none(users.n_users, users.n_items)
    for source, options in sources:
        fitted: dict[str, Any] = {}
        if source.model:
            fitted[source.model] = source.fit(FitInputs(users, items, embeddings, config), source.read_options(options))
        scores = make_source(source, SourceInputs(options, items, statistics, embeddings, fitted)).score(users)
        scores.find_top(min(5, users.n_items), exclusions)
        scores.to_array()
    models = cast(CandidateModels, SimpleNamespace(item_vectors={}, item_neighbours={}))
    facts = ItemFacts.gather(items, attributes, statistics, embeddings, models, histories.cutoff, extra)
    describe_extra(extra, _draw_candidates(users), users, facts)


def _list_sources(config: Config) -> Iterator[tuple[type[CandidateSource], CandidatesConfig]]:
    """Yield the plug-in sources and baselines of a config, each with the section that holds its settings."""
    for name in config.candidates.depths:
        if name not in SOURCES and find_vectors(name) is None:
            yield load_source(name), config.candidates
    options = config.evaluation.extra_baselines
    for name in options:
        yield demand_plugin("baseline", name).target, config.candidates.model_copy(update={"options": options})


def _draw_vectors(n_items: int, seed: int) -> NDArray[np.float32]:
    vectors = np.random.default_rng(seed).normal(size=(n_items, _SIZE)).astype(np.float32)
    unit: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return unit


def _draw_candidates(users: Histories) -> CandidateRows:
    """Return the first items of the catalogue as candidates of every user, with scores from no source."""
    count = min(3, users.n_items)
    rows = users.n_users * count
    return CandidateRows(
        starts=np.arange(users.n_users + 1, dtype=np.int64) * count,
        items=np.tile(np.arange(count, dtype=np.int32), users.n_users),
        ranks=np.zeros((0, rows), dtype=np.uint16),
        scores=np.zeros((0, rows), dtype=np.float32),
    )
