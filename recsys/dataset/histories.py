"""What each user did before one cut-off instant, as flat arrays: the one form every model reads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.errors import DataError

SECONDS_PER_DAY = 86_400.0
# Interactions that are gathered at a time.
_ROWS = 2_000_000


@dataclass(frozen=True)
class Histories:
    """Users' distinct items, oldest first, as of `cutoff`.

    A user's entry for an item stands where the user last touched it. Users and items are numbered by their place
    in `user_ids` and `item_ids`, both sorted, so equal inputs give equal numbers.

    Attributes:
        user_ids: (n_users) strings, sorted.
        item_ids: (n_items) strings, sorted: the whole catalogue, also items nobody touched.
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32 item numbers.
        weights: (n_entries) float32, sum of the event weights of the user on the item.
        counts: (n_entries) float32, how many events that were.
        consumed: (n_entries) bool, the user has the item now; False where the events only looked at it.
        ages: (n_entries) float32, days from the last of them to the cut-off; NaN without times.
        first_ages: (n_entries) float32, days from the first of them to the cut-off; NaN without times.
        cutoff: the instant all of this is as of; None for windows without a common clock.
        reference: the instant ages are counted to: the cut-off, else the last event; None without times.
        ordered: False when the data has no order: entries then stand in a fixed arbitrary order.
    """

    user_ids: pl.Series
    item_ids: pl.Series
    starts: NDArray[np.int64]
    items: NDArray[np.int32]
    weights: NDArray[np.float32]
    counts: NDArray[np.float32]
    consumed: NDArray[np.bool_]
    ages: NDArray[np.float32]
    first_ages: NDArray[np.float32]
    cutoff: datetime | None
    reference: datetime | None
    ordered: bool

    @property
    def n_users(self) -> int:
        """Number of users."""
        return len(self.user_ids)

    @property
    def n_items(self) -> int:
        """Number of items in the catalogue."""
        return len(self.item_ids)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Distinct items per user, (n_users) int64."""
        return np.diff(self.starts)

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """User number of each entry, (n_entries) int32."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.lengths)

    @cached_property
    def steps_back(self) -> NDArray[np.int64]:
        """Entries between each entry and its user's newest, (n_entries) int64, 0 for the newest."""
        return np.repeat(self.starts[1:], self.lengths) - 1 - np.arange(len(self.items))

    def select(self, users: slice) -> Histories:
        """Return a run of users as histories of their own (numbers start at 0 again)."""
        start, stop, _ = users.indices(self.n_users)
        first, last = self.starts[start], self.starts[stop]
        return replace(
            self,
            user_ids=self.user_ids[start:stop],
            starts=self.starts[start : stop + 1] - first,
            items=self.items[first:last],
            weights=self.weights[first:last],
            counts=self.counts[first:last],
            consumed=self.consumed[first:last],
            ages=self.ages[first:last],
            first_ages=self.first_ages[first:last],
        )

    def split(self, size: int) -> Iterator[tuple[int, Histories]]:
        """Yield shards of at most `size` users, each with the number of its first user."""
        for start in range(0, self.n_users, size):
            yield start, self.select(slice(start, start + size))

    def take(self, user_ids: pl.Series) -> Histories:
        """Return the histories of the given users, sorted; an unknown user gets an empty one."""
        wanted = user_ids.unique().sort()
        place = self.user_ids.search_sorted(wanted).to_numpy().astype(np.int64)
        known = (
            (self.user_ids.gather(np.minimum(place, self.n_users - 1)) == wanted).to_numpy()
            if self.n_users
            else np.zeros(len(wanted), dtype=bool)
        )
        return self._pick(wanted, np.where(known, place, -1))

    def pick(self, users: NDArray[np.int64]) -> Histories:
        """Return some users as histories of their own, by number, rising."""
        return self._pick(self.user_ids.gather(users), users)

    def _pick(self, user_ids: pl.Series, users: NDArray[np.int64]) -> Histories:
        starts, entries = pick_runs(self.starts, users)
        return replace(
            self,
            user_ids=user_ids,
            starts=starts,
            items=self.items[entries],
            weights=self.weights[entries],
            counts=self.counts[entries],
            consumed=self.consumed[entries],
            ages=self.ages[entries],
            first_ages=self.first_ages[entries],
        )

    def matrix(self, values: NDArray[np.float32] | None = None) -> csr_array:
        """Return (n_users, n_items) float32 with `values` per entry (default: the weights), columns sorted."""
        data = self.weights if values is None else values
        matrix = csr_array((data, self.items, self.starts), shape=(self.n_users, self.n_items))
        return matrix.sorted_indices() if not matrix.has_sorted_indices else matrix

    def decayed_matrix(self, decay: float) -> csr_array:
        """Return (n_users, n_items) float32 with the weights of `weigh_steps`."""
        return self.matrix(self.weigh_steps(decay))

    def weigh_steps(self, decay: float) -> NDArray[np.float32]:
        """Return (n_entries) float32: 1 for a user's newest item, each step back `decay` times less.

        Without an order every item weighs 1.
        """
        if not self.ordered or decay == 1.0:
            return np.ones(len(self.items), dtype=np.float32)
        return (decay**self.steps_back).astype(np.float32)

    def recent_items(self, length: int) -> NDArray[np.int32]:
        """Return (n_users, length) int32 item numbers, newest first, -1 where the history is shorter."""
        places = self.starts[1:, None] - 1 - np.arange(length)[None, :]
        found = places >= self.starts[:-1, None]
        if not len(self.items):
            return np.full(places.shape, -1, dtype=np.int32)
        return np.where(found, self.items[np.where(found, places, 0)], -1).astype(np.int32)


def pick_runs(starts: NDArray[np.int64], runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the starts of some runs put one after the other, and the entries they hold; run -1 is empty."""
    if not len(starts) - 1:
        return np.zeros(len(runs) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lengths = np.where(runs >= 0, np.diff(starts)[runs], 0)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return ends, np.repeat(np.where(runs >= 0, starts[runs], 0) - ends[:-1], lengths) + np.arange(ends[-1])


def build_histories(interactions: pl.DataFrame, items: pl.DataFrame, cutoff: datetime | None) -> Histories:
    """Gather interactions into histories as of an instant.

    Args:
        interactions: `Interactions`, already cut to what may be known.
        items: `Items`; interactions on other items are left out.
        cutoff: every interaction must be earlier; None for data without a common clock.

    Raises:
        DataError: an interaction is not before the cut-off. Nothing may learn from it, so this stops the run.
    """
    timed = interactions["time"].null_count() < interactions.height
    if cutoff is not None and timed:
        late = interactions.filter(pl.col("time") >= cutoff).height
        if late:
            raise DataError(
                f"histories as of {cutoff.isoformat()}: {late:,} interactions are not before it; "
                "cut the interactions first"
            )
    ordered = bool((interactions["step"] > 0).any()) or interactions.height == 0
    last = interactions["time"].max()
    reference = cutoff or (last if isinstance(last, datetime) else None)
    return _build(interactions, items["item_id"], cutoff, reference, ordered)


def stream_histories(interactions: pl.LazyFrame, items: pl.DataFrame, cutoff: datetime | None) -> Histories:
    """Return what `build_histories` does, of rows that need not fit in memory.

    Args:
        interactions: `Interactions`, sorted by user as `ingest` writes them; those not before the cut-off are left out.
        items: `Items`; interactions on other items are left out.
        cutoff: the instant all is as of; None for data without a common clock.
    """
    known = pl.lit(True) if cutoff is None else pl.col("time").is_null() | (pl.col("time") < cutoff)
    facts = interactions.select(
        total=pl.len(),
        ordered=(pl.col("step").filter(known) > 0).any() | ~known.any(),
        last=pl.col("time").filter(known).max(),
    ).collect(engine="streaming")
    total, ordered, last = facts.row(0)
    parts: list[Histories] = []
    left = interactions.head(0).collect()
    for start in range(0, max(1, total), _ROWS):
        rows = pl.concat([left, interactions.slice(start, _ROWS).collect()])
        # A user whose rows go on in the next run waits for it.
        whole = pl.lit(start + _ROWS >= total) | (pl.col("user_id") != pl.col("user_id").last())
        left = rows.filter(~whole)
        parts.append(_build(rows.filter(whole & known), items["item_id"], cutoff, cutoff or last, ordered))
    return _join(parts)


def _join(parts: list[Histories]) -> Histories:
    """Return one after the other the histories of users that follow each other."""
    joined: dict[str, Any] = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("items", "weights", "counts", "consumed", "ages", "first_ages")
    }
    lengths = np.concatenate([part.lengths for part in parts])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return replace(parts[0], user_ids=pl.concat([part.user_ids for part in parts]), starts=starts, **joined)


def _build(
    interactions: pl.DataFrame, item_ids: pl.Series, cutoff: datetime | None, reference: datetime | None, ordered: bool
) -> Histories:
    user_ids = interactions["user_id"].unique().sort()
    pairs = _gather_pairs(interactions, item_ids, user_ids, ordered)
    lengths = np.bincount(pairs["user"].to_numpy(), minlength=len(user_ids))
    return Histories(
        user_ids=user_ids,
        item_ids=item_ids,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=pairs["item"].cast(pl.Int32).to_numpy(),
        weights=pairs["weight"].to_numpy(),
        counts=pairs["count"].cast(pl.Float32).to_numpy(),
        consumed=pairs["consumed"].to_numpy(),
        ages=_ages(pairs["last"], reference),
        first_ages=_ages(pairs["first"], reference),
        cutoff=cutoff,
        reference=reference,
        ordered=ordered,
    )


def _gather_pairs(interactions: pl.DataFrame, item_ids: pl.Series, user_ids: pl.Series, ordered: bool) -> pl.DataFrame:
    numbers = pl.LazyFrame({"item_id": item_ids}).with_row_index("item")
    users = pl.LazyFrame({"user_id": user_ids}).with_row_index("user")
    # Without an order a multiplicative hash spreads the items, so that "later" never means "larger id".
    arbitrary = (pl.col("item").cast(pl.UInt64) * 2_654_435_761) % 4_294_967_296
    return (
        interactions.lazy()
        .join(numbers, on="item_id", how="inner")
        .join(users, on="user_id", how="inner")
        .group_by("user", "item")
        .agg(
            pl.col("step").max().alias("place"),
            # polars adds in any order; in Float64 the sum is exact, so the order cannot show.
            pl.col("weight").cast(pl.Float64).sum().cast(pl.Float32),
            pl.len().alias("count"),
            pl.col("consumed").any(),
            pl.col("time").max().alias("last"),
            pl.col("time").min().alias("first"),
        )
        .sort("user", "place" if ordered else arbitrary, "item")
        .collect()
    )


def _ages(times: pl.Series, reference: datetime | None) -> NDArray[np.float32]:
    if reference is None or times.null_count() == len(times):
        return np.full(len(times), np.nan, dtype=np.float32)
    seconds = (pl.lit(reference) - pl.col("time")).dt.total_microseconds() / 1e6
    days = pl.DataFrame({"time": times}).select((seconds / SECONDS_PER_DAY).cast(pl.Float32).alias("days"))["days"]
    return days.fill_null(float("nan")).to_numpy()


def find_known(items: pl.DataFrame, cutoff: datetime | None) -> pl.Series:
    """Return (n_items) Boolean: the item was already in the catalogue at the cut-off; without one, always."""
    if cutoff is None:
        return pl.repeat(True, items.height, eager=True)
    return items.select(known=pl.col("created_at").is_null() | (pl.col("created_at") < cutoff))["known"]


def find_recommendable(items: pl.DataFrame, cutoff: datetime | None) -> NDArray[np.bool_]:
    """Return (n_items) bool: the item is available and, at the cut-off, was already in the catalogue."""
    return (items["available"] & find_known(items, cutoff)).to_numpy()
