"""The lists of a run of users: what the night, and every machine that helps it, does with a shard."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows, map_blocks
from recsys.candidates.sources import PopularSource, Source
from recsys.config import Config
from recsys.dataset.histories import Histories
from recsys.dataset.user_items import UserItems
from recsys.dataset.values import mark_values
from recsys.ranking.lists import fill_up
from recsys.ranking.reasons import find_nearest, group_features
from recsys.ranking.rules import Rules, lower
from recsys.serving.bundle import Bundle, Recommender

FALLBACK = "fallback"
# Asked in turn for what a list lacks: what fits the texts of the history, what people of the same interests take, what
# everybody takes, and at last anything that can be had.
_CHAIN = ("text", "segment_popular", "popular")
_CATALOGUE_FALLBACK = "catalogue"
# Sources that look at texts: their reason names an item of the user's whose text is near enough.
_TEXTUAL = ("text", "new_items", "nearest_text", "tfidf")
_NEAR = 0.3
# Letters of a title that a reason shows.
_TITLE = 80


@dataclass(frozen=True)
class _RecommendationRows:
    """Rows of the lists of a block of users, as arrays.

    Attributes:
        users: (n_rows) int64, places among the users of the shard, sorted.
        ranks: (n_rows) uint16, from 1 on for each user.
        items: (n_rows) int32.
        scores: (n_rows) float32.
        found: (n_rows) int64, bit s: source s proposed the item; a bit above them: that step of the chain filled it in.
        reasons: (n_rows) int16, places among `BatchRecommender.reasons`.
        because: (n_rows) int32, the item of the user's that the reason names, -1 for none.
        dropped: (n_rows) int8, rules dropped for the row; -1 where it was filled in.
    """

    users: NDArray[np.int64]
    ranks: NDArray[np.uint16]
    items: NDArray[np.int32]
    scores: NDArray[np.float32]
    found: NDArray[np.int64]
    reasons: NDArray[np.int16]
    because: NDArray[np.int32]
    dropped: NDArray[np.int8]


@dataclass(frozen=True)
class BatchRecommender:
    """The champion over tonight's catalogue.

    Attributes:
        config: says how long lists are, what may be repeated, and the rules.
        bundle: the champion.
        recommender: of the bundle, over the catalogue.
        model_version: of the champion.
        reference: the instant that ages are counted to; None without times.
        blocked: `user_id`, `item_id`: pairs that no list may hold, beyond what cannot be had and what users have.
        shown: parquet files of earlier nights' `Recommendations`, night by night, the last one first.
    """

    config: Config
    bundle: Bundle
    recommender: Recommender
    model_version: str
    reference: datetime | None = None
    blocked: pl.DataFrame = field(default_factory=lambda: pl.DataFrame(schema={"user_id": str, "item_id": str}))
    shown: Sequence[Sequence[Path]] = ()

    def recommend(self, users: Histories) -> pl.DataFrame:
        """Return `Recommendations` of a shard of users; a user's rows do not depend on who else is in it."""
        blocked = UserItems.number(self.blocked.with_columns(value=pl.lit(0.0)), users)
        shown = self._read_shown(users)

        def work(first_user: int, block: Histories) -> _RecommendationRows:
            parts = (one.select(first_user, block.n_users) for one in (blocked, shown))
            return self._recommend(first_user, block, *parts)

        blocks = map_blocks(work, users)
        rows = _RecommendationRows(
            *(
                np.concatenate([getattr(block, name) for block in blocks])
                for name in _RecommendationRows.__annotations__
            )
        )
        titles = self.recommender.items["title"].gather(np.maximum(rows.because, 0)).str.strip_chars()
        named = (rows.because >= 0) & (titles != "").to_numpy()
        short = titles.str.slice(0, _TITLE) + pl.Series(np.where(titles.str.len_chars() > _TITLE, "…", ""))
        plain = pl.Series(self.reasons, dtype=pl.String).gather(rows.reasons)
        masks, kind = np.unique(rows.found, return_inverse=True)
        kinds = pl.Series([_name_bits(int(mask), self._names) for mask in masks], dtype=pl.List(pl.String))
        dropped = {-1: FALLBACK, **{count: self._rules.describe(count) for count in range(4)}}
        return pl.DataFrame(
            {
                "user_id": users.user_ids.gather(rows.users),
                "rank": rows.ranks,
                "item_id": users.item_ids.gather(rows.items),
                "score": rows.scores,
                "sources": kinds.gather(kind),
                "reason": ("Because you chose “" + short + "”").zip_with(pl.Series(named), plain),
                "variant": pl.Series(rows.dropped).replace_strict(dropped, return_dtype=pl.String),
                "model_version": pl.repeat(self.model_version, len(rows.users), dtype=pl.String, eager=True),
            }
        )

    def _recommend(
        self, first_user: int, users: Histories, blocked: UserItems, shown: UserItems
    ) -> _RecommendationRows:
        recommender, ranker, n = self.recommender, self.bundle.ranker, self.config.generation.n
        exclusions = recommender.exclusions(users).add(blocked.starts, blocked.items)
        rows = recommender.cut_block(recommender.propose_block(users, exclusions))
        columns = recommender.describe_block(rows, users)
        scores = lower(rows, ranker.score_columns(columns, rows.starts), shown)
        best, dropped = self._rules.choose(rows, scores, n)
        ranked = best >= 0
        chosen = best[ranked]
        items = np.full(best.shape, -1, dtype=np.int32)
        items[ranked] = rows.items[chosen]
        values = np.zeros(best.shape, dtype=np.float32)
        values[ranked] = scores[chosen]
        # A rule may put a lower score above a higher one; what is shown never rises.
        values = np.minimum.accumulate(np.where(ranked, values, np.float32(np.inf)), axis=1, dtype=np.float32)
        values[~ranked] = 0.0
        proposed = rows.ranks[:, chosen] > 0
        found = np.zeros(best.shape, dtype=np.int64)
        found[ranked] = (proposed * (1 << np.arange(len(proposed)))[:, None]).sum(axis=0)
        reasons, because = np.zeros(best.shape, dtype=np.int16), np.full(best.shape, -1, dtype=np.int32)
        reasons[ranked] = self._find_reasons(rows, columns, chosen, np.nonzero(ranked)[0])
        for step, source in enumerate(self._chain):
            filled = fill_up(items, values, source, users, exclusions)
            found[filled] = 1 << (len(proposed) + step)
            reasons[filled], dropped[filled] = self.reasons.index(source.reason), -1
        listed = items >= 0
        user, place = np.nonzero(listed)
        textual = np.isin(reasons[listed], self._textual)
        near = find_nearest(user[textual], items[listed][textual], users, recommender.embeddings, _NEAR)
        because[user[textual], place[textual]] = near
        return _RecommendationRows(
            user + first_user,
            (place + 1).astype(np.uint16),
            items[listed],
            values[listed],
            found[listed],
            reasons[listed],
            because[listed],
            dropped[listed],
        )

    def _find_reasons(
        self,
        rows: CandidateRows,
        columns: dict[str, NDArray[np.float32]],
        chosen: NDArray[np.int64],
        users: NDArray[np.int64],
    ) -> NDArray[np.int16]:
        """Return the place among `reasons` of what adds most to each chosen row, compared with the user's other ones.

        What all items of a list have in common, such as that many take them, says nothing of any. Where nothing
        stands out it is what ranks the item highest.
        """
        ranker, n_sources = self.bundle.ranker, len(self.recommender.sources)
        ranks = rows.ranks[:, chosen]
        first: NDArray[np.int16] = np.where(ranks > 0, ranks, np.iinfo(np.uint16).max).argmin(axis=0).astype(np.int16)
        if ranker.blend_share is None:
            return first
        picked = {name: column[chosen] for name, column in columns.items()}
        blend = ranker.blend.score_columns(columns, rows.starts)[chosen]
        features = [blend, *(picked[name] for name in ranker.features)]
        added = ranker.forest.explain(features, self._groups, len(self.reasons) + 1)
        # What the blend adds is owed to the source that has most of it.
        blended = np.stack([picked[f"{name}_z"] * ranker.blend.weights[name] for name in ranker.blend.weights])
        named = np.array([self._places[name] for name in ranker.blend.weights])
        added[np.arange(len(chosen)), named[np.nan_to_num(blended, nan=-np.inf).argmax(axis=0)]] += added[:, -1]
        added = added[:, :-1]
        counts = np.bincount(users, minlength=1)
        for column in added.T:
            column -= (np.bincount(users, weights=column) / np.maximum(counts, 1))[users]
        # A source that says nothing of the item, or a column that does not match, is no reason.
        added[:, :n_sources][np.isnan(rows.scores[:, chosen].T)] = 0.0
        for column, place in self._matches.items():
            added[~(picked[f"match_{column}"] > 0), place] = 0.0
        strongest = added.argmax(axis=1)
        told: NDArray[np.int16] = np.where(added.max(axis=1, initial=0.0) > 0, strongest, first).astype(np.int16)
        return told

    def _read_shown(self, users: Histories) -> UserItems:
        """Return how much less each item counts for having been shown to these users on earlier nights."""
        rules, nights = self.config.generation.rules, []
        for back, files in enumerate(self.shown):
            low, high = pl.lit(users.user_ids.first()), pl.lit(users.user_ids.last())
            rows = pl.scan_parquet(list(files)).filter(pl.col("user_id").is_between(low, high))
            value = pl.lit(rules.shown_penalty * rules.shown_decay**back)
            nights.append(rows.select("user_id", "item_id", value=value).collect())
        none = pl.DataFrame(schema={"user_id": str, "item_id": str, "value": float})
        together = pl.concat([none, *nights]).group_by("user_id", "item_id").agg(pl.col("value").sum())
        return UserItems.number(together, users)

    @cached_property
    def reasons(self) -> list[str]:
        """Sentences: of the sources, of the chain's steps, and of the columns that may match."""
        columns = [_tell_match(column) for column in self._columns]
        return list(dict.fromkeys([source.reason for source in (*self.recommender.sources, *self._chain)] + columns))

    @cached_property
    def _rules(self) -> Rules:
        rules, recommender = self.config.generation.rules, self.recommender
        facts, statistics = recommender.facts, recommender.statistics
        return Rules(
            config=rules,
            values={column: mark_values(recommender.items[column])[0] for column in rules.max_per_value},
            new=statistics.users <= recommender.config.candidates.new_item_users,
            ages=facts.find_ages(self.reference),
            embeddings=recommender.embeddings,
        )

    @cached_property
    def _chain(self) -> Sequence[Source]:
        recommender = self.recommender
        segmented = recommender.statistics.segments is not None
        names = [name for name in _CHAIN if name != "segment_popular" or segmented]
        # To make a source may mean to map the whole catalogue: those that propose serve here, too.
        proposing = {source.name: source for source in recommender.sources}
        steps = [proposing.get(name) or recommender.make_sources([name])[0] for name in names]
        anything = np.ones(len(recommender.recommendable), dtype=np.float32)
        return [*steps, PopularSource(_CATALOGUE_FALLBACK, "You may not know it yet", anything)]

    @cached_property
    def _names(self) -> list[list[str]]:
        """What the bits of `_RecommendationRows.found` mean."""
        return [
            *([name] for name in self.recommender.source_names),
            *([FALLBACK, source.name] for source in self._chain),
        ]

    @cached_property
    def _columns(self) -> list[str]:
        """Columns of the items that a feature compares with the history's."""
        return [name.removeprefix("match_") for name in self.bundle.ranker.features if name.startswith("match_")]

    @cached_property
    def _matches(self) -> dict[str, int]:
        return {column: self.reasons.index(_tell_match(column)) for column in self._columns}

    @cached_property
    def _places(self) -> dict[str, int]:
        """Of each source the place of its reason."""
        return {source.name: self.reasons.index(source.reason) for source in self.recommender.sources}

    @cached_property
    def _groups(self) -> NDArray[np.int32]:
        """Of each feature of the trees, the place of its reason, -1 for none."""
        places = self._places | {f"match {column}": place for column, place in self._matches.items()}
        places["blend"] = len(self.reasons)
        names = ["blend", *group_features(self.bundle.ranker.features, self.recommender.source_names)]
        return np.array([places.get(name, -1) for name in names], dtype=np.int32)

    @cached_property
    def _textual(self) -> list[int]:
        named = [source.reason for source in (*self.recommender.sources, *self._chain) if source.name in _TEXTUAL]
        return sorted({self.reasons.index(reason) for reason in named})


def _name_bits(mask: int, names: Sequence[list[str]]) -> list[str]:
    return [name for bit, some in enumerate(names) if mask >> bit & 1 for name in some]


def _tell_match(column: str) -> str:
    return f"Same {column} as others you chose"
