"""Settings of measuring, registering and the nightly lists."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.plugins import as_value_error, resolve_options
from recsys.config.section import Count, PositiveShare, Section, Share


class SegmentsConfig(Section):
    """The cuts that a measurement is repeated for."""

    # A user with at most this many distinct items before the window is new; with more than the second number, heavy;
    # in between, light.
    new_user_items: Count = 5
    heavy_user_items: Count = 20
    # An item that at most this many users touched before the window is cold.
    cold_item_users: Annotated[int, Field(ge=0)] = 0
    # Item columns whose values are segments: `tags` or attributes of the dataset section.
    item_columns: tuple[str, ...] = ()
    # Values of such a column that get a row of their own, those with most positives first.
    max_values: Count = 8
    # Fewer users say nothing; their rows are marked.
    min_users: Count = 30

    @model_validator(mode="after")
    def _light_lies_between(self) -> Self:
        if self.heavy_user_items < self.new_user_items:
            raise ValueError(f"heavy_user_items is {self.heavy_user_items}, below new_user_items {self.new_user_items}")
        return self


class EvaluationConfig(Section):
    """What is measured and how sure we must be."""

    n_values: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000
    confidence: PositiveShare = 0.95
    # The number that models are compared by.
    metric: Literal["ndcg", "recall", "precision", "f1", "mrr", "map", "hit_rate"] = "ndcg"
    n: Count = 10
    # Plug-in baseline -> its settings, validated by the section that it declares.
    extra_baselines: dict[str, dict[str, Any]] = Field(default={})
    # Popularity-corrected recall weighs each positive by the item's users to minus this power; 0 is plain recall.
    propensity_power: Annotated[float, Field(ge=0, le=2)] = 0.5
    segments: SegmentsConfig = SegmentsConfig()

    @field_validator("extra_baselines")
    @classmethod
    def _known_baselines(cls, baselines: dict[str, dict[str, Any]]) -> dict[str, dict[str, Any]]:
        with as_value_error():
            return resolve_options("baseline", baselines, ())

    @model_validator(mode="after")
    def _n_is_measured(self) -> Self:
        if self.n not in self.n_values:
            raise ValueError(f"n is {self.n}, which is not in n_values {list(self.n_values)}")
        return self


class RegistryConfig(Section):
    """Names in MLflow, and the gate."""

    # Names in MLflow; None: the config's name. MLflow takes no / : and quotes in a model's name.
    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")] | None = None
    experiment: Annotated[str, Field(min_length=1)] | None = None
    # The challenger may lose at most this share of the champion's metric, at the interval's low end.
    max_relative_loss: Share = 0.05


class EngineConfig(Section):
    """Where a night's shards run."""

    # `ray`: the cluster that RECSYS_RAY_ADDRESS names, else one made on this machine.
    kind: Literal["local", "ray"] = "local"
    # Processes of the local engine, each with the config's threads; 1: no process but the night's own.
    workers: Count = 1

    @property
    def here(self) -> bool:
        """Everything is done by the night's own process."""
        return self.kind == "local" and self.workers == 1


class SanityConfig(Section):
    """What lists must be like to be published; where one is not, last night's stay."""

    # Rows that the fallback chain filled in, and users who get nothing.
    max_fallback_share: Share = 0.5
    max_empty_share: Share = 0.01
    # Beside the lists that readers follow now: items of a user that are new in the list, mean over users of both; how
    # much of the coverage must be left; and, for the same model, the largest gap between the scores' distributions.
    max_churn: Share = 0.95
    min_coverage_left: Share = 0.5
    max_score_shift: Share = 0.5


class RulesConfig(Section):
    """What lists must and must not hold, beyond the order. Where a list would be short the first three are dropped.

    They are dropped from the last named here to the first, and each row says which were.
    """

    # Days since an item joined the catalogue; older ones are not shown. None: any.
    max_item_age_days: Annotated[float, Field(gt=0)] | None = None
    # Column of items (tags or an attribute) -> most items of a list that share a value of it.
    max_per_value: dict[str, Count] = Field(default={})
    # Least share of a list that is new: touched by at most candidates.new_item_users users.
    min_new_share: Share = 0.0
    # 0: by score alone; 1: each item as unlike those above it as can be, by text. Among so many of a user's best.
    diversity: Share = 0.0
    diversity_pool: Count = 100
    # Standard deviations that an item falls for each of the last nights that listed it for the user, if it was not
    # taken since; a night further back counts `shown_decay` times less.
    shown_penalty: Annotated[float, Field(ge=0)] = 0.0
    shown_nights: Count = 7
    shown_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    # CSV files below RECSYS_DATA, never dropped: `item_id` that nobody gets; `user_id`, `item_id` that one user does
    # not get.
    blocked_items: str | None = None
    blocked_pairs: str | None = None


class GenerationConfig(Section):
    """The nightly lists."""

    n: Count = 10
    rules: RulesConfig = RulesConfig()
    # Language of the reasons; auto: Chinese where most titles are in Han script, else English.
    reason_language: Literal["auto", "en", "zh"] = "auto"
    # YAML file below RECSYS_DATA of reason key: sentence, which replaces the shipped sentences of those keys.
    reason_sentences: str | None = None
    # Users in one shard; memory follows it.
    shard_size: Count = 5_000
    # Written beside the parquet files, with the same rows.
    outputs: tuple[Literal["jsonl", "csv"], ...] = ()
    # Table (or schema.table) of the PostgreSQL database that RECSYS_LISTS_URL names, which holds the lists that readers
    # follow; None: no table.
    postgres_table: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)?$")] | None = None
    engine: EngineConfig = EngineConfig()
    sanity: SanityConfig = SanityConfig()
    # Hours from the snapshot's last event to the run date: an older one is refused. None: any will do.
    max_snapshot_age_hours: Annotated[float, Field(gt=0)] | None = None
    # Users whose last interaction is older get no list; None: everyone with a history.
    active_days: Annotated[float, Field(gt=0)] | None = None
    # CSV file below RECSYS_DATA with a column `user_id`: who gets a list besides, be it without any history.
    users: str | None = None
    # Published run dates kept, newest first; the one the pointer names always stays.
    keep_run_dates: Count = 30
