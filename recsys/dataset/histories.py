"""What each user did before one cutoff, as flat arrays: the form that every model reads."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.dataset.id_map import IdMap, number_pairs
from recsys.dataset.user_blocks import is_before, read_user_blocks
from recsys.errors import DataError
from recsys.progress import format_count

SECONDS_PER_DAY = 86_400.0


@dataclass(frozen=True)
class Histories:
    """Users' distinct items, oldest first, as of `cutoff`.

    The entry of a (user, item) pair is placed where the user last interacted with the item. Users and items are
    numbered by their index in `user_ids` and `item_ids`, both sorted, so equal inputs give equal numbers.

    Attributes:
        user_ids: (n_users) strings, sorted.
        item_ids: (n_items) strings, sorted: the whole catalogue, including items without interactions.
        starts: (n_users + 1) int64; user u's entries are `starts[u]:starts[u + 1]`.
        items: (n_entries) int32 item indexes.
        weights: (n_entries) float32, sum of the event weights of the user on the item.
        counts: (n_entries) float32, number of those events.
        consumed: (n_entries) bool, the user has the item now; False if all events were of other kinds, such as views.
        ages: (n_entries) float32, days from the last of those events to `ages_until`; NaN without times.
        first_ages: (n_entries) float32, days from the first of them to `ages_until`; NaN without times.
        strongest: (n_entries) int16, the strongest kind of those events, index among the kinds that the histories were
            built with; 0 without kinds.
        cutoff: every event is earlier than this instant; None for windows without a common clock.
        ages_until: the instant to which ages are counted: the cutoff or, without a cutoff, the time of the last
            event; None without times.
        ordered: False when the data has no order: entries are then in a fixed arbitrary order.
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
    strongest: NDArray[np.int16]
    cutoff: datetime | None
    ages_until: datetime | None
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
    def user_map(self) -> IdMap:
        """The numbering of these users."""
        return IdMap(self.user_ids)

    @cached_property
    def item_map(self) -> IdMap:
        """The numbering of the catalogue."""
        return IdMap(self.item_ids)

    @cached_property
    def lengths(self) -> NDArray[np.int64]:
        """Distinct items per user, (n_users) int64."""
        return np.diff(self.starts)

    @cached_property
    def users(self) -> NDArray[np.int32]:
        """User index of each entry, (n_entries) int32."""
        return np.repeat(np.arange(self.n_users, dtype=np.int32), self.lengths)

    @cached_property
    def steps_back(self) -> NDArray[np.int64]:
        """Entries between each entry and its user's newest, (n_entries) int64, 0 for the newest."""
        return np.repeat(self.starts[1:], self.lengths) - 1 - np.arange(len(self.items))

    def select(self, users: slice) -> Histories:
        """Return consecutive users as histories of their own, numbered from 0."""
        start, stop, _ = users.indices(self.n_users)
        first, last = self.starts[start], self.starts[stop]
        return self._restrict(self.user_ids[start:stop], self.starts[start : stop + 1] - first, slice(first, last))

    def split(self, size: int) -> Iterator[tuple[int, Histories]]:
        """Yield blocks of at most `size` users, each with the index of its first user."""
        for start in range(0, self.n_users, size):
            yield start, self.select(slice(start, start + size))

    def take(self, user_ids: pl.Series) -> Histories:
        """Return the histories of the given users, sorted; an unknown user gets an empty one."""
        wanted = user_ids.unique().sort()
        return self._pick(wanted, self.user_map.index_of(wanted))

    def pick(self, users: NDArray[np.int64]) -> Histories:
        """Return the users with the given ascending indexes as histories of their own, numbered from 0."""
        return self._pick(self.user_map.ids_of(users), users)

    def keep_entries(self, entries: NDArray[np.int64]) -> Histories:
        """Return the histories of the same users with only these entries, in this order.

        Args:
            entries: (n_kept) indexes, those of a user together and users ascending.
        """
        starts = np.zeros(self.n_users + 1, dtype=np.int64)
        np.cumsum(np.bincount(self.users[entries], minlength=self.n_users), out=starts[1:])
        return self._restrict(self.user_ids, starts, entries)

    def _pick(self, user_ids: pl.Series, users: NDArray[np.int64]) -> Histories:
        return self._restrict(user_ids, *pick_runs(self.starts, users))

    def _restrict(
        self, user_ids: pl.Series, starts: NDArray[np.int64], entries: slice | NDArray[np.int64]
    ) -> Histories:
        arrays: dict[str, Any] = {name: getattr(self, name)[entries] for name in _ENTRY_ARRAYS}
        return replace(self, user_ids=user_ids, starts=starts, **arrays)

    def number_pairs(self, pairs: pl.DataFrame) -> pl.DataFrame:
        """Return the pairs of these users and this catalogue as `user_index`, `item_index`, sorted; drop the others.

        Args:
            pairs: `user_id`, `item_id` and any other columns, which stay to the right.
        """
        return number_pairs(pairs, self.user_map, self.item_map)

    def matrix(self, values: NDArray[np.float32] | None = None) -> csr_array:
        """Return (n_users, n_items) float32 with `values` per entry (default: the weights), columns sorted."""
        data = self.weights if values is None else values
        matrix = csr_array((data, self.items, self.starts), shape=(self.n_users, self.n_items))
        return matrix.sorted_indices() if not matrix.has_sorted_indices else matrix

    def weigh_steps(self, decay: float) -> NDArray[np.float32]:
        """Return (n_entries) float32: 1 for a user's newest item, multiplied by `decay` at each step back.

        Without an order every item weighs 1.
        """
        if not self.ordered or decay == 1.0:
            return np.ones(len(self.items), dtype=np.float32)
        return (decay**self.steps_back).astype(np.float32)

    def recent_items(self, length: int) -> NDArray[np.int32]:
        """Return (n_users, length) int32 item indexes, newest first, -1 where the history is shorter."""
        entries = self.starts[1:, None] - 1 - np.arange(length)[None, :]
        inside = entries >= self.starts[:-1, None]
        if not len(self.items):
            return np.full(entries.shape, -1, dtype=np.int32)
        return np.where(inside, self.items[np.where(inside, entries, 0)], -1).astype(np.int32)


# What histories are made of.
_COLUMNS = ("user_id", "item_id", "step", "time", "event", "weight", "consumed")
# The arrays of `Histories` with a value per entry.
_ENTRY_ARRAYS = ("items", "weights", "counts", "consumed", "ages", "first_ages", "strongest")


def pick_runs(starts: NDArray[np.int64], runs: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Select some runs of entries, such as the histories of some users.

    Args:
        starts: (n_runs + 1); run r holds the entries `starts[r]:starts[r + 1]`.
        runs: (n_selected) indexes of the wanted runs; -1 stands for an empty run.

    Returns:
        The starts of the selected runs when they follow one another, (n_selected + 1) int64, and the indexes of their
        entries, int64.
    """
    if len(starts) == 1:
        return np.zeros(len(runs) + 1, dtype=np.int64), np.zeros(0, dtype=np.int64)
    lengths = np.where(runs >= 0, np.diff(starts)[runs], 0)
    ends = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return ends, np.repeat(np.where(runs >= 0, starts[runs], 0) - ends[:-1], lengths) + np.arange(ends[-1])


def refuse_late(late: int, cutoff: datetime) -> None:
    """Stop where interactions are not before the instant that histories are as of.

    Args:
        late: how many are not.
        cutoff: the instant.

    Raises:
        DataError: there are some; nothing may learn from them.
    """
    if late:
        raise DataError(
            f"histories as of {cutoff.isoformat()}: {format_count(late, 'interaction')} at or after that instant, "
            "expected none; cut the interactions first"
        )


def build_histories(interactions: pl.DataFrame, items: pl.DataFrame, cutoff: datetime | None) -> Histories:
    """Gather interactions into histories as of an instant.

    Args:
        interactions: `Interactions`, already cut to what may be known.
        items: `Items`; interactions with other items are left out.
        cutoff: every interaction must be earlier; None for data without a common clock.

    Raises:
        DataError: an interaction is not before the cutoff. Nothing may learn from it, so the run stops.
    """
    timed = interactions["time"].null_count() < interactions.height
    if cutoff is not None and timed:
        refuse_late(interactions.filter(pl.col("time") >= cutoff).height, cutoff)
    ordered = bool((interactions["step"] > 0).any()) or interactions.height == 0
    last = interactions["time"].max()
    ages_until = cutoff or (last if isinstance(last, datetime) else None)
    return _build(interactions, items["item_id"], cutoff, ages_until, ordered)


def stream_histories(
    interactions: pl.LazyFrame, items: pl.DataFrame, cutoff: datetime | None, kinds: Sequence[str] = ()
) -> Histories:
    """Return the same as `build_histories`, of rows that need not fit in memory.

    Args:
        interactions: `Interactions`, sorted by user as `ingest` writes them; rows at or after the cutoff are left out.
        items: `Items`; interactions with other items are left out.
        cutoff: the instant that the histories are as of; None for data without a common clock.
        kinds: event kinds, the weakest first, for `Histories.strongest`; empty: it is not asked for.
    """
    known = is_before(cutoff)
    summary = interactions.select(
        ordered=(pl.col("step").filter(known) > 0).any() | ~known.any(),
        last=pl.col("time").filter(known).max(),
    ).collect(engine="streaming")
    ordered, last = summary.row(0)
    ages_until = cutoff or last
    blocks = [
        _build(rows.filter(known), items["item_id"], cutoff, ages_until, ordered, kinds)
        for rows in read_user_blocks(interactions.select(_COLUMNS))
    ]
    return _join(blocks)


def _join(blocks: list[Histories]) -> Histories:
    """Return the histories of consecutive blocks of users as one."""
    arrays: dict[str, Any] = {
        name: np.concatenate([getattr(block, name) for block in blocks]) for name in _ENTRY_ARRAYS
    }
    lengths = np.concatenate([block.lengths for block in blocks])
    starts = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
    return replace(blocks[0], user_ids=pl.concat([block.user_ids for block in blocks]), starts=starts, **arrays)


def _build(
    interactions: pl.DataFrame,
    item_ids: pl.Series,
    cutoff: datetime | None,
    ages_until: datetime | None,
    ordered: bool,
    kinds: Sequence[str] = (),
) -> Histories:
    users, items = IdMap.of(interactions["user_id"]), IdMap(item_ids)
    pairs = _gather_pairs(interactions, users, items, ordered, kinds)
    lengths = np.bincount(pairs["user_index"].to_numpy(), minlength=len(users))
    return Histories(
        user_ids=users.ids,
        item_ids=item_ids,
        starts=np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64),
        items=pairs["item_index"].cast(pl.Int32).to_numpy(),
        weights=pairs["weight"].to_numpy(),
        counts=pairs["count"].cast(pl.Float32).to_numpy(),
        consumed=pairs["consumed"].to_numpy(),
        ages=_compute_ages(pairs["last"], ages_until),
        first_ages=_compute_ages(pairs["first"], ages_until),
        strongest=pairs["strongest"].to_numpy(),
        cutoff=cutoff,
        ages_until=ages_until,
        ordered=ordered,
    )


def _gather_pairs(
    interactions: pl.DataFrame, users: IdMap, items: IdMap, ordered: bool, kinds: Sequence[str]
) -> pl.DataFrame:
    numbered = items.add_index(interactions.lazy(), "item_id", "item_index")
    numbered = users.add_index(numbered, "user_id", "user_index")
    # Without an order a multiplicative hash spreads the items, so that "later" never means "larger id".
    strength = pl.lit(0)
    if kinds:
        strength = pl.col("event").replace_strict(list(kinds), list(range(len(kinds))), default=0)
    arbitrary = (pl.col("item_index").cast(pl.UInt64) * 2_654_435_761) % 4_294_967_296
    return (
        numbered.group_by("user_index", "item_index")
        .agg(
            pl.col("step").max().alias("last_step"),
            # polars adds in any order; in Float64 the sum is exact, so the order cannot change it.
            pl.col("weight").cast(pl.Float64).sum().cast(pl.Float32),
            pl.len().alias("count"),
            # An item that was viewed and then bought is consumed.
            pl.col("consumed").any(),
            pl.col("time").max().alias("last"),
            pl.col("time").min().alias("first"),
            strength.max().cast(pl.Int16).alias("strongest"),
        )
        .sort("user_index", "last_step" if ordered else arbitrary, "item_index")
        .collect()
    )


def _compute_ages(times: pl.Series, ages_until: datetime | None) -> NDArray[np.float32]:
    if ages_until is None or times.null_count() == len(times):
        return np.full(len(times), np.nan, dtype=np.float32)
    seconds = (pl.lit(ages_until) - pl.col("time")).dt.total_microseconds() / 1e6
    days = pl.DataFrame({"time": times}).select((seconds / SECONDS_PER_DAY).cast(pl.Float32).alias("days"))["days"]
    return days.fill_null(float("nan")).to_numpy()


def find_known(items: pl.DataFrame, cutoff: datetime | None) -> pl.Series:
    """Return (n_items) Boolean: the item was already in the catalogue at the cutoff; without a cutoff, always."""
    if cutoff is None:
        return pl.repeat(True, items.height, eager=True)
    return items.select(known=pl.col("created_at").is_null() | (pl.col("created_at") < cutoff))["known"]


def find_recommendable(items: pl.DataFrame, cutoff: datetime | None) -> NDArray[np.bool_]:
    """Return (n_items) bool: the item is available and was already in the catalogue at the cutoff."""
    return (items["available"] & find_known(items, cutoff)).to_numpy()
