"""Returns: events with a negative value, which take earlier events of the same user and item back."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

# Sums of decimal quantities such as 0.1 are not exact.
_ROUNDING = 1e-9


@dataclass(frozen=True)
class Returns:
    """Rows with a negative value, events that they took back whole, and those of them that took nothing back."""

    rows: int
    taken_back: int
    alone: int


def take_back(records: NDArray[np.void]) -> tuple[NDArray[np.void], Returns]:
    """Return the events that are left after all returns, and what the returns did.

    A return of a quantity takes that much from the latest earlier events of the user with the item that have a
    positive value, whatever their kind; what is left of an event keeps the remaining value. Events without a value
    stay. A return without earlier events is left out.

    Args:
        records: sorted by user and time, with `user`, `item` and `value`.
    """
    values = records["value"]
    is_return = values < 0
    if not is_return.any():
        return records, Returns(0, 0, 0)
    pairs = records["user"].astype(np.uint64) << np.uint64(32) | records["item"]
    rows = np.flatnonzero(np.isin(pairs, pairs[is_return]) & ~np.isnan(values))
    frame = pl.DataFrame({"pair": pairs[rows], "value": values[rows]})
    # What the user holds: it grows with each purchase, falls with each return, and stops at zero.
    total = frame.select(pl.col("value").cum_sum().over("pair").alias("sum"), "pair")
    held = total.with_columns(
        held=pl.col("sum") - pl.min_horizontal(pl.lit(0.0), pl.col("sum").cum_min().over("pair"))
    ).with_columns(
        before=pl.col("held").shift(1, fill_value=0.0).over("pair"),
        # The last units bought are the first to go: those below the smallest later holding stay.
        least=pl.col("held").cum_min(reverse=True).over("pair"),
    )
    left = (held["least"] - held["before"]).clip(0.0).to_numpy()
    bought = values[rows]
    returned = bought < 0
    gone = (bought > 0) & (left <= _ROUNDING * np.abs(bought))
    alone = returned & ((held["before"] - held["held"]).to_numpy() <= _ROUNDING * np.abs(bought))
    reduced = (bought > 0) & ~gone & (left < bought * (1 - _ROUNDING))
    records = records.copy()
    records["value"][rows[reduced]] = left[reduced]
    stays = np.ones(len(records), dtype=np.bool_)
    stays[rows[gone | returned]] = False
    return records[stays], Returns(int(is_return.sum()), int(gone.sum()), int(alone.sum()))
