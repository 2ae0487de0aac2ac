"""External ids <-> indexes: the only place that numbers ids."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array


@dataclass(frozen=True)
class IdMap:
    """Sorted, distinct ids; the index of an id is its row in that order, from 0.

    Equal sets of ids give equal indexes. An index means nothing without the map it belongs to: the users of one label
    window, of the nightly batch and of everything known are three maps, and user 7 of one is not user 7 of another.

    Attributes:
        ids: (n) strings, sorted, distinct.
    """

    ids: pl.Series

    @classmethod
    def of(cls, ids: pl.Series) -> IdMap:
        """Return the map of some ids, in any order, repeated or not."""
        return cls(ids.unique().sort())

    def __len__(self) -> int:
        return len(self.ids)

    def index_of(self, ids: pl.Series) -> NDArray[np.int64]:
        """Return (n_ids) int64: the index of each id, -1 where it is unknown or null."""
        if not len(self):
            return np.full(len(ids), -1, dtype=np.int64)
        indexes = self.ids.search_sorted(ids).to_numpy().astype(np.int64)
        known = self.ids.gather(np.minimum(indexes, len(self) - 1)) == ids
        return np.where(known.fill_null(False).to_numpy(), indexes, -1)

    def ids_of(self, indexes: NDArray[np.integer] | pl.Series) -> pl.Series:
        """Return the id at each index, all of which must be 0 or above."""
        return self.ids.gather(indexes)

    def add_index(self, rows: pl.LazyFrame, id_column: str, index_column: str) -> pl.LazyFrame:
        """Return the rows whose id is known, in no particular order, with its index as UInt32."""
        numbered = pl.LazyFrame({id_column: self.ids}).with_row_index(index_column)
        return rows.join(numbered, on=id_column, how="inner")

    def align_rows(self, rows: NDArray[np.float32], ids: pl.Series) -> NDArray[np.float32]:
        """Move rows that belong to this map's ids to other ids.

        Args:
            rows: (n, size) float32, one row per id of this map.
            ids: (n_ids) the ids to move to, such as tonight's catalogue.

        Returns:
            (n_ids, size) float32; NaN where the id is unknown.
        """
        indexes = self.index_of(ids)
        aligned = np.full((len(ids), rows.shape[1]), np.nan, dtype=np.float32)
        aligned[indexes >= 0] = rows[indexes[indexes >= 0]]
        return aligned

    def align_square(self, matrix: csr_array, ids: pl.Series) -> csr_array:
        """Move a matrix between this map's ids to other ids.

        Args:
            matrix: (n, n) sparse.
            ids: (n_ids) sorted, the ids to move to.

        Returns:
            (n_ids, n_ids) sparse; ids that are gone or unknown have no entries.
        """
        new_index = IdMap(ids).index_of(self.ids)
        entries = matrix.tocoo()
        row, column = new_index[entries.coords[0]], new_index[entries.coords[1]]
        kept = (row >= 0) & (column >= 0)
        return csr_array((entries.data[kept], (row[kept], column[kept])), shape=(len(ids), len(ids)))


def number_pairs(pairs: pl.DataFrame, users: IdMap, items: IdMap) -> pl.DataFrame:
    """Return the pairs with known ids as `user_index`, `item_index` (UInt32), sorted by both.

    Args:
        pairs: `user_id`, `item_id` and any other columns, which stay to the right.
        users: the map that `user_index` counts in.
        items: the map that `item_index` counts in.
    """
    numbered = users.add_index(pairs.lazy(), "user_id", "user_index")
    numbered = items.add_index(numbered, "item_id", "item_index")
    others = [column for column in pairs.columns if column not in ("user_id", "item_id")]
    return numbered.select("user_index", "item_index", *others).sort("user_index", "item_index").collect()
