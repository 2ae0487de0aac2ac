"""Settings of evaluation, the registry and the nightly lists."""

from __future__ import annotations

from typing import Annotated, Any, Literal, Self

from pydantic import Field, field_validator, model_validator

from recsys.config.engine import EngineConfig
from recsys.config.gate import GateConfig
from recsys.config.plugins import as_value_error, resolve_options
from recsys.config.section import AUTO, Auto, Count, PositiveShare, Section, Share


class SegmentsConfig(Section):
    """The segments that metrics are repeated for."""

    new_user_items: Count = 5
    """A user with at most this many distinct items before the window is new."""
    heavy_user_items: Count = 20
    """Users with more distinct items than this are heavy; those between new and heavy are light."""
    cold_item_users: Annotated[int, Field(ge=0)] = 0
    """An item is cold if at most this many users interacted with it before the window."""
    item_columns: tuple[str, ...] = ()
    """Item columns (tags or attributes) whose values are reported as segments."""
    max_values: Count = 8
    """Number of values reported per column: those with the most positives."""
    min_users: Count = 30
    """Minimum number of users of a segment; smaller segments are marked as inconclusive."""

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
    """Number of bootstrap samples of users per interval."""
    confidence: PositiveShare = 0.95
    """Confidence of the intervals."""
    metric: Literal["ndcg", "recall", "precision", "f1", "mrr", "map", "hit_rate"] = "ndcg"
    """Metric that models are compared by, in reports and in the gate."""
    n: Count = 10
    """List length that models are compared at; must be in n_values."""
    extra_baselines: dict[str, dict[str, Any]] = Field(default={})
    """Plug-in baseline -> its settings, validated by the section that the plug-in declares."""
    max_users: Count | None = 20_000
    """Maximum number of users of the test window that models are measured on, drawn at random by their ids, the same
    for every model; intervals show what that costs. null: all."""
    propensity_power: Annotated[float, Field(ge=0, le=2)] = 0.5
    """Exponent of popularity-corrected recall: a positive has the weight users^-exponent of its item; 0: plain
    recall."""
    segments: SegmentsConfig = SegmentsConfig()
    """Limits of the segments."""

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
    """Registered model in MLflow; null: the config's name. MLflow does not allow / : and quotes."""
    experiment: Annotated[str, Field(min_length=1)] | None = None
    """Experiment in MLflow; null: the config's name."""
    gate: GateConfig = GateConfig()
    """Promotion gate: when a challenger replaces the champion."""


class SanityConfig(Section):
    """Checks that lists must pass to be published; if one fails, the current lists remain published."""

    max_fallback_share: Share = 0.5
    """Maximum share of rows filled by the fallback chain."""
    max_empty_share: Share = 0.01
    """Maximum share of users without a list."""
    max_churn: Share = 0.95
    """Maximum mean share of a user's list that is not in the currently published list."""
    min_coverage_left: Share = 0.5
    """Minimum coverage relative to the currently published lists."""
    max_score_shift: Share = 0.5
    """Maximum Kolmogorov-Smirnov distance from the scores of the currently published lists, for the same model."""
    max_users_lost: Share = 0.3
    """Maximum share of users of the last good lists who get no list tonight."""
    max_rows_lost: Share = 0.3
    """Maximum drop in rows compared with the last good lists, as a share, under the same settings."""


class RulesConfig(Section):
    """Business rules: what lists must and must not contain.

    Where a list would be too short, the first three rules are dropped, from the last to the first, and each row names
    the dropped rules.
    """

    max_item_age_days: Annotated[float, Field(gt=0)] | None = None
    """Maximum age in days of a recommended item; null: no limit."""
    max_per_value: dict[str, Count] = Field(default={})
    """Item column (tags or an attribute) -> maximum number of items in a list with the same value."""
    min_new_share: Share | Auto = 0.0
    """Minimum share of new items in a list: items with at most candidates.new_item_users users; auto: as many
    places of a list of generation.n as users took new items in the newest label window, but no more than cost 1 % of
    the metric on held-out users."""
    diversity: Share = 0.0
    """Trade-off between score and diversity. 0: by score only; 1: each item as different from those above it as
    possible, by text."""
    diversity_pool: Count = 100
    """Number of top items per user that diversity chooses from."""
    shown_penalty: Annotated[float, Field(ge=0)] = 0.0
    """Penalty per earlier night that listed the item, in standard deviations of the scores. No effect in a
    measurement, which has no earlier nights."""
    shown_nights: Count = 7
    """Number of earlier nights counted by shown_penalty."""
    shown_decay: Annotated[float, Field(gt=0, le=1)] = 0.8
    """Decay in shown_penalty: weight of a night relative to the next newer one."""
    blocked_items: str | None = None
    """CSV file below RECSYS_DATA with a column item_id: items that are never recommended. Never relaxed."""
    blocked_pairs: str | None = None
    """CSV file below RECSYS_DATA with columns user_id and item_id: items never recommended to that user. Never
    relaxed."""

    @property
    def new_share(self) -> float:
        """`min_new_share`; until it is measured, no place is kept for new items."""
        return 0.0 if self.min_new_share == AUTO else float(self.min_new_share)


class GenerationConfig(Section):
    """The nightly lists."""

    n: Count = 10
    """Length of the lists."""
    rules: RulesConfig = RulesConfig()
    """Business rules: what lists must and must not contain."""
    reason_language: Literal["auto", "en", "zh"] = "auto"
    """Language of the reasons; auto: Chinese where most titles are in Han script, else English."""
    reason_sentences: str | None = None
    """YAML file below RECSYS_DATA that maps reason keys to sentences, which replace the built-in ones."""
    shard_size: Count = 5_000
    """Number of users per shard; memory grows with it."""
    outputs: tuple[Literal["jsonl", "csv"], ...] = ()
    """Additional formats, written next to the Parquet files with the same rows."""
    postgres_table: Annotated[str, Field(pattern=r"^[^.]+(\.[^.]+)?$")] | None = None
    """Table (or schema.table) of the PostgreSQL database that RECSYS_LISTS_URL names, filled with the published lists;
    null: none."""
    publish_to: str | None = None
    """Additional place to publish the current lists to: s3://bucket/prefix, gs://bucket/prefix, or an absolute
    folder that other machines can read; credentials come from the environment. null: none."""
    engine: EngineConfig = EngineConfig()
    """Engine that runs the shards."""
    sanity: SanityConfig = SanityConfig()
    """Sanity checks before lists are published."""
    max_snapshot_age_hours: Annotated[float, Field(gt=0)] | None = None
    """Maximum age of the snapshot's last event at the run date; null: no limit."""
    active_days: Annotated[float, Field(gt=0)] | None = None
    """Maximum age in days of a user's last interaction; users with an older one get no list. null: every user with a
    history gets one."""
    users: str | None = None
    """CSV file below RECSYS_DATA with a column user_id: users who always get a list, even without a history."""
    keep_run_dates: Count = 30
    """Number of newest published run dates to keep; the current one is always kept. publish_to keeps at least 2."""

    @field_validator("publish_to")
    @classmethod
    def _names_a_place(cls, address: str | None) -> str | None:
        if address is None:
            return None
        scheme, separator, rest = address.partition("://")
        if separator and ("@" in rest or "?" in rest):
            raise ValueError(
                f"the address of {scheme}:// contains credentials or parameters; set them in the environment, such as "
                "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
            )
        known = scheme in ("s3", "gs") and rest.partition("/")[0] if separator else address.startswith("/")
        if not known or ".." in address.split("/"):
            raise ValueError(
                f"'{address}' is not a valid place to publish to; expected s3://bucket/prefix, gs://bucket/prefix, or "
                "an "
                "absolute folder such as /mnt/lists"
            )
        return address
