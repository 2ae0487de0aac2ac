"""The lists of a run of users: what the night, and every machine that helps it, does with a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.bundle import Bundle, Recommender
from recsys.candidates.groups import find_best
from recsys.candidates.scores import Barred
from recsys.candidates.sources import PopularSource, Source
from recsys.candidates.union import map_blocks
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.ranking.lists import fill_up

FALLBACK = "fallback"
# Asked in turn for what a list lacks: what fits the texts of the history, what people of the same interests take, what
# everybody takes, and at last anything that can be had.
_CHAIN = ("text", "segment_popular", "popular")
_ANYTHING = "catalogue"


@dataclass(frozen=True)
class _Block:
    """Rows of the lists of a block of users, as arrays.

    Attributes:
        users: (n_rows) int64, places among the users of the shard, sorted.
        ranks: (n_rows) uint16, from 1 on for each user.
        items: (n_rows) int32.
        scores: (n_rows) float32.
        found: (n_rows) int64, bit s: source s proposed the item; a bit above them: that step of the chain filled it in.
        first: (n_rows) int8, the source that ranked it highest, the first of equals; behind them the chain's steps.
    """

    users: NDArray[np.int64]
    ranks: NDArray[np.uint16]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    found: NDArray[np.int64]
    first: NDArray[np.int8]


@dataclass(frozen=True)
class Night:
    """The champion over tonight's catalogue.

    Attributes:
        config: says how long lists are, and what may be repeated.
        bundle: the champion.
        recommender: of the bundle, over the catalogue.
        model_version: of the champion.
    """

    config: Config
    bundle: Bundle
    recommender: Recommender
    model_version: str

    def recommend(self, users: Histories) -> pl.DataFrame:
        """Return `Recommendations` of a shard of users; a user's rows do not depend on who else is in it."""
        blocks = map_blocks(self._recommend, users)
        user, rank, item, score, found, first = (
            np.concatenate([getattr(block, name) for block in blocks])
            for name in ("users", "ranks", "items", "scores", "found", "first")
        )
        names = self._names
        masks, kind = np.unique(found, return_inverse=True)
        kinds = pl.Series([_name_bits(int(mask), names) for mask in masks], dtype=pl.List(pl.String))
        return pl.DataFrame(
            {
                "user_id": users.user_ids.gather(user),
                "rank": rank,
                "item_id": users.item_ids.gather(item),
                "score": score,
                "sources": kinds.gather(kind),
                "reason": pl.Series(self._reasons, dtype=pl.String).gather(first),
                "variant": pl.repeat("ranker", len(user), dtype=pl.String, eager=True),
                "model_version": pl.repeat(self.model_version, len(user), dtype=pl.String, eager=True),
            }
        )

    def _recommend(self, first_user: int, users: Histories) -> _Block:
        recommender, n = self.recommender, self.config.generation.n
        rows = recommender.cut_block(recommender.propose_block(users))
        scores = self.bundle.ranker.score_columns(recommender.describe_block(rows, users), rows.starts)
        best = find_best(scores, rows.starts, n)
        ranked = best >= 0
        items = np.full(best.shape, -1, dtype=np.int32)
        items[ranked] = rows.items[best[ranked]]
        values = np.zeros(best.shape, dtype=np.float32)
        values[ranked] = scores[best[ranked]]
        found, first = np.zeros(best.shape, dtype=np.int64), np.zeros(best.shape, dtype=np.int8)
        proposals = rows.ranks[:, best[ranked]]
        found[ranked] = ((proposals > 0) * (1 << np.arange(len(proposals)))[:, None]).sum(axis=0)
        first[ranked] = np.where(proposals > 0, proposals, np.iinfo(np.uint16).max).argmin(axis=0)
        barred = Barred.find(users, recommender.recommendable, repeats=self.config.dataset.repeats)
        for step, source in enumerate(self._chain):
            filled = fill_up(items, values, source, users, barred)
            found[filled] = 1 << (len(proposals) + step)
            first[filled] = len(proposals) + step
        listed = items >= 0
        user, place = np.nonzero(listed)
        ranks = (place + 1).astype(np.uint16)
        return _Block(user + first_user, ranks, items[listed], values[listed], found[listed], first[listed])

    @cached_property
    def _chain(self) -> Sequence[Source]:
        recommender = self.recommender
        segmented = recommender.statistics.segments is not None
        names = [name for name in _CHAIN if name != "segment_popular" or segmented]
        anything = np.ones(len(recommender.recommendable), dtype=np.float32)
        return [*recommender.make_sources(names), PopularSource(_ANYTHING, "You may not know it yet", anything)]

    @cached_property
    def _names(self) -> list[list[str]]:
        """What the bits of `_Block.found` mean."""
        return [
            *([name] for name in self.recommender.source_names),
            *([FALLBACK, source.name] for source in self._chain),
        ]

    @cached_property
    def _reasons(self) -> list[str]:
        return [source.reason for source in (*self.recommender.sources, *self._chain)]


def _name_bits(mask: int, names: Sequence[list[str]]) -> list[str]:
    return [name for bit, some in enumerate(names) if mask >> bit & 1 for name in some]
