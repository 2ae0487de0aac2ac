"""Vectors of the items from elsewhere: further columns of `Items`, one for each name."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

# The column of the vectors NAME is vector:NAME; no attribute has a colon in its name.
PREFIX = "vector:"


@dataclass(frozen=True)
class Vectors:
    """A unit vector per item.

    Attributes:
        rows: (n_items, size) float32, zeros for an item without a vector.
        known: (n_items) bool, the item has a vector.
    """

    rows: NDArray[np.float32]
    known: NDArray[np.bool_]

    @classmethod
    def normalise(cls, rows: NDArray[np.float32]) -> Vectors:
        """Return the rows scaled to unit length; an item with a row of NaN or zeros has no vector."""
        filled = np.nan_to_num(rows)
        lengths = np.sqrt(np.vecdot(filled, filled))
        return cls((filled / np.where(lengths > 0, lengths, 1)[:, None]).astype(np.float32), lengths > 0)


def name_vectors(items: pl.DataFrame) -> dict[str, int]:
    """Return the names of the vectors that a catalogue has, each with the length of its vectors.

    Args:
        items: `Items`.
    """
    columns = [column for column in items.columns if column.startswith(PREFIX)]
    lengths = items.select(pl.col(columns).list.len().max().fill_null(0)) if columns else pl.DataFrame()
    return {column.removeprefix(PREFIX): int(lengths[column].item()) for column in columns}


def read_vectors(items: pl.DataFrame) -> dict[str, Vectors]:
    """Return the vectors of a catalogue by name.

    Args:
        items: `Items`.
    """
    return {name: _read(items[PREFIX + name], size) for name, size in name_vectors(items).items()}


def drop_vectors(items: pl.DataFrame, kept: Collection[str] = ()) -> pl.DataFrame:
    """Return a catalogue without vectors, except for the names to keep."""
    return items.drop(PREFIX + name for name in name_vectors(items) if name not in kept)


def make_column(name: str, vectors: Vectors) -> pl.Series:
    """Return the column of `Items` that holds vectors; null for an item without one."""
    rows = pl.Series(vectors.rows[vectors.known], dtype=pl.Array(pl.Float32, vectors.rows.shape[1]))
    # Lists, for pyarrow cannot read fixed-size ones if some are null.
    places = pl.Series(np.where(vectors.known, np.cumsum(vectors.known) - 1, -1)).replace(-1, None)
    return rows.arr.to_list().gather(places).alias(PREFIX + name)


def _read(column: pl.Series, size: int) -> Vectors:
    known = column.is_not_null().to_numpy()
    rows = np.zeros((len(column), size), dtype=np.float32)
    rows[known] = column.drop_nulls().explode().to_numpy().reshape(-1, size)
    return Vectors(rows, known)
