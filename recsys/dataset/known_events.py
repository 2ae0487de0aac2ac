"""The interactions that may be known at an instant, in memory or in a file."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from recsys.dataset.histories import Histories, build_histories, refuse_late, stream_histories
from recsys.dataset.user_blocks import is_before, read_user_blocks


@dataclass(frozen=True)
class KnownEvents:
    """`Interactions` of which only those before an instant may be known.

    Windows share the same rows, each with its own instant, so no window holds a copy. Rows in a file are never in
    memory all at once: they are read by blocks of users.

    Attributes:
        rows: `Interactions`; a `LazyFrame` is sorted by user, as `ingest` writes it.
        before: the first instant that may not be known; None: all rows may be known.
    """

    rows: pl.DataFrame | pl.LazyFrame
    before: datetime | None = None

    def read(self) -> pl.DataFrame:
        """Return all known rows in memory, in their order."""
        return self._known.collect()

    def count(self) -> int:
        """Return the number of known rows."""
        return int(self._known.select(pl.len()).collect(engine="streaming").item())

    def count_without_time(self) -> int:
        """Return the number of known rows without a time."""
        return int(self._known.select(pl.col("time").null_count()).collect(engine="streaming").item())

    def read_times(self) -> pl.Series:
        """Return the times of all known rows."""
        return self._known.select("time").collect()["time"]

    def cut(self, before: datetime) -> KnownEvents:
        """Return the same rows with an earlier instant."""
        return KnownEvents(self.rows, before if self.before is None else min(before, self.before))

    def read_blocks(self, columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the known rows in blocks, each with all rows of its users; rows in memory are one block."""
        if isinstance(self.rows, pl.DataFrame):
            yield self.rows.lazy().filter(is_before(self.before)).select(columns).collect()
            return
        for block in read_user_blocks(self.rows.select(columns)):
            yield block.filter(is_before(self.before))

    def gather(self, items: pl.DataFrame, cutoff: datetime | None) -> Histories:
        """Return the histories of all users as of an instant.

        Args:
            items: `Items`; interactions with other items are left out.
            cutoff: every known row must be earlier; None for data without a common clock.

        Raises:
            DataError: a known row is not before the cutoff. Nothing may learn from it, so the run stops.
        """
        if isinstance(self.rows, pl.DataFrame):
            return build_histories(self.read(), items, cutoff)
        if cutoff is not None and (self.before is None or self.before > cutoff):
            late = self._known.filter(pl.col("time") >= cutoff).select(pl.len()).collect(engine="streaming").item()
            refuse_late(late, cutoff)
        return stream_histories(self.rows, items, cutoff)

    @property
    def _known(self) -> pl.LazyFrame:
        return self.rows.lazy().filter(is_before(self.before))
