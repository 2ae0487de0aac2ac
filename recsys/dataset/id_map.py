"""From the catalogue a model was trained on to the catalogue of tonight."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array


def map_ids(trained_ids: pl.Series, item_ids: pl.Series) -> NDArray[np.int64]:
    """Return, for each of `item_ids`, its place in `trained_ids`, -1 where it is not there; both are sorted."""
    if not len(trained_ids):
        return np.full(len(item_ids), -1, dtype=np.int64)
    place = trained_ids.search_sorted(item_ids).to_numpy().astype(np.int64)
    found = trained_ids.gather(np.minimum(place, len(trained_ids) - 1)) == item_ids
    return np.where(found.to_numpy(), place, -1)


def align_rows(rows: NDArray[np.float32], trained_ids: pl.Series, item_ids: pl.Series) -> NDArray[np.float32]:
    """Return one row per item of the new catalogue, NaN where the item is unknown."""
    places = map_ids(trained_ids, item_ids)
    aligned = np.full((len(item_ids), rows.shape[1]), np.nan, dtype=np.float32)
    aligned[places >= 0] = rows[places[places >= 0]]
    return aligned


def align_square(matrix: csr_array, trained_ids: pl.Series, item_ids: pl.Series) -> csr_array:
    """Return an item-by-item matrix over the new catalogue; items that left or are unknown have no entries."""
    new_place = map_ids(item_ids, trained_ids)
    entries = matrix.tocoo()
    row, column = new_place[entries.coords[0]], new_place[entries.coords[1]]
    kept = (row >= 0) & (column >= 0)
    size = len(item_ids)
    return csr_array((entries.data[kept], (row[kept], column[kept])), shape=(size, size))
