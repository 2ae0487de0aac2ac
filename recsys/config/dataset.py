"""Settings of the raw data and of the windows that split it."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from recsys.config.section import PositiveShare, Section, Share


class ItemColumns(Section):
    """Raw column of each item field; a dot reaches into nested JSON (`meta.authors`)."""

    item_id: str = "item_id"
    """Column of the item's id."""
    title: str = "title"
    """Column of the title."""
    description: str | None = None
    """Column of the description."""
    tags: str | None = None
    """Column of the tags, a list or a text with separators."""
    available: str | None = None
    """Column that is false for items that are never recommended, but still learned from."""
    created_at: str | None = None
    """Column of the time when the item joined the catalogue; missing: it was always there."""


class ItemFiles(Section):
    """Files and columns of the raw items."""

    path: str
    """File, folder or glob pattern of the items; relative paths start at RECSYS_DATA."""
    columns: ItemColumns = ItemColumns()
    """Raw column of each field."""
    attributes: dict[Annotated[str, Field(pattern=r'^[^\s\[\]{}":,]+$')], str] = Field(default={})
    """Further columns to keep: name -> raw column. Names become part of the ranker's features, and LightGBM rejects
    white space and []{}":, in them."""
    tags_separator: Annotated[str, Field(min_length=1)] = ","
    """Separator of tags in a text such as "drama|war"; a list needs none."""

    @model_validator(mode="after")
    def _attributes_do_not_shadow(self) -> Self:
        taken = sorted(set(self.attributes) & set(ItemColumns.model_fields))
        if taken:
            raise ValueError(f"attributes {taken} have the names of item columns; choose other names")
        return self


class InteractionColumns(Section):
    """Raw column of each interaction field. Give `time`, or `order`, or neither."""

    user_id: str = "user_id"
    """Column of the user's id."""
    item_id: str = "item_id"
    """Column of the item's id."""
    time: str | None = None
    """Column of the event's time."""
    order: str | None = None
    """Column of numbers that order each user's events, for data without times."""
    event: str | None = None
    """Column of the event kind."""
    value: str | None = None
    """Column of a number such as a rating or a quantity."""
    position: str | None = None
    """Column of the position at which the user was shown the item, 1 the first: items shown first are chosen more
    often."""


class InteractionFiles(Section):
    """Files and columns of the raw interactions."""

    path: str
    """File, folder or glob pattern of the interactions; relative paths start at RECSYS_DATA."""
    columns: InteractionColumns = InteractionColumns()
    """Raw column of each field. Give time, or order, or neither."""
    time_format: Literal["seconds", "milliseconds", "iso", "date"] = "iso"
    """Seconds or milliseconds since 1970, ISO 8601 (a date, or date and time), or dates only."""
    time_zone: str = "UTC"
    """Zone of times that have no zone."""
    earliest_time: AwareDatetime | None = None
    """Earlier rows are rejected: some exports write 1970 or 1980 for an unknown time."""
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={"interaction": 1.0}, min_length=1)
    """Event kind -> weight; rows of other kinds are rejected. Without an event column all rows have the first."""
    positive_events: tuple[str, ...] | None = None
    """Event kinds that the lists should predict; null: all of them."""
    positive_value: float | None = None
    """Smallest value that makes an event positive; an event without a value is positive."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns.time and self.columns.order:
            raise ValueError("columns.time and columns.order are both given; keep the one that orders the events")
        unknown = sorted(set(self.positive_events or ()) - set(self.event_weights))
        if unknown:
            raise ValueError(f"positive_events {unknown} are not in event_weights {sorted(self.event_weights)}")
        return self


class DatasetConfig(Section):
    """Raw files, their meaning, and how many bad rows are tolerated."""

    items: ItemFiles
    """Raw files of the items."""
    interactions: InteractionFiles
    """Raw files of the interactions."""
    repeats: bool = False
    """Whether lists may hold items that the user already has."""
    max_rejected_share: Share = 0.05
    """Largest share of a table's rows that may be rejected before ingest stops."""


class WindowsConfig(Section):
    """How interactions are split into fit < rerank < test."""

    protocol: Literal["global_time", "leave_last_out", "random", "cold_items", "holdout_file"] = "global_time"
    """How interactions are split; see the table of protocols."""
    test_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """global_time: days of the test window and of each label window. Give this or test_share."""
    test_share: PositiveShare | None = None
    """global_time: share of the events in the test window and in each label window. Give this or test_days."""
    holdout_share: PositiveShare = 0.2
    """random, cold_items: share of the pairs (of the items) in the test window; the same share goes to the label
    window."""
    holdout_path: str | None = None
    """holdout_file: table of test pairs with the user and item columns of the interactions."""
    label_windows: Annotated[int, Field(ge=1, le=8)] = 1
    """Number of label windows that the ranker learns from, newest first (global_time, leave_last_out)."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.protocol == "global_time" and (self.test_days is None) == (self.test_share is None):
            raise ValueError("protocol global_time needs exactly one of test_days and test_share")
        if self.protocol == "holdout_file" and not self.holdout_path:
            raise ValueError("protocol holdout_file needs holdout_path")
        if self.protocol not in ("global_time", "leave_last_out") and self.label_windows != 1:
            raise ValueError(f"label_windows must be 1 with protocol {self.protocol}")
        return self
