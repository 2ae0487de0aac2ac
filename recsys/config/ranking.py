"""Settings of collaborative models, candidates and ranker."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recsys.config.engine import EngineConfig
from recsys.config.plugins import (
    SOURCES,
    as_value_error,
    find_plugin,
    find_vectors,
    list_names,
    name_vector_source,
    resolve_options,
)
from recsys.config.section import AUTO, Auto, Count, DecayingSection, Section

# Number of items that the source of each of the items' vectors proposes by default.
_VECTOR_DEPTH = 50


class AlsConfig(Section):
    """implicit's alternating least squares (Hu, Koren, Volinsky 2008)."""

    embedding_size: Count = 64
    """Number of factors."""
    regularization: Annotated[float, Field(gt=0)] = 0.05
    """L2 penalty on the factors."""
    alpha: Annotated[float, Field(gt=0)] = 5.0
    """Factor of the weight in the confidence of an interaction, 1 + alpha x weight."""
    epochs: Count = 15
    """Number of epochs; each updates all users, then all items."""
    refresh_epochs: Count = 3
    """Number of epochs when training continues from the factors of an earlier cutoff: in all label windows but the
    oldest, on the whole history, and in `recsys train --from`."""


class BprConfig(Section):
    """implicit's Bayesian personalised ranking (Rendle et al. 2009): fitted if `depths` has `bpr`."""

    embedding_size: Count = 64
    """Number of factors."""
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Step size of stochastic gradient descent."""
    regularization: Annotated[float, Field(ge=0)] = 0.01
    """L2 penalty on the factors."""
    epochs: Count = 100
    """Number of epochs; each draws as many item pairs as the histories have entries."""


class ItemToItemConfig(DecayingSection):
    """Item-to-item neighbours, weighted as implicit weights them."""

    weighting: Literal["cosine", "bm25", "tfidf"] = "cosine"
    """How co-occurrence is weighted."""
    k: Count = 200
    """Number of neighbours kept per item."""


class Bm25Config(ItemToItemConfig):
    """Neighbours by BM25: focused users and less popular items count more. Fitted if `depths` has `bm25`."""

    weighting: Literal["bm25"] = "bm25"
    """Fixed: BM25."""


class TransitionsConfig(DecayingSection):
    """Which item follows which: decayed counts of ordered pairs in a history."""

    max_distance: Count = 10
    """Maximum distance in a history between two items that count as a pair."""
    distance_decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    """Factor by which the weight of a pair falls with each step between its items."""
    k: Count = 200
    """Number of successors kept per item."""


class EaseConfig(DecayingSection):
    """EASE: each item is predicted from all others by ridge regression (Steck 2019)."""

    regularization: Annotated[float, Field(ge=1)] = 200.0
    """L2 penalty, in users: the larger it is, the more users an item's evidence needs. Below 1, float32 is inexact."""
    k: Count = 300
    """Number of weights kept per predicted item, largest magnitudes first."""
    max_items: Annotated[int, Field(ge=0)] = 12_000
    """Maximum number of items with interactions; above it, EASE is skipped: time grows with its cube, memory with its
    square. 0: always skipped."""


class AttributesConfig(DecayingSection):
    """Nearest items by tags and attributes in common: fitted if `depths` has `attributes`."""

    use: bool | Auto = AUTO
    """auto: if the lists of the newest label window are better with the source, by trees of the older label windows;
    with a single label window, always. true: always; false: never."""
    k: Count = 200
    """Number of neighbours kept per item."""
    max_items: Count = 10_000
    """Maximum number of items with a value: more frequent values are ignored, as uninformative and costly."""


class CollabConfig(Section):
    """Collaborative-filtering models."""

    als: AlsConfig = AlsConfig()
    """Matrix factorisation."""
    bpr: BprConfig = BprConfig()
    """Bayesian personalised ranking."""
    item_to_item: ItemToItemConfig = ItemToItemConfig()
    """Item-to-item neighbours."""
    bm25: Bm25Config = Bm25Config()
    """Item-to-item neighbours weighted by BM25."""
    transitions: TransitionsConfig = TransitionsConfig()
    """Item-to-item transitions: which item follows which."""
    ease: EaseConfig = EaseConfig()
    """Linear autoencoder (EASE)."""
    engine: EngineConfig = EngineConfig()
    """Engine that fits als, item_to_item, bm25 and transitions by blocks of users or items. The models have the same
    bytes as in one process."""


class CandidatesConfig(Section):
    """The sources of candidates and how many items each proposes."""

    depths: dict[str, Annotated[int, Field(ge=1, le=1000)]] = Field(
        default={
            "als": 100,
            "item_to_item": 100,
            "transitions": 100,
            "ease": 100,
            "tfidf": 50,
            "text": 100,
            "popular": 100,
            "popular_all_time": 50,
            "new_items": 50,
        }
    )
    """Source -> number of items it proposes per user. Sources not listed here are off. By default, a source
    nearest_NAME is on for each of `dataset.items.vectors`, with 50 items."""
    options: dict[str, dict[str, Any]] = Field(default={}, validate_default=True)
    """Plug-in source -> its settings, validated by the section that the plug-in declares."""
    max_candidates: Count | None = None
    """Maximum number of candidates per user, selected by reciprocal-rank fusion of the sources; null: no limit."""
    approximate_from: Count | None = 50_000
    """Number of items from which vector sources use approximate search (faiss): only the nearest clusters, which may
    miss an item or two. null: always exact search."""
    nearest_items: Count = 5
    """Number of newest history items that nearest_text and nearest_NAME compare with."""
    nearest_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    """Decay in nearest_text and nearest_NAME: weight of a history item relative to the next newer one."""
    popularity_half_life_days: Annotated[float, Field(gt=0)] | Auto | None = AUTO
    """Half-life of an interaction in recent popularity; null: no decay; auto: measured on the newest label window,
    alone and, with older label windows, by the lists."""
    repeat_decay: Annotated[float, Field(gt=0, le=1)] | Auto = AUTO
    """Decay in repeat: weight of an item relative to the next newer one; auto: measured on the newest label window, 1
    where windows have a common clock, because popularity_half_life_days decays by days there."""
    attributes: AttributesConfig = AttributesConfig()
    """Neighbours by tags and attributes, for the source `attributes`."""
    segment_column: str | None = None
    """Item column (tags or an attribute) whose values divide the users into segments, for segment_popular."""
    new_item_users: Annotated[int, Field(ge=0)] = 3
    """An item is new if at most this many users interacted with it."""

    @property
    def half_life_days(self) -> float | None:
        """`popularity_half_life_days`; until it is measured, interactions of all times count the same."""
        return None if self.popularity_half_life_days in (AUTO, None) else float(self.popularity_half_life_days)

    @property
    def decay_of_repeats(self) -> float:
        """`repeat_decay`; until it is measured, all items weigh the same."""
        return 1.0 if self.repeat_decay == AUTO else float(self.repeat_decay)

    @property
    def counts_segments(self) -> bool:
        """Whether a source needs the statistics of segments."""
        return any(_needs_segments(name) for name in self.depths)

    @field_validator("depths")
    @classmethod
    def _known_sources(cls, depths: dict[str, int]) -> dict[str, int]:
        known = ", ".join((*SOURCES, *list_names("source")))
        with as_value_error():
            # Whether there are such vectors is checked together with the dataset section.
            others = [name for name in depths if name not in SOURCES and find_vectors(name) is None]
            unknown = sorted(name for name in others if find_plugin("source", name) is None)
        if unknown:
            raise ValueError(
                f"no source {unknown}; sources are {known}; for your own source, name its module under 'plugins' or "
                "install its package"
            )
        if not depths:
            raise ValueError(f"depths is empty; name at least one of {known}")
        return depths

    @field_validator("options")
    @classmethod
    def _valid_options(cls, options: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        with as_value_error():
            others = [name for name in info.data.get("depths", ()) if name not in SOURCES]
            used = [name for name in others if find_vectors(name) is None]
            return resolve_options("source", options, used)

    @model_validator(mode="after")
    def _segments_have_a_column(self) -> Self:
        asking = [name for name in self.depths if _needs_segments(name)]
        if asking and self.segment_column is None:
            raise ValueError(f"depths has '{asking[0]}', but no segment_column; name tags or an attribute of items")
        return self


def add_vector_sources(content: Any) -> Any:
    """Return the content of a config in which, unless it sets `depths`, each of the items' vectors has its source."""
    try:
        vectors, candidates = content["dataset"]["items"]["vectors"], content.get("candidates") or {}
        names = [name_vector_source(name) for name in vectors]
        if not names or "depths" in candidates:
            return content
    except (AttributeError, KeyError, TypeError):
        # Sections of a wrong form are refused by their own checks.
        return content
    depths = {**CandidatesConfig().depths, **dict.fromkeys(names, _VECTOR_DEPTH)}
    return {**content, "candidates": {**candidates, "depths": depths}}


def _needs_segments(source: str) -> bool:
    if source in SOURCES:
        return source == "segment_popular"
    plugin = find_plugin("source", source)
    return plugin is not None and bool(getattr(plugin.target, "needs_segments", False))


class RankingConfig(Section):
    """LightGBM LambdaMART over the candidates."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    """Learning rate: weight of each tree."""
    num_leaves: Annotated[int, Field(ge=2, le=64)] = 15
    """Leaves per tree."""
    min_data_in_leaf: Count = 50
    """Minimum number of rows per leaf."""
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    """Share of the features, drawn at random, that each tree may use: many features are similar, and this keeps trees
    different."""
    lambda_l2: Annotated[float, Field(ge=0)] = 1.0
    """L2 penalty on the values of leaves."""
    truncation_level: Count = 30
    """LambdaMART truncation level: pairs count if their better item is among the first items, up to this many."""
    max_trees: Count = 200
    """Maximum number of trees. Scores are the mean over those of the first 1, 2, … trees, so late ones count little."""
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    """Number of folds over users, each held out in turn, that decide whether fewer trees are better and how much of the
    blend is added to them."""
    min_users_for_folds: Count = 50
    """Minimum number of users with a positive for folds; with fewer, fixed_trees trees and half of the blend are
    used."""
    fixed_trees: Count = 100
    """Number of trees if there are too few users for folds; with folds, the least number."""
    max_users: Count = 5_000
    """Maximum number of users of each label window to train on, drawn at random."""
    exclude_features: tuple[str, ...] = ()
    """Features hidden from the trees: names, or patterns such as text_*."""
    extra_features: dict[str, dict[str, Any]] = Field(default={})
    """Plug-in feature -> its settings, validated by the section that the plug-in declares."""
    max_rows: Annotated[int, Field(ge=1000)] = 400_000
    """Maximum number of training rows, over all label windows; above it, negatives are sampled."""

    @field_validator("extra_features")
    @classmethod
    def _known_features(cls, features: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        with as_value_error():
            return resolve_options("feature", features, ())
