"""The sources over one catalogue as of one instant: proposes candidates and computes their features."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.merge import CandidateRows, cut_union, map_blocks, propose
from recsys.candidates.models import CandidateModels
from recsys.candidates.registry import make_sources
from recsys.candidates.source import Source
from recsys.candidates.statistics import ItemStatistics
from recsys.collab.factor_cache import FactorCache
from recsys.config import Config
from recsys.config.plugins import order_sources
from recsys.dataset.histories import Histories, find_recommendable
from recsys.features.feature import make_features_of_plugins
from recsys.features.features import declare_features, describe_rows
from recsys.features.item_facts import ItemFacts
from recsys.text.item_text import ItemTexts


@dataclass(frozen=True)
class Recommender:
    """The sources over one catalogue as of one instant: proposes candidates and computes their features.

    Attributes:
        config: all settings; its dataset section decides whether consumed items may be recommended again.
        items: `Items`, the catalogue.
        candidate_models: the fitted models, aligned with the catalogue.
        statistics: of all users' histories, not only of the users who get lists.
        embeddings: (n_items, embedding_size) float32, rows unit length.
        sources: over this catalogue, in the order of `order_sources`.
        recommendable: (n_items) bool, available and in the catalogue at the instant.
        facts: what the features need to know about the items.
        factor_cache: where users' ALS factors are looked up and kept; None: all of them are computed.
    """

    config: Config
    items: pl.DataFrame
    candidate_models: CandidateModels
    statistics: ItemStatistics
    embeddings: NDArray[np.float32]
    sources: list[Source]
    recommendable: NDArray[np.bool_]
    facts: ItemFacts
    factor_cache: FactorCache | None = None

    @classmethod
    def prepare(
        cls,
        config: Config,
        candidate_models: CandidateModels,
        items: pl.DataFrame,
        texts: ItemTexts,
        embeddings: NDArray[np.float32],
        statistics: ItemStatistics,
        cutoff: datetime | None,
        attributes: Sequence[str],
        factor_cache: FactorCache | None = None,
    ) -> Recommender:
        """Align the models with the catalogue, make the sources and gather what the features need.

        Args:
            config: all settings.
            candidate_models: over any catalogue.
            items: `Items` of the catalogue to recommend from.
            texts: of its items.
            embeddings: (n_items, embedding_size) float32, rows unit length.
            statistics: of all users' histories on this catalogue.
            cutoff: the instant that everything is as of; None for data without times.
            attributes: item columns that the features read.
            factor_cache: where users' ALS factors are looked up and kept; None: all of them are computed.
        """
        aligned = candidate_models.align(items["item_id"]).with_texts(texts.texts)
        names = order_sources(config.candidates.depths)
        sources = make_sources(names, config.candidates, aligned, statistics, embeddings, items, factor_cache)
        recommendable = find_recommendable(items, cutoff)
        extra = make_features_of_plugins(config)
        facts = ItemFacts.gather(items, attributes, statistics, embeddings, aligned, cutoff, extra)
        return cls(config, items, aligned, statistics, embeddings, sources, recommendable, facts, factor_cache)

    @property
    def source_names(self) -> list[str]:
        """Names of the sources, in order."""
        return [source.name for source in self.sources]

    @property
    def features(self) -> list[str]:
        """Names of the feature columns, in order."""
        facts = self.facts
        return list(declare_features(self.source_names, facts.attributes, facts.extra_features, facts.modalities))

    def make_sources(self, names: Sequence[str]) -> list[Source]:
        """Return sources by name, in the order of the names, whether or not the config proposes from them."""
        return make_sources(
            names,
            self.config.candidates,
            self.candidate_models,
            self.statistics,
            self.embeddings,
            self.items,
            self.factor_cache,
        )

    def exclusions(self, users: Histories) -> Exclusions:
        """Return the items that no list of these users may hold.

        Those are items that are not recommendable and, unless the data set has repeats, items that a user consumed.
        """
        return Exclusions.of(users, self.recommendable, repeats=self.config.dataset.repeats)

    def propose(self, users: Histories, exclusions: Exclusions) -> CandidateRows:
        """Return the candidates of a block of users before the union is cut."""
        return propose(self.sources, self.config.candidates.depths, users, exclusions)

    def cut(self, rows: CandidateRows) -> CandidateRows:
        """Return the candidates that `candidates.max_candidates` leaves to each user."""
        return cut_union(rows, self.config.candidates.max_candidates)

    def describe(self, rows: CandidateRows, users: Histories) -> dict[str, NDArray[np.float32]]:
        """Return the features of a block's candidates by name, (n_rows) float32 each, NaN where missing."""
        return describe_rows(rows, users, self.facts, self.source_names)

    def describe_candidates(
        self, histories: Histories, progress: Callable[[int], None] = lambda _: None
    ) -> pl.DataFrame:
        """Return `user_index`, `item_index` and the features of all candidates of any number of users.

        Sorted by user, then item; null where a feature is missing. This is what the ranker learns from.

        Args:
            histories: of the users.
            progress: called with the number of users after each block of them.
        """

        def describe(first_user: int, users: Histories) -> pl.DataFrame:
            rows = self.cut(self.propose(users, self.exclusions(users)))
            described = feature_frame(rows, self.describe(rows, users), first_user)
            progress(users.n_users)
            return described

        return pl.concat(map_blocks(describe, histories))


def feature_frame(rows: CandidateRows, features: dict[str, NDArray[np.float32]], first_user: int = 0) -> pl.DataFrame:
    """Return the keys of candidates with their features as a frame, null where a feature is missing.

    Args:
        rows: candidates of a block of users.
        features: (n_rows) float32 by name.
        first_user: index of the block's first user.
    """
    columns = {"user_index": (rows.users + first_user).astype(np.uint32), "item_index": rows.items.astype(np.uint32)}
    return pl.DataFrame(columns).with_columns(
        pl.Series(name, values).fill_nan(None) for name, values in features.items()
    )
