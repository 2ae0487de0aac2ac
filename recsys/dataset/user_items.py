"""Some items of each user, numbered as in histories: block lists, and items shown before."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.dataset.cleaning.ids import clean_ids
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap
from recsys.dataset.near_ids import find_near_ids
from recsys.errors import DataError
from recsys.progress import format_count

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class UserItems:
    """Some items of each user, each with a value.

    Attributes:
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32 item indexes.
        values: (n_entries) float32.
    """

    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    values: NDArray[np.float32]

    @classmethod
    def number(cls, pairs: pl.DataFrame, histories: Histories) -> UserItems:
        """Number `user_id`, `item_id`, `value` by the users and items of histories; pairs of others are left out."""
        numbered = histories.number_pairs(pairs.select("user_id", "item_id", "value"))
        users = numbered["user_index"].to_numpy()
        starts = np.searchsorted(users, np.arange(histories.n_users + 1)).astype(np.int64)
        return cls(
            starts, numbered["item_index"].cast(pl.Int32).to_numpy(), numbered["value"].cast(pl.Float32).to_numpy()
        )

    def select(self, first: int, count: int) -> UserItems:
        """Return the items of `count` users from user `first` on, numbered from 0."""
        starts = self.starts[first : first + count + 1]
        entries = slice(starts[0], starts[-1])
        return UserItems(starts - starts[0], self.items[entries], self.values[entries])


def read_ids(path: Path, columns: list[str], what: str) -> pl.DataFrame:
    """Read a CSV file of ids, spelt as `ingest` spells them; rows that lack an id and repeated rows are left out.

    Args:
        path: a file with a header.
        columns: the columns to read; others are ignored.
        what: name of the list, for messages.

    Raises:
        DataError: the file does not exist, is not CSV in UTF-8, or lacks a column.
    """
    next_step = f"give a CSV file with a header and the columns {', '.join(columns)}, or remove the setting"
    try:
        # As bytes: polars takes a path with * or [ in it for a pattern.
        rows = pl.read_csv(path.read_bytes(), infer_schema=False)
    except FileNotFoundError as error:
        raise DataError(f"{what} {path}: no such file; {next_step}") from error
    except (OSError, pl.exceptions.PolarsError) as error:
        reason = str(error).partition("\n")[0]
        raise DataError(f"{what} {path}: not readable as CSV in UTF-8 ({reason}); {next_step}") from error
    missing = [column for column in columns if column not in rows.columns]
    if missing:
        raise DataError(f"{what} {path}: no column {', '.join(missing)}; found {', '.join(rows.columns)}; {next_step}")
    cleaned = rows.select(clean_ids(rows[column]) for column in columns)
    return cleaned.drop_nulls().unique(maintain_order=True)


def warn_of_unknown_ids(
    ids: pl.Series,
    known: IdMap,
    what: str,
    *,
    noun: str = "item id",
    fault: str = "not in the catalogue",
    effect: str = "without effect",
) -> int:
    """Log a warning if ids of a list are unknown, with their number and an example, and return that number.

    An id that is nearly known, such as one with leading zeros, is the example, and the warning says how it differs.

    Args:
        ids: clean ids, repeated or not.
        known: the ids that mean something, such as the catalogue's.
        what: name of the list, for the message.
        noun: what the ids are.
        fault: what is wrong with unknown ones.
        effect: what becomes of them.
    """
    distinct = ids.unique(maintain_order=True)
    unknown = distinct.filter(pl.Series(known.index_of(distinct) < 0))
    if len(unknown):
        near = next(iter(find_near_ids(unknown, known.ids)), None)
        example = f"'{near.id}', but '{near.near}' is known: {near.difference}" if near else f"'{unknown[0]}'"
        logger.warning(
            "%s: %s of %s %s (such as %s) and %s",
            what,
            f"{len(unknown):,}",
            format_count(len(distinct), noun),
            fault,
            example,
            effect,
        )
    return len(unknown)
