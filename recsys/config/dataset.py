"""Settings of the raw data and of the windows that split it."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import AwareDatetime, Field, model_validator

from recsys.config.plugins import SOURCES, name_vector_source
from recsys.config.raw_files import Column, Columns, RawFiles
from recsys.config.section import Count, PositiveShare, Section, Share


class ItemColumns(Section):
    """Raw column of each item field; a dot reaches into nested JSON (`meta.authors`).

    Of several columns, those of an id or a text are joined, and for other fields the first that is not blank counts.
    """

    item_id: Columns = "item_id"
    """Column with the item's id; several columns are joined with |."""
    title: Columns = "title"
    """Column with the title; several columns are joined with a space."""
    description: Columns | None = None
    """Column with the description; several columns are joined with a space."""
    tags: Columns | None = None
    """Column with the tags, a list or a text with separators; tags of several columns are combined."""
    available: Columns | None = None
    """Column that is false for items to train on but never recommend."""
    created_at: Columns | None = None
    """Column with the time the item was added to the catalogue; missing: it has always been available."""


class VectorFiles(Section):
    """Vectors of the items from elsewhere, such as an image encoder's."""

    path: str | None = None
    """Parquet file, folder or glob pattern with a row per item, relative to RECSYS_DATA; null: the files of the
    items."""
    item_id: Columns = "item_id"
    """Column with the item's id, if there is a path; several columns are joined with |."""
    column: Column = "vector"
    """Column with lists of numbers, all equally long; null for an item without a vector."""
    max_unknown_share: Share = 0.2
    """Maximum share of the vectors whose items the catalogue lacks; they are left out. Above it, ingest stops."""


class ItemFiles(RawFiles):
    """Files and columns of the raw items."""

    default_max_rejected: ClassVar[dict[str, float]] = {"empty_text": 0.2}
    rules: ClassVar[tuple[str, ...]] = (
        *("missing_item_id", "unprintable_item_id", "rounded_item_id", "list_item_id"),
        *("item_id_too_long", "empty_text", "text_too_long", "bad_available", "bad_created_at"),
    )

    columns: ItemColumns = ItemColumns()
    """Raw column for each field."""
    attributes: dict[Annotated[str, Field(pattern=r'^[^\s\[\]{}":,]+$')], Column] = Field(default={})
    """Additional columns to keep: name -> raw column. Names become part of feature names, where LightGBM rejects
    white space and []{}":, in them."""
    tags_separator: Annotated[str, Field(min_length=1)] = ","
    """Separator of tags in a text such as "drama|war"; not needed for lists."""

    vectors: dict[Annotated[str, Field(pattern=r"^[a-z][a-z0-9_]{0,39}$")], VectorFiles] = Field(default={})
    """Vectors from elsewhere: name -> where they are. Names become part of names of sources and features."""

    @model_validator(mode="after")
    def _vectors_do_not_shadow(self) -> Self:
        if taken := sorted(name for name in self.vectors if name_vector_source(name) in SOURCES):
            raise ValueError(
                f"vectors '{taken[0]}': there is a built-in source {name_vector_source(taken[0])}; choose another name"
            )
        return self

    @model_validator(mode="after")
    def _attributes_do_not_shadow(self) -> Self:
        taken = sorted(set(self.attributes) & set(ItemColumns.model_fields))
        if taken:
            raise ValueError(f"attributes {taken} have the names of item columns; choose other names")
        return self


class InteractionColumns(Section):
    """Raw column of each interaction field. Give `time`, or `order`, or neither.

    Of several columns, those of an id are joined, and for other fields the first that is not blank counts.
    """

    user_id: Columns = "user_id"
    """Column with the user's id; several columns are joined with |."""
    item_id: Columns = "item_id"
    """Column with the item's id; several columns are joined with |."""
    time: Columns | None = None
    """Column with the time of the event."""
    order: Columns | None = None
    """Column with numbers that order each user's events, for data without times."""
    event: Columns | None = None
    """Column with the event kind."""
    value: Columns | None = None
    """Column with a number such as a rating or a quantity."""
    position: Columns | None = None
    """Column with the position at which the item was shown, from 1, to correct for position bias: items shown first are
    chosen more often."""


class InteractionFiles(RawFiles):
    """Files and columns of the raw interactions."""

    # Guests have no id, and the catalogue of today lacks items of the past.
    default_max_rejected: ClassVar[dict[str, float]] = {
        "missing_user_id": 0.5,
        "forgotten": 1.0,
        "unknown_item": 0.2,
        "early_time": 1.0,
        "zero_value": 0.5,
    }
    rules: ClassVar[tuple[str, ...]] = (
        *("forgotten", "missing_user_id", "missing_item_id", "unprintable_user_id", "unprintable_item_id"),
        *("rounded_user_id", "rounded_item_id", "list_user_id", "user_id_too_long"),
        *("missing_time", "bad_time", "early_time", "future_time"),
        *("unknown_item", "missing_event", "unknown_event", "bad_value", "zero_value", "bad_position"),
        *("missing_order", "bad_order"),
    )

    columns: InteractionColumns = InteractionColumns()
    """Raw column for each field. Set time, or order, or neither."""
    time_zone: str = "UTC"
    """Time zone of times without one."""
    earliest_time: AwareDatetime | None = None
    """Rows with an earlier time are rejected: some exports write 1970 or 1980 for an unknown time."""
    event_weights: dict[str, Annotated[float, Field(gt=0)]] = Field(default={"interaction": 1.0}, min_length=1)
    """Event kind -> weight; rows of other kinds are rejected. Without an event column, all rows are of the first
    kind."""
    positive_events: tuple[str, ...] | None = None
    """Event kinds that the lists should predict; null: all of them but `owned_events`."""
    owned_events: tuple[str, ...] = ()
    """Event kinds after which the user has the item, but which the lists should not predict, such as a wish list or a
    to-read shelf."""
    positive_value: float | None = None
    """Minimum value of a positive event; an event without a value is positive."""
    value_weight: Literal["none", "linear", "log1p"] = "none"
    """How the value scales the event's weight: not at all, by the value, or by log(1 + value). A missing
    value counts as 1."""
    negative_values: Literal["keep", "take_back"] | None = None
    """What a negative value means: an ordinary number, or a return, which cancels earlier events of the user with the
    item again. null: a number if `positive_value` is set, else a return."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.columns.time and self.columns.order:
            raise ValueError("columns.time and columns.order are both set; keep the one that orders the events")
        for setting in ("positive_events", "owned_events"):
            unknown = sorted(set(getattr(self, setting) or ()) - set(self.event_weights))
            if unknown:
                raise ValueError(f"{setting} {unknown} are not in event_weights {sorted(self.event_weights)}")
        both = sorted(set(self.positive_events or ()) & set(self.owned_events))
        if both:
            raise ValueError(f"{both} are in positive_events and in owned_events; choose one")
        if not set(self.event_weights) - set(self.owned_events):
            raise ValueError("all event kinds are in owned_events; the lists need a kind to predict")
        return self

    @property
    def takes_back(self) -> bool:
        """Whether a negative value takes earlier events back."""
        meaning = self.negative_values or ("keep" if self.positive_value is not None else "take_back")
        return meaning == "take_back"


class DatasetSanityConfig(Section):
    """How much of the last good snapshot new data may lose; beyond that, the snapshot before stays current.

    Totals are compared, so old events may age out of a feed that holds a fixed number of days. Data of other dataset
    settings is not compared. A loss that is right is accepted once with `recsys ingest --accept-loss REASON`.
    """

    max_users_lost: Share = 0.3
    """Maximum share of users lost: fewer users in total, or ids that are missing although their last events are newer
    than the first event of the new data."""
    max_items_lost: Share = 0.3
    """Maximum share of the catalogue's items that may be missing."""
    max_interactions_lost: Share = 0.3
    """Maximum drop in the number of interactions, as a share."""
    max_kind_lost: Share = 0.5
    """The same per event kind with at least 30 interactions: a kind that disappears or is renamed is refused."""
    max_vectors_lost: Share = 0.3
    """Maximum drop in the number of items with a vector, as a share, for each of `dataset.items.vectors`."""


class DatasetConfig(Section):
    """Raw files, their meaning, and how many bad rows are tolerated."""

    items: ItemFiles
    """Raw files of the items."""
    interactions: InteractionFiles
    """Raw files of the interactions."""
    pseudonyms: bool = False
    """Whether user ids are replaced by keyed hashes (HMAC-SHA256 with the key in RECSYS_PSEUDONYM_KEY), in
    interactions and in every list of users."""
    repeats: bool = False
    """Whether lists may contain items that the user already has."""
    max_events_per_user_day: Count | None = None
    """Maximum events per user and day (UTC); ingest keeps the earliest and drops the others, such as those
    of a robot. null: all are kept. Needs times."""
    max_text_characters: Count = 100_000
    """Maximum length of a title, description, tags or attribute, in characters; items with a longer one are rejected.
    Ids have at most 1,000 characters."""
    max_rejected_share: Share = 0.05
    """Maximum share of rejected rows per table; above it, ingest stops, unless the table's `max_rejected` sets
    another limit."""
    sanity: DatasetSanityConfig = DatasetSanityConfig()
    """Limits on data lost since the last good snapshot."""

    @model_validator(mode="after")
    def _days_need_times(self) -> Self:
        if self.max_events_per_user_day is not None and not self.interactions.columns.time:
            raise ValueError("max_events_per_user_day needs interactions.columns.time; set it to null")
        return self


class WindowsConfig(Section):
    """How interactions are split into fit < rerank < test."""

    protocol: Literal["global_time", "leave_last_out", "random", "cold_items", "holdout_file"] = "global_time"
    """How interactions are split into windows; see the table of protocols."""
    test_days: Annotated[float, Field(gt=0, le=36_500)] | None = None
    """global_time: length of the test window and of each label window, in days. Set this or test_share."""
    test_share: PositiveShare | None = None
    """global_time: share of the events in the test window and in each label window. Set this or test_days."""
    holdout_share: PositiveShare = 0.2
    """random, cold_items: share of the pairs (cold_items: of the items) in the test window, and again in the label
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
