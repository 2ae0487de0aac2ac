"""Settings of collaborative models, candidates and ranker."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, ValidationInfo, field_validator, model_validator

from recsys.config.plugins import SOURCES, as_value_error, find_plugin, list_names, resolve_options
from recsys.config.section import AUTO, Auto, Count, DecayingSection, Section


class AlsConfig(Section):
    """implicit's alternating least squares (Hu, Koren, Volinsky 2008)."""

    embedding_size: Count = 64
    regularization: Annotated[float, Field(gt=0)] = 0.05
    alpha: Annotated[float, Field(gt=0)] = 5.0
    epochs: Count = 15


class BprConfig(Section):
    """implicit's Bayesian personalised ranking (Rendle et al. 2009): fitted where `depths` names `bpr`."""

    embedding_size: Count = 64
    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    regularization: Annotated[float, Field(ge=0)] = 0.01
    # Each draws as many pairs of items as there are entries in the histories.
    epochs: Count = 100


class ItemToItemConfig(DecayingSection):
    """implicit's item-to-item neighbours."""

    weighting: Literal["cosine", "bm25", "tfidf"] = "cosine"
    k: Count = 200


class Bm25Config(ItemToItemConfig):
    """The same, where focused users and less popular items say more: fitted where `depths` names `bm25`."""

    weighting: Literal["bm25"] = "bm25"


class TransitionsConfig(DecayingSection):
    """What follows what: decayed counts of ordered pairs inside a history."""

    max_distance: Count = 10
    distance_decay: Annotated[float, Field(gt=0, le=1)] = 0.7
    k: Count = 200


class EaseConfig(DecayingSection):
    """EASE: each item predicted from all others by ridge regression (Steck 2019)."""

    # In users: the larger, the more an item's evidence must be shared. Below 1 float32 would not hold.
    regularization: Annotated[float, Field(ge=1)] = 200.0
    # Entries kept per predicted item, the strongest by magnitude.
    k: Count = 300
    # Above so many touched items it is not fitted: time grows with their cube, memory with their square. 0: never.
    max_items: Annotated[int, Field(ge=0)] = 12_000


class CollabConfig(Section):
    """Collaborative-filtering models."""

    als: AlsConfig = AlsConfig()
    bpr: BprConfig = BprConfig()
    item_to_item: ItemToItemConfig = ItemToItemConfig()
    bm25: Bm25Config = Bm25Config()
    transitions: TransitionsConfig = TransitionsConfig()
    ease: EaseConfig = EaseConfig()


class CandidatesConfig(Section):
    """Which sources propose items, and how many each."""

    # Source -> its depth: how many items it proposes per user. A source that is not named is off.
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
    # Plug-in source -> its settings, validated by the section that it declares.
    options: dict[str, dict[str, Any]] = Field(default={}, validate_default=True)
    # Candidates per user that the union is cut to, by reciprocal-rank fusion of the sources; None: no cut.
    max_candidates: Count | None = None
    # From so many items on, sources that multiply vectors look only into the clusters nearest to the user (faiss), and
    # may miss an item or two; None: they look at all.
    approximate_from: Count | None = 50_000
    # How many of the newest items `nearest_text` compares with, and how much less each step back weighs.
    nearest_items: Count = 5
    nearest_decay: Annotated[float, Field(gt=0, le=1)] = 0.95
    # Half-life of an interaction in the recent popularity; None: all times count the same.
    popularity_half_life_days: Annotated[float, Field(gt=0)] | Auto | None = AUTO
    # Item column (tags or an attribute) whose values part the users, for `segment_popular`.
    segment_column: str | None = None
    # An item that at most this many users touched is new.
    new_item_users: Annotated[int, Field(ge=0)] = 3

    @property
    def half_life_days(self) -> float | None:
        """`popularity_half_life_days`; until it is measured all times count the same."""
        return None if self.popularity_half_life_days in (AUTO, None) else float(self.popularity_half_life_days)

    @property
    def counts_segments(self) -> bool:
        """Whether a source needs to know what the users of each segment take."""
        return any(_needs_segments(name) for name in self.depths)

    @field_validator("depths")
    @classmethod
    def _known_sources(cls, depths: dict[str, int]) -> dict[str, int]:
        known = ", ".join((*SOURCES, *list_names("source")))
        with as_value_error():
            unknown = sorted(name for name in depths if find_plugin("source", name) is None and name not in SOURCES)
        if unknown:
            raise ValueError(
                f"no source {unknown}; sources are {known}; for one of your own, name its module under 'plugins' or "
                "install its package"
            )
        if not depths:
            raise ValueError(f"depths is empty; name at least one of {known}")
        return depths

    @field_validator("options")
    @classmethod
    def _valid_options(cls, options: dict[str, dict[str, Any]], info: ValidationInfo) -> dict[str, dict[str, Any]]:
        used = [name for name in info.data.get("depths", ()) if name not in SOURCES]
        with as_value_error():
            return resolve_options("source", options, used)

    @model_validator(mode="after")
    def _segments_have_a_column(self) -> Self:
        asking = [name for name in self.depths if _needs_segments(name)]
        if asking and self.segment_column is None:
            raise ValueError(f"depths has '{asking[0]}', but no segment_column; name tags or an attribute of items")
        return self


def _needs_segments(source: str) -> bool:
    if source in SOURCES:
        return source == "segment_popular"
    plugin = find_plugin("source", source)
    return plugin is not None and bool(getattr(plugin.target, "needs_segments", False))


class RankingConfig(Section):
    """LightGBM LambdaMART over the candidates."""

    learning_rate: Annotated[float, Field(gt=0)] = 0.05
    num_leaves: Annotated[int, Field(ge=2, le=64)] = 15
    min_data_in_leaf: Count = 50
    # Of the features, which say the same thing many times over, each tree looks at so many: that keeps trees apart.
    feature_fraction: Annotated[float, Field(gt=0, le=1)] = 0.3
    lambda_l2: Annotated[float, Field(ge=0)] = 1.0
    truncation_level: Count = 30
    max_trees: Count = 200
    # Users held out in turn, one of so many folds after the other, say whether fewer trees are better, and whether some
    # of the blend is added to them.
    folds: Annotated[int, Field(ge=2, le=20)] = 4
    # Below this many users with a positive folds are noise: a fixed count of trees, and half of the blend, instead.
    min_users_for_folds: Count = 50
    fixed_trees: Count = 100
    # Users of each label window that the ranker learns from at most, drawn at random.
    max_users: Count = 5_000
    # Features that the trees do not look at: names, or patterns such as text_*.
    exclude_features: tuple[str, ...] = ()
    # Plug-in feature -> its settings, validated by the section that it declares.
    extra_features: dict[str, dict[str, Any]] = Field(default={})
    # Rows that the ranker learns from, over all label windows; of more, negatives are left out at random.
    max_rows: Annotated[int, Field(ge=1000)] = 400_000

    @field_validator("extra_features")
    @classmethod
    def _known_features(cls, features: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        with as_value_error():
            return resolve_options("feature", features, ())
