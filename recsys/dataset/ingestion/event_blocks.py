"""Events on disk -> blocks of `Interactions`: repeats folded, returns taken back, steps and weights given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import DatasetConfig, InteractionFiles
from recsys.dataset.ingestion.interactions import Events
from recsys.dataset.ingestion.meaning import mark_consumed, mark_positive, weigh_events
from recsys.dataset.ingestion.returns import take_back
from recsys.errors import DataError
from recsys.tables import Interactions

_ORDERING = ("time", "order", "exact")
_KEY_BITS = 64
# In microseconds.
_DAY = 86_400 * 1_000_000


@dataclass
class EventCounts:
    """What became of the good events, and what they hold.

    Attributes:
        kept: interactions of the snapshot; `repeats` to `crowded_days` are as in `TableCounts`.
        users: users with interactions.
        items: (n_items) bool, whether some user interacted with the item.
        kinds: interactions of each event kind, in the order of the config.
        positive: interactions that the lists should predict.
        first: time of the first interaction, in microseconds since 1970; None without times.
        last: time of the last one.
    """

    items: NDArray[np.bool_]
    kinds: NDArray[np.int64]
    kept: int = 0
    repeats: int = 0
    differing: int = 0
    returns: int = 0
    taken_back: int = 0
    lone_returns: int = 0
    excess: int = 0
    crowded_days: int = 0
    users: int = 0
    positive: int = 0
    first: int | None = None
    last: int | None = None

    def add(self, records: NDArray[np.void], positive: int) -> None:
        """Count the interactions of a block of whole users, sorted by user."""
        if not len(records):
            return
        self.kept += len(records)
        self.users += 1 + int((records["user"][1:] != records["user"][:-1]).sum())
        self.items[records["item"]] = True
        self.kinds += np.bincount(records["event"], minlength=len(self.kinds))
        self.positive += positive
        if "time" in (records.dtype.names or ()):
            first, last = int(records["time"].min()), int(records["time"].max())
            self.first = first if self.first is None else min(first, self.first)
            self.last = last if self.last is None else max(last, self.last)


def make_blocks(
    config: DatasetConfig, events: Events, item_ids: pl.Series, counts: EventCounts
) -> Iterator[pl.DataFrame]:
    """Yield `Interactions` in blocks of whole users, sorted by user and step.

    Ties keep the order of the files; without times and an order every row has step 0, so that the order of the files
    is never taken for the order of the users' events.

    Args:
        config: what the values and kinds mean, and which of several rows stays.
        events: cannot be read again afterwards.
        item_ids: the catalogue's, as the events are numbered.
        counts: filled while the blocks are read.

    Raises:
        DataError: returns took everything back.
    """
    files = config.interactions
    have_events = np.flatnonzero(events.file.counts)
    users = events.user_ids.gather(have_events)
    order = users.arg_sort()
    users = users.gather(order)
    names = events.file.dtype.names or ()
    ordered = "time" in names or "order" in names
    for records in events.file.read_by_user(have_events[order.to_numpy()].astype(np.uint32)):
        records = _sort(records, returns_last=files.takes_back)
        if ordered or not config.repeats:
            records = _fold(records, files, counts)
        if files.takes_back and "value" in names:
            records, returns = take_back(records)
            counts.returns += returns.rows
            counts.taken_back += returns.taken_back
            counts.lone_returns += returns.alone
        if config.max_events_per_user_day is not None:
            records = _cut_days(records, config.max_events_per_user_day, counts)
        block = _finish(files, records, users, item_ids, ordered)
        counts.add(records, int(block["positive"].sum()))
        yield block
    if not counts.kept:
        raise DataError(
            "no interactions are left: returns (negative values) cancelled all events; if negative values are "
            "ordinary numbers, set dataset.interactions.negative_values to keep"
        )


def _sort(records: NDArray[np.void], *, returns_last: bool) -> NDArray[np.void]:
    """Return the events by user and time or order; of one instant, returns come last, others in the files' order."""
    names = records.dtype.names or ()
    keys = [records[name] for name in ("user", *_ORDERING) if name in names]
    if returns_last and "value" in names and (records["value"] < 0).any():
        keys.append(records["value"] < 0)
    packed = _pack(keys)
    if packed is None:
        return np.asarray(records[np.lexsort(keys[::-1])])
    rows = pl.DataFrame({"key": packed}).with_row_index("row").sort("key", maintain_order=True)["row"]
    return np.asarray(records[rows.to_numpy()])


def _pack(keys: list[NDArray[Any]]) -> NDArray[np.uint64] | None:
    """Return numbers that sort as some keys do, fast to sort; None where 64 bits do not hold them."""
    packed, bits = np.zeros(len(keys[0]), dtype=np.uint64), 0
    for key in keys:
        if not np.issubdtype(key.dtype, np.integer) and key.dtype != np.bool_:
            return None
        above = key.astype(np.int64)
        low, high = int(above.min()), int(above.max())
        if high - low >= 2**63:
            return None
        above -= low
        # Times are mostly whole seconds, whole days even.
        above //= max(1, int(np.gcd.reduce(above)))
        width = int(above.max()).bit_length()
        bits += width
        if bits > _KEY_BITS:
            return None
        packed = packed << np.uint64(width) | above.astype(np.uint64)
    return packed


def _fold(records: NDArray[np.void], files: InteractionFiles, counts: EventCounts) -> NDArray[np.void]:
    """Return the events without repeats: of those with the same user, item, kind and time or order, one stays."""
    names = records.dtype.names or ()
    group = [name for name in ("user", *_ORDERING) if name in names]
    same = np.ones(max(0, len(records) - 1), dtype=np.bool_)
    for name in group:
        same &= records[name][1:] == records[name][:-1]
    # Only neighbours of one instant can repeat one another.
    suspects = np.flatnonzero(np.append(same, False) | np.append(False, same))
    if not len(suspects):
        return records
    frame = pl.DataFrame({name: records[name][suspects] for name in names}).with_row_index("row")
    key = [*group, "item", "event"]
    if files.takes_back and "value" in names:
        frame, key = frame.with_columns(sign=pl.col("value") < 0), [*key, "sign"]
    repeated = frame.filter(pl.struct(key).is_duplicated())
    chosen = repeated.filter(
        pl.struct(key).is_first_distinct() if files.keep == "first" else pl.struct(key).is_last_distinct()
    )
    folded = repeated.join(chosen.select("row"), on="row", how="anti", maintain_order="left")
    further = [name for name in ("value", "position") if name in names]
    compared = folded.join(chosen.select(*key, *further), on=key, how="left", suffix="_kept")
    differs = pl.any_horizontal(pl.lit(False), *(pl.col(name) != pl.col(f"{name}_kept") for name in further))
    differing = compared.select(differs.sum()).item() if further else 0
    counts.differing += differing
    counts.repeats += folded.height - differing
    stays = np.ones(len(records), dtype=np.bool_)
    stays[suspects[folded["row"].to_numpy()]] = False
    return records[stays]


def _cut_days(records: NDArray[np.void], limit: int, counts: EventCounts) -> NDArray[np.void]:
    """Return the first events of each user and day (UTC); the events are sorted by user and time."""
    days = records["time"] // _DAY
    new = np.append(True, (records["user"][1:] != records["user"][:-1]) | (days[1:] != days[:-1]))[: len(records)]
    rows = np.arange(len(records))
    places = rows - np.maximum.accumulate(np.where(new, rows, 0))
    stays = places < limit
    counts.excess += int((~stays).sum())
    counts.crowded_days += int((places == limit).sum())
    return np.asarray(records[stays])


def _finish(
    files: InteractionFiles, records: NDArray[np.void], users: pl.Series, item_ids: pl.Series, ordered: bool
) -> pl.DataFrame:
    names = records.dtype.names or ()
    kinds = list(files.event_weights)
    values = records["value"] if "value" in names else np.full(len(records), np.nan)
    nothing = pl.repeat(None, len(records), dtype=pl.Null, eager=True)
    columns = {
        "user_id": users.gather(records["user"]),
        "item_id": item_ids.gather(records["item"]),
        "step": pl.Series(_count_steps(records["user"]) if ordered else np.zeros(len(records), dtype=np.uint32)),
        "time": pl.Series(records["time"]) if "time" in names else nothing,
        "event": pl.Series(kinds, dtype=pl.String).gather(records["event"]),
        "weight": pl.Series(weigh_events(files, records["event"], values)),
        "value": pl.Series(values).fill_nan(None),
        "position": pl.Series(records["position"]).replace(0, None) if "position" in names else nothing,
        "positive": pl.Series(mark_positive(files, records["event"], values)),
        "consumed": pl.Series(mark_consumed(files, records["event"])),
    }
    schema = Interactions.columns()
    return pl.DataFrame({name: column.cast(schema[name].dtype) for name, column in columns.items()})


def _count_steps(users: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the index of each event among those of its user; the events are sorted by user."""
    rows = np.arange(len(users))
    first = np.append(True, users[1:] != users[:-1]) if len(users) else np.zeros(0, dtype=np.bool_)
    return (rows - np.maximum.accumulate(np.where(first, rows, 0))).astype(np.uint32)
