"""Some items of each user, numbered like histories: what is blocked, or was shown."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.histories import Histories
from recsys.errors import DataError


@dataclass(frozen=True)
class UserItems:
    """Some items of each user, with a number each.

    Attributes:
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32.
        values: (n_entries) float32.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def number(cls, pairs: pl.DataFrame, histories: Histories) -> UserItems:
        """Number `user_id`, `item_id`, `value` by the users and items of histories; others are left out."""
        users = pl.DataFrame({"user_id": histories.user_ids}).with_row_index("user")
        items = pl.DataFrame({"item_id": histories.item_ids}).with_row_index("item")
        found = pairs.join(users, on="user_id").join(items, on="item_id").sort("user", "item")
        starts = np.searchsorted(found["user"].to_numpy(), np.arange(histories.n_users + 1)).astype(np.int64)
        return cls(starts, found["item"].cast(pl.Int32).to_numpy(), found["value"].cast(pl.Float32).to_numpy())

    def select(self, first: int, count: int) -> UserItems:
        """Return the items of a run of users, numbered from 0."""
        starts = self.starts[first : first + count + 1]
        entries = slice(starts[0], starts[-1])
        return UserItems(starts - starts[0], self.items[entries], self.values[entries])


def read_ids(path: Path, columns: list[str], what: str) -> pl.DataFrame:
    """Read a CSV file of ids; rows without one are left out, and so are repeated ones.

    Args:
        path: with a header.
        columns: that are read, as strings; others are left alone.
        what: the file is, for messages.

    Raises:
        DataError: there is no such file, it is no CSV in UTF-8, or lacks a column.
    """
    next_step = f"give a CSV file with a header and the columns {', '.join(columns)}, or leave the setting out"
    try:
        found = pl.read_csv(path, infer_schema=False)
    except FileNotFoundError as error:
        raise DataError(f"{what} {path}: no such file; {next_step}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        told = str(error).partition("\n")[0]
        raise DataError(f"{what} {path}: not readable as CSV in UTF-8 ({told}); {next_step}") from error
    lacking = [column for column in columns if column not in found.columns]
    if lacking:
        raise DataError(f"{what} {path}: no column {', '.join(lacking)}; found {', '.join(found.columns)}; {next_step}")
    return found.select(columns).drop_nulls().unique(maintain_order=True)
