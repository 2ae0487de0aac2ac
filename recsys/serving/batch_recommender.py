"""The nightly lists of a shard of users, as a table; every process that makes shards runs this."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import map_blocks
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.ranking.evidence import Evidence
from recsys.ranking.rules import RELAXED_IN_ORDER
from recsys.serving.bundle import Bundle
from recsys.serving.list_maker import ListMaker, Lists, UserLimits
from recsys.serving.night_sample import NightSample, sample_block
from recsys.serving.recommender import Recommender
from recsys.serving.sentences import Sentences
from recsys.serving.sentences.verbs import list_verbs
from recsys.storage.files import scan_parquet
from recsys.tables import FALLBACK


@dataclass(frozen=True)
class _Rows:
    """Rows of the lists of a block of users, as arrays.

    Attributes:
        users: (n_rows) int64, index among the users of the shard, sorted.
        ranks: (n_rows) uint16, from 1 for each user.
        items: (n_rows) int32.
        scores: (n_rows) float32.
        sources: (n_rows) int64, bit s: source s proposed the item; a bit above them: that fallback step filled it in.
        relaxed: (n_rows) int8, rules dropped for the row; -1 for a fallback row.
        keys: (n_rows) int16; this and the following are those of `Reasons`.
    """

    users: NDArray[np.int64]
    ranks: NDArray[np.uint16]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    sources: NDArray[np.int64]
    relaxed: NDArray[np.int8]
    keys: NDArray[np.int16]
    named: NDArray[np.int32]
    others: NDArray[np.int32]
    events: NDArray[np.int16]
    values: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def of(cls, lists: Lists, first_user: int) -> _Rows:
        """Flatten the lists of a block, whose first user has this index."""
        listed = lists.items >= 0
        user, rank = np.nonzero(listed)
        ranked, filled = lists.rows >= 0, lists.filled_by >= 0
        proposed = lists.candidates.ranks > 0
        bits = (proposed[:, lists.rows[ranked]] * (1 << np.arange(len(proposed)))[:, None]).sum(axis=0)
        sources = np.zeros(lists.items.shape, dtype=np.int64)
        sources[ranked] = bits
        sources[filled] = 1 << (len(proposed) + lists.filled_by[filled].astype(np.int64))
        return cls(
            users=user + first_user,
            ranks=(rank + 1).astype(np.uint16),
            items=lists.items[listed],
            scores=lists.item_scores[listed],
            sources=sources[listed],
            relaxed=np.where(filled, np.int8(-1), lists.relaxed)[listed],
            **{name: values[listed] for name, values in lists.reasons._asdict().items()},
        )


@dataclass(frozen=True)
class BatchRecommender:
    """A model over tonight's catalogue.

    Attributes:
        config: tonight's; its generation section holds list length and rules.
        bundle: of the model: the champion, or the challenger of a canary.
        recommender: of the bundle, over the catalogue.
        model_version: of the model.
        evidence: counts over all users, not only of those who get lists, that reasons are checked against.
        ages_until: the instant that ages are counted to; None without times.
        blocked: `user_id`, `item_id`: pairs that no list may hold, whether or not the item is available or consumed.
        shown: parquet files of earlier nights' `Recommendations`, one list per night, the last night first.
        variant: the `variant` of every row in a night with a canary; None: each row names what made it, such as the
            ranker or the fallback chain.
        sample_share: share of the users whose baseline lists and features are kept for the monitor.
    """

    config: Config
    bundle: Bundle
    recommender: Recommender
    model_version: str
    evidence: Evidence
    ages_until: datetime | None = None
    blocked: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"user_id": str, "item_id": str}))
    shown: Sequence[Sequence[Path]] = ()
    variant: str | None = None
    sample_share: float = 0.0

    def recommend(self, users: Histories) -> pl.DataFrame:
        """Return `Recommendations` of a shard of users; a user's rows do not depend on who else is in it."""
        return self.recommend_and_sample(users)[0]

    def recommend_and_sample(self, users: Histories) -> tuple[pl.DataFrame, NightSample | None]:
        """Return what `recommend` returns, and what is kept of the sampled users; None if none of them is sampled."""
        limits = UserLimits.of(users, self.blocked, self.read_shown(users))

        def make(first_user: int, block: Histories) -> tuple[_Rows, NightSample | None]:
            own = limits.select(first_user, block.n_users)
            lists = self.list_maker.make_lists(block, own, self.config.generation.n, with_reasons=True)
            sample = None
            if self.sample_share:
                sample = sample_block(self.list_maker, lists, block, own.blocked, self.sample_share)
            return _Rows.of(lists, first_user), sample

        blocks, samples = zip(*map_blocks(make, users), strict=True)
        return self._to_frame(users, blocks), NightSample.join(samples)

    def _to_frame(self, users: Histories, blocks: Sequence[_Rows]) -> pl.DataFrame:
        rows = _Rows(*(np.concatenate([getattr(block, name) for block in blocks]) for name in _Rows.__annotations__))
        masks, mask_index = np.unique(rows.sources, return_inverse=True)
        names = pl.Series([_name_bits(int(mask), self._bit_names) for mask in masks], dtype=pl.List(pl.String))
        return pl.DataFrame(
            {
                "user_id": users.user_ids.gather(rows.users),
                "rank": rows.ranks,
                "item_id": users.item_ids.gather(rows.items),
                "score": rows.scores,
                "sources": names.gather(mask_index),
                "reason": self._sentences.write(
                    self.list_maker.reason_finder.keys, rows.keys, self._gather_details(rows)
                ),
                "variant": self._name_variants(rows.relaxed),
                "model_version": pl.repeat(self.model_version, len(rows.users), dtype=pl.String, eager=True),
            }
        )

    @cached_property
    def list_maker(self) -> ListMaker:
        """The chain that makes the lists."""
        return ListMaker(self.recommender, self.bundle.ranker, self.config.generation, self.ages_until, self.evidence)

    def _gather_details(self, rows: _Rows) -> pl.DataFrame:
        """Return what fills the placeholders of the reasons' sentences, null where there is nothing."""
        finder, items = self.list_maker.reason_finder, self.recommender.items
        popular, rising = self.evidence.popular, self.evidence.rising
        is_rising = rows.keys == finder.keys.index("rising")
        details = {
            "title": _gather(items["title"], rows.named),
            "other": _gather(items["title"], rows.others),
            "verb": _gather(pl.Series(list_verbs(self.config.dataset.interactions)), rows.events),
            "value": _gather(finder.values, rows.values),
            "column": _gather(finder.value_columns, rows.values),
            "date": _gather(items["created_at"].dt.strftime("%Y-%m-%d"), rows.items),
            "count": rows.counts,
            "days": np.where(is_rising, rising[2][rows.items], popular[1][rows.items]),
            "before": rising[1][rows.items],
        }
        return pl.DataFrame(details)

    def _name_variants(self, relaxed: NDArray[np.int8]) -> pl.Series:
        if self.variant is not None:
            return pl.repeat(self.variant, len(relaxed), dtype=pl.String, eager=True)
        rules = self.list_maker.rules
        names = {-1: FALLBACK, **{count: rules.describe(count) for count in range(len(RELAXED_IN_ORDER) + 1)}}
        return pl.Series(relaxed).replace_strict(names, return_dtype=pl.String)

    def read_shown(self, users: Histories) -> pl.DataFrame:
        """Return `user_id`, `item_id`, `value`: penalties for items that these users were shown on earlier nights."""
        rules, nights = self.config.generation.rules, []
        for nights_ago, files in enumerate(self.shown):
            first, last = pl.lit(users.user_ids.first()), pl.lit(users.user_ids.last())
            rows = scan_parquet(files).filter(pl.col("user_id").is_between(first, last))
            value = pl.lit(rules.shown_penalty * rules.shown_decay**nights_ago)
            nights.append(rows.select("user_id", "item_id", value=value).collect())
        empty = pl.DataFrame(schema={"user_id": str, "item_id": str, "value": float})
        return pl.concat([empty, *nights]).group_by("user_id", "item_id").agg(pl.col("value").sum())

    @cached_property
    def _sentences(self) -> Sentences:
        declared = {source.reason: getattr(source, "sentences", {}) for source in self.recommender.sources}
        return Sentences.load(self.config.generation, self.recommender.items, declared)

    @cached_property
    def _bit_names(self) -> list[list[str]]:
        """The names that the bits of `_Rows.sources` stand for."""
        sources = [[name] for name in self.recommender.source_names]
        return sources + [[FALLBACK, source.name] for source in self.list_maker.fallback.steps]


def _gather(values: pl.Series, indexes: NDArray[np.integer]) -> pl.Series:
    """Return a value for each index, null for -1."""
    return values.gather(pl.Series(indexes, dtype=pl.Int64).replace(-1, None).cast(pl.UInt32))


def _name_bits(mask: int, names: Sequence[list[str]]) -> list[str]:
    return [name for bit, own in enumerate(names) if mask >> bit & 1 for name in own]
