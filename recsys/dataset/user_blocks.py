"""Interactions in a file, read by blocks of users."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime

import polars as pl

# Interactions read at a time.
_BLOCK_ROWS = 2_000_000


def is_before(end: datetime | None) -> pl.Expr:
    """Return whether an interaction is before an instant; rows without a time always are."""
    return pl.lit(True) if end is None else pl.col("time").is_null() | (pl.col("time") < end)


def read_user_blocks(interactions: pl.LazyFrame) -> Iterator[pl.DataFrame]:
    """Yield consecutive rows, all rows of a user in the same block; at least one block, which may have no rows.

    Args:
        interactions: `user_id` and any other columns, sorted by user, not filtered: a filter would be evaluated again
            for each block.
    """
    total = interactions.select(pl.len()).collect(engine="streaming").item()
    unfinished = interactions.head(0).collect()
    for start in range(0, max(1, total), _BLOCK_ROWS):
        rows = pl.concat([unfinished, interactions.slice(start, _BLOCK_ROWS).collect()])
        # The last user's rows may continue in the next block, so that user waits for it.
        complete = pl.lit(start + _BLOCK_ROWS >= total) | (pl.col("user_id") != pl.col("user_id").last())
        unfinished = rows.filter(~complete)
        yield rows.filter(complete)
