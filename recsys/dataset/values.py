"""The values of an item column, such as the genres or authors of an item: the only definition."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.item_vectors import PREFIX
from recsys.tables import Items


def list_values(column: pl.Series) -> pl.Series:
    """Return the distinct values of each item as a list of strings, in their order; [] where there is none.

    A list is its members. A text is as many values as `ingest` joined with commas: `Ann, Bo` is Ann and Bo.

    Args:
        column: (n_items) of `Items`: tags or an attribute; null and empty text are not values.
    """
    if not isinstance(column.dtype, pl.List):
        column = column.cast(pl.String).str.split(", ")
    values = column.cast(pl.List(pl.String)).list.eval(pl.element().filter(pl.element() != ""))
    return values.list.unique(maintain_order=True).fill_null(pl.Series([[]], dtype=pl.List(pl.String)))


def mark_values(column: pl.Series) -> tuple[csr_array, pl.Series]:
    """Return which item has which value.

    Args:
        column: (n_items), as in `list_values`.

    Returns:
        (n_items, n_values) float32 sparse, 1 where the item has the value, and the (n_values) names of the columns,
        sorted.
    """
    rows = pl.DataFrame({"value": list_values(column)}).with_row_index("item")
    rows = rows.explode("value", keep_nulls=False, empty_as_null=False)
    names = rows["value"].unique().sort()
    columns = rows["value"].rank("dense").cast(pl.Int64).to_numpy() - 1
    ones = np.ones(rows.height, dtype=np.float32)
    marks = csr_array((ones, (rows["item"].to_numpy(), columns)), shape=(len(column), len(names)))
    return marks.sorted_indices(), names


def list_named_columns(items: pl.DataFrame) -> list[str]:
    """Return the columns of `Items` whose values are names: tags, and every attribute that is no quantity.

    An attribute is a quantity if at least half of the items have a number in it, such as a price; a year, known by the
    column's name, is a name: items of one year belong together.
    """
    own = Items.column_names()
    attributes = [name for name in items.columns if name not in own and not name.startswith(PREFIX)]
    return ["tags", *(name for name in sorted(attributes) if not _is_quantity(items[name]))]


def read_numbers(column: pl.Series) -> NDArray[np.float64]:
    """Return (n_items) float64: the number that each text of an attribute is; NaN where it is none."""
    numbers = column.cast(pl.Float64, strict=False).fill_null(float("nan")).to_numpy()
    return np.where(np.isfinite(numbers), numbers, np.nan)


def _is_quantity(column: pl.Series) -> bool:
    return "year" not in column.name.lower() and bool(np.isnan(read_numbers(column)).mean() < 0.5)
