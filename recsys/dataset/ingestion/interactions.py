"""Raw interactions -> events on disk and rejected rows, batch by batch.

The rules are checked in this order, and the first that a row breaks is recorded: forgotten, missing_user_id,
missing_item_id, unprintable_user_id, unprintable_item_id (control characters), rounded_user_id, rounded_item_id (a
float that lost digits), list_user_id (a list or an object), user_id_too_long, missing_time, bad_time, early_time,
future_time, unknown_item, missing_event, unknown_event, bad_value, zero_value (no weight where the value is
one), bad_position, missing_order, bad_order.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import DatasetConfig, InteractionFiles
from recsys.dataset.forgotten import ForgottenUsers
from recsys.dataset.ingestion.advice import (
    ADVICE_ON_MISSING,
    advise_on_events,
    advise_on_items,
    advise_on_lists,
    advise_on_numbers,
    advise_on_times,
)
from recsys.dataset.ingestion.column_forms import NumberColumn, TimeColumn
from recsys.dataset.ingestion.event_sort import EventFile
from recsys.dataset.ingestion.judgement import Judge
from recsys.dataset.ingestion.read_ahead import read_ahead
from recsys.dataset.ingestion.text_numbers import (
    FORGOTTEN,
    LISTED,
    MISSING,
    ROUNDED,
    TOO_LONG,
    UNKNOWN,
    UNPRINTABLE,
    UserNumbers,
    number_items,
    number_kinds,
)
from recsys.dataset.pseudonyms import find_pseudonyms
from recsys.dataset.raw.batches import RawBatch
from recsys.dataset.raw.reading import read_batches
from recsys.errors import DataError
from recsys.storage.spilled_frames import SpilledFrames

_Mask = NDArray[np.bool_]

# Rule -> field whose values are shown.
_FIELDS = {
    **{f"{fault}_{name}": name for fault in ("unprintable", "rounded") for name in ("user_id", "item_id")},
    **dict.fromkeys(("list_user_id", "user_id_too_long"), "user_id"),
    **dict.fromkeys(("bad_time", "early_time", "future_time"), "time"),
    "unknown_item": "item_id",
    "unknown_event": "event",
    **dict.fromkeys(("bad_value", "zero_value"), "value"),
    "bad_position": "position",
    "bad_order": "order",
}
# Rule of rows whose content is not kept.
_FORGOTTEN = "forgotten"
# A missing `exact`; the smallest of its type sorts before all others.
NO_EXACT = np.iinfo(np.int64).min


@dataclass(frozen=True)
class Events:
    """Good events, not yet sorted.

    Attributes:
        file: records with `user`, `item`, `event`, and those of `time` (microseconds), `order`, `exact`, `value` (NaN:
            none) and `position` (0: none) that the data has.
        user_ids: the id of each user number.
        judge: with the counts of the rows read and rejected.
    """

    file: EventFile
    user_ids: pl.Series
    judge: Judge


def read_interactions(
    config: DatasetConfig,
    item_ids: pl.Series,
    now: datetime,
    scratch: Path,
    rejected: SpilledFrames,
    forgotten: ForgottenUsers | None = None,
) -> Events:
    """Read and judge all raw interactions.

    Args:
        config: their files and what they mean.
        item_ids: of the catalogue, sorted.
        now: aware instant; later events than a day after it are rejected.
        scratch: an empty folder for the events.
        rejected: where bad rows go.
        forgotten: users whose rows are rejected; None: nobody is forgotten.

    Raises:
        ConfigError: the key of the pseudonyms is missing.
        DataError: files cannot be read, times cannot be right, or too many rows break a rule.
    """
    reader = InteractionReader(config, item_ids, now, rejected, forgotten)
    events = EventFile(scratch, reader.fields)
    for batch in read_ahead(read_batches("interactions", config.interactions, reader.columns)):
        events.append(reader.read(batch))
    reader.time.check()
    reader.judge.check()
    return Events(events, reader.user_ids, reader.judge)


class InteractionReader:
    """Turns batches of raw interactions into records, whose form is the same from the first batch to the last.

    Args:
        config: settings of the interactions, and how many bad rows are tolerated.
        item_ids: of the catalogue, sorted.
        now: aware instant; later events than a day after it are rejected.
        rejected: where bad rows go; with pseudonyms without the content that names users.
        forgotten: users whose rows are rejected; None: nobody is forgotten.
    """

    def __init__(
        self,
        config: DatasetConfig,
        item_ids: pl.Series,
        now: datetime,
        rejected: SpilledFrames,
        forgotten: ForgottenUsers | None = None,
    ) -> None:
        files = config.interactions
        words = files.missing
        self.columns = {field: name for field, name in dict(files.columns).items() if name is not None}
        self._files, self._item_ids = files, item_ids
        self._kinds = list(files.event_weights)
        self._users = UserNumbers(words.get("user_id", ()), find_pseudonyms(config), forgotten)
        self._items = number_items(item_ids, words.get("item_id", ()))
        self._events = number_kinds(self._kinds, words.get("event", ()))
        self.time = TimeColumn("interactions", "time", files, files.time_zone, now)
        self._numbers = {name: NumberColumn("interactions", name, files) for name in ("value", "position", "order")}
        earliest = (files.earliest_time or datetime.min.replace(tzinfo=UTC)).astimezone(UTC)
        self._earliest, self._latest = earliest, now.astimezone(UTC) + timedelta(days=1)
        shown = {rule: field for rule, field in _FIELDS.items() if not (config.pseudonyms and field == "user_id")}
        self.judge = Judge(
            *("interactions", files, config.max_rejected_share, shown, self._advise, rejected),
            withheld=None if config.pseudonyms else (_FORGOTTEN,),
        )

    @property
    def fields(self) -> list[tuple[str, str]]:
        """Fields of a record, as numpy types; see `Events`."""
        types = {"time": [("time", "<i8")], "order": [("order", "<f8"), ("exact", "<i8")]}
        types |= {"value": [("value", "<f8")], "position": [("position", "<u2")]}
        present = [field for name, fields in types.items() if name in self.columns for field in fields]
        return [("user", "<u4"), ("item", "<u4"), ("event", "<u2"), *present]

    @property
    def user_ids(self) -> pl.Series:
        """The id of each user number."""
        return self._users.ids

    def read(self, batch: RawBatch) -> NDArray[np.void]:
        """Return a record per good row, and set the others aside."""
        records, broken = self._parse(batch)
        good = self.judge.judge(batch, broken)
        return records if good.all() else np.asarray(records[good])

    def _parse(self, batch: RawBatch) -> tuple[NDArray[np.void], dict[str, _Mask]]:
        """Return a record per row, and for each rule the rows that break it."""
        values = batch.values
        for name in ("user_id", "item_id"):
            _check_single(values, name, self._files)
        records = np.zeros(values.height, dtype=self.fields)
        users, items = self._users.read(values["user_id"]), self._items.read(values["item_id"])
        broken = {
            _FORGOTTEN: users == FORGOTTEN,
            "missing_user_id": users == MISSING,
            "missing_item_id": items == MISSING,
        }
        for fault, code in (("unprintable", UNPRINTABLE), ("rounded", ROUNDED)):
            broken |= {f"{fault}_user_id": users == code, f"{fault}_item_id": items == code}
        broken |= {"list_user_id": users == LISTED, "user_id_too_long": users == TOO_LONG}
        records["user"], records["item"] = np.maximum(users, 0), np.maximum(items, 0)
        if "time" in self.columns:
            broken |= self._parse_times(values["time"], records)
        broken["unknown_item"] = items == UNKNOWN
        if "event" in self.columns:
            events = self._events.read(values["event"])
            broken |= {"missing_event": events == MISSING, "unknown_event": events == UNKNOWN}
            records["event"] = np.maximum(events, 0)
        if "value" in self.columns:
            broken |= self._parse_values(values["value"], records)
        if "position" in self.columns:
            numbers, missing = self._numbers["position"].read(values["position"])
            positions = (
                numbers.set(numbers != numbers.floor(), None).cast(pl.UInt16, strict=False).fill_null(0).to_numpy()
            )
            broken["bad_position"] = (positions == 0) & ~missing.to_numpy()
            records["position"] = positions
        if "order" in self.columns:
            broken |= self._parse_order(values["order"], records)
        return records, broken

    def _parse_times(self, values: pl.Series, records: NDArray[np.void]) -> dict[str, _Mask]:
        times, missing = self.time.read(values)
        blank, absent = missing.to_numpy(), times.is_null().to_numpy()
        records["time"] = times.to_physical().fill_null(0).to_numpy()
        return {
            "missing_time": blank,
            "bad_time": absent & ~blank,
            "early_time": (times < self._earliest).fill_null(False).to_numpy(),
            "future_time": (times > self._latest).fill_null(False).to_numpy(),
        }

    def _parse_values(self, values: pl.Series, records: NDArray[np.void]) -> dict[str, _Mask]:
        parsed, missing = self._numbers["value"].read(values)
        numbers = parsed.fill_null(float("nan")).to_numpy()
        with np.errstate(over="ignore"):
            # A number beyond the range of Float32 counts as unreadable.
            bad = (np.isnan(numbers) | np.isinf(numbers.astype(np.float32))) & ~missing.to_numpy()
        records["value"] = numbers
        weightless = np.zeros(len(numbers), dtype=np.bool_)
        if self._files.value_weight != "none":
            weightless = (numbers == 0) if self._files.takes_back else (numbers <= 0)
        return {"bad_value": bad, "zero_value": weightless}

    def _parse_order(self, values: pl.Series, records: NDArray[np.void]) -> dict[str, _Mask]:
        numbers, missing = self._numbers["order"].read(values)
        records["order"] = numbers.fill_null(0.0).to_numpy()
        # Counters above 2^53 (snowflake ids) are equal as floats and differ only here.
        exact = values.cast(pl.String).str.strip_chars().cast(pl.Int64, strict=False)
        records["exact"] = exact.fill_null(NO_EXACT).to_numpy()
        blank = missing.to_numpy()
        return {"missing_order": blank, "bad_order": numbers.is_null().to_numpy() & ~blank}

    def _advise(self, rule: str, values: pl.Series) -> str:
        """Return what to do about a rule, given some of the values that broke it."""
        if rule.startswith("missing_"):
            return ADVICE_ON_MISSING
        if not len(values):
            return ""
        if _FIELDS.get(rule) == "time":
            return advise_on_times(values, self.time)
        if rule == "list_user_id":
            return advise_on_lists(values, "interactions", "user_id", self._files.columns.user_id)
        if rule == "unknown_item":
            return advise_on_items(values, self._item_ids, self._files.columns.item_id)
        if rule == "unknown_event":
            return advise_on_events(self._kinds)
        if rule in ("bad_value", "bad_position", "bad_order"):
            return advise_on_numbers(values)
        return ""


def _check_single(values: pl.DataFrame, field: str, files: InteractionFiles) -> None:
    if isinstance(values.schema[field], pl.List):
        name = getattr(files.columns, field)
        raise DataError(
            f"interactions: column '{name}' contains lists, expected a single value per row for {field}; split them "
            f"into rows with dataset.interactions.unfold: {{column: {name}}}, or name another column"
        )
