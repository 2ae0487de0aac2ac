"""Settings of the raw data and of the windows it is split into."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from recsys.config.section import PositiveShare, Section, Share


class ItemColumns(Section):
    """Raw column of each item field; a dot reaches into nested JSON (`meta.authors`)."""

    item_id: str = "item_id"
    title: str = "title"
    description: str | None = None
    tags: str | None = None
    available: str | None = None
    created_at: str | None = None


class ItemFiles(Section):
    """Where the raw items lie and how they read."""

    path: str
    columns: ItemColumns = ItemColumns()
    # Further columns to keep: name in our tables -> raw column. Names become part of the ranker's features, and
    # LightGBM refuses these characters in them.
    attributes: dict[Annotated[str, Field(pattern=r'^[^\s\[\]{}":,]+$')], str] = Field(default={})
    # Splits a tags text such as "drama|war"; a real list needs none.
    tags_separator: Annotated[str, Field(min_length=1)] = ","

    @model_validator(mode="after")
    def _attributes_do_not_shadow(self) -> Self:
        taken = sorted(set(self.attributes) & set(ItemColumns.model_fields))
        if taken:
            raise ValueError(f"attributes {taken} have the names of item columns; choose other names")
        return self


class InteractionColumns(Section):
    """Raw column of each interaction field. Give `time`, or `order`, or neither."""

    user_id: str = "user_id"
    item_id: str = "item_id"
    time: str | None = None
    order: str | None = None
    event: str | None = None
    value: str | None = None
    # Place at which the item stood where the user met it, 1 the first: what stands first is taken more often.
    position: str | None = None


class InteractionFiles(Section):
    """Where the raw interactions lie and how they read."""

    path: str
    columns: InteractionColumns = InteractionColumns()
    time_format: Literal["seconds", "milliseconds", "iso", "date"] = "iso"
    # Zone of times that carry none of their own.
    time_zone: str = "UTC"
    # Rows earlier than this are rejected (some exports write 1970 or 1980 for "unknown").
    earliest_time: AwareDatetime | None = None
    # Event kinds and their weights; a kind that is not listed is rejected. Without an event column every row is
    # the first kind listed.
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={"interaction": 1.0}, min_length=1)
    # Kinds the lists should predict; None: all of them.
    positive_events: tuple[str, ...] | None = None
    # Values from this one on are positive; a row without a value is positive.
    positive_value: float | None = None

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns.time and self.columns.order:
            raise ValueError("columns.time and columns.order are both given; keep the one that says what came first")
        unknown = sorted(set(self.positive_events or ()) - set(self.event_weights))
        if unknown:
            raise ValueError(f"positive_events {unknown} are not in event_weights {sorted(self.event_weights)}")
        return self


class DatasetConfig(Section):
    """Raw files, what they mean, and how many bad rows are bearable."""

    items: ItemFiles
    interactions: InteractionFiles
    # May the lists hold what the user already has?
    repeats: bool = False
    # `ingest` stops when more than this share of a table's rows is rejected.
    max_rejected_share: Share = 0.05


class WindowsConfig(Section):
    """How interactions split into fit < rerank < test."""

    protocol: Literal["global_time", "leave_last_out", "random", "cold_items", "holdout_file"] = "global_time"
    # global_time: length of the test window and of each label window; exactly one of the two.
    test_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    test_share: PositiveShare | None = None
    # random, cold_items: share of pairs (of items) that goes to test; another such share goes to rerank.
    holdout_share: PositiveShare = 0.2
    # holdout_file: a table of test pairs with the raw user and item columns of the interactions.
    holdout_path: str | None = None
    # How many label windows the ranker learns from, newest first (global_time, leave_last_out).
    label_windows: Annotated[int, Field(ge=1, le=8)] = 1

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol == "global_time" and (self.test_days is None) == (self.test_share is None):
            raise ValueError("protocol global_time needs exactly one of test_days and test_share")
        if self.protocol == "holdout_file" and not self.holdout_path:
            raise ValueError("protocol holdout_file needs holdout_path")
        if self.protocol not in ("global_time", "leave_last_out") and self.label_windows != 1:
            raise ValueError(f"label_windows must be 1 with protocol {self.protocol}")
        return self
