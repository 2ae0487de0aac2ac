"""Settings of evaluation, the registry and the nightly lists."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.gate import GateConfig
from recsys.config.plugins import as_value_error, resolve_options
from recsys.config.section import Count, PositiveShare, Section, Share


class SegmentsConfig(Section):
    """The segments that metrics are repeated for."""

    new_user_items: Count = 5
    """A user with at most this many distinct items before the window is new."""
    heavy_user_items: Count = 20
    """A user with more distinct items is heavy; users between new and heavy are light."""
    cold_item_users: Annotated[int, Field(ge=0)] = 0
    """An item is cold if at most this many users interacted with it before the window."""
    item_columns: tuple[str, ...] = ()
    """Item columns whose values are segments: tags or attributes."""
    max_values: Count = 8
    """Number of values of such a column that get a row: those with most positives."""
    min_users: Count = 30
    """Segments with fewer users are marked as too small for a conclusion."""

    @model_validator(mode="after")
    def _light_lies_between(self) -> Self:
        if self.heavy_user_items < self.new_user_items:
            raise ValueError(f"heavy_user_items is {self.heavy_user_items}, below new_user_items {self.new_user_items}")
        return self


class EvaluationConfig(Section):
    """Metrics and the confidence they need."""

    n_values: Annotated[tuple[Count, ...], Field(min_length=1)] = (5, 10, 20)
    """List lengths that are measured."""
    bootstrap_samples: Annotated[int, Field(ge=100)] = 1000
    """Bootstrap samples of users behind each interval."""
    confidence: PositiveShare = 0.95
    """Confidence of the intervals."""
    metric: Literal["ndcg", "recall", "precision", "f1", "mrr", "map", "hit_rate"] = "ndcg"
    """Metric that models are compared by, also at the gate."""
    n: Count = 10
    """List length that models are compared at; must be in n_values."""
    extra_baselines: dict[str, dict[str, Any]] = Field(default={})
    """Plug-in baseline -> its settings, validated by the section that it declares."""
    propensity_power: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Popularity-corrected recall weighs a positive by the item's users to minus this power; 0: plain recall."""
    segments: SegmentsConfig = SegmentsConfig()
    """Where segments begin and end."""

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
    """Names in MLflow, and the promotion gate."""

    model_name: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]*$")] | None = None
    """Registered model in MLflow; null: the config's name. MLflow allows no / : and quotes in it."""
    experiment: Annotated[str, Field(min_length=1)] | None = None
    """Experiment in MLflow; null: the config's name."""
    gate: GateConfig = GateConfig()
    """When a challenger replaces the champion."""


class EngineConfig(Section):
    """Where the shards of the nightly batch run."""

    kind: Literal["local", "ray"] = "local"
    """local: processes of this machine. ray: the cluster at RECSYS_RAY_ADDRESS, else a new one on this machine."""
    workers: Count = 1
    """Processes of the local engine, each with the config's threads; 1: everything in the main process."""

    @property
    def here(self) -> bool:
        """Whether the main process does all the work."""
        return self.kind == "local" and self.workers == 1


class SanityConfig(Section):
    """Checks that lists must pass to be published; if one fails, the current lists remain published."""

    max_fallback_share: Share = 0.5
    """Largest share of rows that the fallback chain filled in."""
    max_empty_share: Share = 0.01
    """Largest share of users without a list."""
    max_churn: Share = 0.95
    """Largest mean share of a user's list that was not in the list now published."""
    min_coverage_left: Share = 0.5
    """Smallest coverage relative to that of the lists now published."""
    max_score_shift: Share = 0.5
    """Largest distance (Kolmogorov-Smirnov) from the scores of the lists now published, for the same model."""
    max_users_lost: Share = 0.3
    """Largest share of the users of the last good lists who get none tonight."""
    max_rows_lost: Share = 0.3
    """Largest share of the rows of the last good lists that tonight's lists have fewer, under the same settings."""


class RulesConfig(Section):
    """What lists must and must not hold.

    Where a list would be too short, the first three rules are dropped, from the last to the first, and each row names
    the dropped rules.
    """

    max_item_age_days: Annotated[float, Field(gt=0)] | None = None
    """Items that joined the catalogue more days ago are not shown; null: no limit."""
    max_per_value: dict[str, Count] = Field(default={})
    """Item column (tags or an attribute) -> largest number of items of a list that share a value of it."""
    min_new_share: Share = 0.0
    """Smallest share of a list that is new: items with at most candidates.new_item_users users."""
    diversity: Share = 0.0
    """0: order by score alone; 1: each item as unlike the items above it as possible, by text."""
    diversity_pool: Count = 100
    """Number of a user's best items that diversity chooses from."""
    shown_penalty: Annotated[float, Field(ge=0)] = 0.0
    """Standard deviations subtracted from an item's score for each earlier night that listed it. No effect in a
    measurement, which knows no earlier nights."""
    shown_nights: Count = 7
    """Number of earlier nights that count for shown_penalty."""
    shown_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Weight of a night in shown_penalty relative to the next newer one."""
    blocked_items: str | None = None
    """CSV file below RECSYS_DATA with a column item_id: items that no user is shown. Never relaxed."""
    blocked_pairs: str | None = None
    """CSV file below RECSYS_DATA with columns user_id and item_id: items that this user is not shown. Never relaxed."""


class GenerationConfig(Section):
    """The nightly lists."""

    n: Count = 10
    """Length of the lists."""
    rules: RulesConfig = RulesConfig()
    """What lists must and must not hold."""
    reason_language: Literal["auto", "en", "zh"] = "auto"
    """Language of the reasons; auto: Chinese where most titles are in Han script, else English."""
    reason_sentences: str | None = None
    """YAML file below RECSYS_DATA of reason key: sentence, which replaces the shipped sentences of those keys."""
    shard_size: Count = 5_000
    """Users per shard; memory grows with it."""
    outputs: tuple[Literal["jsonl", "csv"], ...] = ()
    """Further files with the same rows, written next to the Parquet files."""
    postgres_table: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)?$")] | None = None
    """Table (or schema.table) of the PostgreSQL database that RECSYS_LISTS_URL names, filled with the published lists;
    null: none."""
    publish_to: str | None = None
    """Where the lists that readers follow are also published: s3://bucket/prefix, gs://bucket/prefix, or an absolute
    folder that other machines see; credentials come from the environment. null: nowhere else."""
    engine: EngineConfig = EngineConfig()
    """Where the shards run."""
    sanity: SanityConfig = SanityConfig()
    """Checks before lists are published."""
    max_snapshot_age_hours: Annotated[float, Field(gt=0)] | None = None
    """Largest age of the snapshot's last event at the run date; null: no limit."""
    active_days: Annotated[float, Field(gt=0)] | None = None
    """Users whose last interaction is older get no list; null: every user with a history gets one."""
    users: str | None = None
    """CSV file below RECSYS_DATA with a column user_id: users who get a list in any case, even without a history."""
    keep_run_dates: Count = 30
    """Published run dates to keep, newest first; the current one is always kept. publish_to keeps at least 2."""

    @field_validator("publish_to")
    @classmethod
    def _names_a_place(cls, address: str | None) -> str | None:
        if address is None:
            return None
        scheme, separator, rest = address.partition("://")
        if separator and ("@" in rest or "?" in rest):
            raise ValueError(
                f"the address of {scheme}:// holds credentials or parameters; give them in the environment, such as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        known = scheme in ("s3", "gs") and rest.partition("/")[0] if separator else address.startswith("/")
        if not known or ".." in address.split("/"):
            raise ValueError(
                f"'{address}' is no place to publish to; expected s3://bucket/prefix, gs://bucket/prefix, or an "
                "absolute folder such as /mnt/lists"
            )
        return address
