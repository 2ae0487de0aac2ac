"""Events on disk -> blocks of `Interactions`: repeats folded, returns taken back, steps and weights given."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.config import DatasetConfig, InteractionFiles
from recsys.dataset.interactions import Events
from recsys.dataset.returns import take_back
from recsys.tables import Interactions

_ORDERING = ("time", "order", "exact")


@dataclass
class BlockCounts:
    """What became of the good events: as in `TableCounts`."""

    kept: int = 0
    repeats: int = 0
    differing: int = 0
    returns: int = 0
    taken_back: int = 0
    lone_returns: int = 0


def make_blocks(
    config: DatasetConfig, events: Events, item_ids: pl.Series, counts: BlockCounts
) -> Iterator[pl.DataFrame]:
    """Yield `Interactions` in blocks of whole users, sorted by user and step.

    Ties keep the order of the files; without times and an order every row has step 0, so that the order of the files
    is never taken for the order of the users' events.

    Args:
        config: what the values and kinds mean, and which of several rows stays.
        events: cannot be read again afterwards.
        item_ids: the catalogue's, as the events are numbered.
        counts: filled while the blocks are read.
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
        counts.kept += len(records)
        yield _finish(files, records, users, item_ids, ordered)


def _sort(records: NDArray[np.void], *, returns_last: bool) -> NDArray[np.void]:
    """Return the events by user and time or order; of one instant, returns come last, others in the files' order."""
    names = records.dtype.names or ()
    keys = {name: records[name] for name in ("user", *_ORDERING) if name in names}
    if returns_last and "value" in names and (records["value"] < 0).any():
        keys["return"] = records["value"] < 0
    rows = pl.DataFrame(keys).with_row_index("row").sort(*keys, maintain_order=True)["row"]
    return records[rows.to_numpy()]


def _fold(records: NDArray[np.void], files: InteractionFiles, counts: BlockCounts) -> NDArray[np.void]:
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


def _finish(
    files: InteractionFiles, records: NDArray[np.void], users: pl.Series, item_ids: pl.Series, ordered: bool
) -> pl.DataFrame:
    names = records.dtype.names or ()
    kinds = list(files.event_weights)
    values = records["value"] if "value" in names else None
    consumed, positive = _mark(files, records["event"], values)
    nothing = pl.repeat(None, len(records), dtype=pl.Null, eager=True)
    columns = {
        "user_id": users.gather(records["user"]),
        "item_id": item_ids.gather(records["item"]),
        "step": pl.Series(_count_steps(records["user"]) if ordered else np.zeros(len(records), dtype=np.uint32)),
        "time": pl.Series(records["time"]) if "time" in names else nothing,
        "event": pl.Series(kinds, dtype=pl.String).gather(records["event"]),
        "weight": pl.Series(_weigh(files, records["event"], values)),
        "value": nothing if values is None else pl.Series(values).fill_nan(None),
        "position": pl.Series(records["position"]).replace(0, None) if "position" in names else nothing,
        "positive": pl.Series(positive),
        "consumed": pl.Series(consumed),
    }
    schema = {name: column.dtype for name, column in Interactions.columns().items()}
    return pl.DataFrame({name: columns[name].cast(dtype) for name, dtype in schema.items()})


def _count_steps(users: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """Return the index of each event among those of its user; the events are sorted by user."""
    rows = np.arange(len(users))
    first = np.append(True, users[1:] != users[:-1]) if len(users) else np.zeros(0, dtype=np.bool_)
    return (rows - np.maximum.accumulate(np.where(first, rows, 0))).astype(np.uint32)


def _mark(
    files: InteractionFiles, events: NDArray[np.uint16], values: NDArray[np.float64] | None
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Return whether the user has the item after each event, and whether the lists should predict it."""
    kinds = list(files.event_weights)
    wanted = files.positive_events or [kind for kind in kinds if kind not in files.owned_events]
    predicted = np.array([kind in wanted for kind in kinds])[events]
    consumed = predicted | np.array([kind in files.owned_events for kind in kinds])[events]
    positive = predicted
    if files.positive_value is not None and values is not None:
        positive = predicted & (np.isnan(values) | (values >= files.positive_value))
    return consumed, positive


def _weigh(
    files: InteractionFiles, events: NDArray[np.uint16], values: NDArray[np.float64] | None
) -> NDArray[np.float32]:
    """Return the weight of each event: that of its kind, times what its value makes of it."""
    weights = np.array(list(files.event_weights.values()))[events]
    if files.value_weight == "none":
        return weights.astype(np.float32)
    amounts = np.ones(len(events)) if values is None else np.where(np.isnan(values), 1.0, values)
    return (weights * (amounts if files.value_weight == "linear" else np.log1p(amounts))).astype(np.float32)
