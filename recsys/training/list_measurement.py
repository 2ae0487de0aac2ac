"""The lists of every model on a window, with the ranks of the positives, shard by shard of users."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from functools import cached_property, reduce
from operator import add

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows, map_blocks, propose_with_ties
from recsys.candidates.source import Source
from recsys.config import RulesConfig
from recsys.dataset.histories import Histories
from recsys.evaluation.candidate_ledger import Ledger, build_candidate_ledger
from recsys.evaluation.comparison import OURS, WITHOUT_RULES
from recsys.evaluation.tied_ranks import TiedRanks, rank_positives
from recsys.progress import progress_bar
from recsys.ranking.lists import rank_candidates
from recsys.ranking.training_rows import mark_positives
from recsys.serving.bundle import Bundle
from recsys.serving.list_maker import ListMaker, Lists, UserLimits
from recsys.serving.recommender import Recommender, feature_frame

BLEND = "blend"
# Ranks are UInt16; longer lists would add nothing for a source that gives thousands of items the same score.
_MAX_RANK = 65_535
# Rows whose features are kept to be compared with those of the training.
_FEATURE_ROWS = 100_000
_PAIR = ["user_index", "item_index"]


@dataclass(frozen=True)
class ListCosts:
    """What the measured lists cost, and how often the ranker had too few items for them.

    Attributes:
        fallback_share: share of the lists' rows that the fallback chain filled, in the first `generation.n` ranks.
        bytes_per_1000_users: memory of the candidates and their features.
        seconds_per_1000_users: time of making the lists, summed over threads; it varies from run to run.
    """

    fallback_share: float
    bytes_per_1000_users: float
    seconds_per_1000_users: float

    @classmethod
    def total(cls, costs: pl.DataFrame) -> ListCosts:
        """Add up the blocks' `users`, `rows`, `filled`, `bytes` and `seconds`."""
        sums = costs.sum().row(0, named=True)
        users = max(1, sums["users"]) / 1000
        return cls(sums["filled"] / max(1, sums["rows"]), sums["bytes"] / users, sums["seconds"] / users)


@dataclass(frozen=True)
class _BlockMeasure:
    """A block's part of a measurement; users are numbered within the shard.

    Attributes:
        ranked: `user_index`, `item_index`, `score`, `rank` of everything that we rank, in order.
        without_rules: the same without rules and block lists; no rows if neither is set.
        blended: the same by the blend.
        proposed: `Candidates` before the union was cut.
        features: keys and features of the candidates.
        lists: `user_index`, `item_index`, `rank`, `score` of the lists.
        costs: a row for `ListCosts.total`.
    """

    ranked: pl.DataFrame
    without_rules: pl.DataFrame
    blended: pl.DataFrame
    proposed: pl.DataFrame
    features: pl.DataFrame
    lists: pl.DataFrame
    costs: pl.DataFrame


@dataclass(frozen=True)
class ListMeasurement:
    """Makes the lists of a window and looks up the positives in them.

    Attributes:
        bundle: makes our lists; it has not seen the window.
        recommender: of the bundle, as of the window's cutoff, without blocked items.
        histories: of all users, as of the cutoff.
        recommendable: (n_items) bool, blocked items included.
        alone: sources that are measured alone.
        baselines: also measure the blend.
    """

    bundle: Bundle
    recommender: Recommender
    histories: Histories
    recommendable: NDArray[np.bool_]
    alone: list[Source]
    baselines: bool

    def measure_shards(
        self, users: Histories, positives: pl.DataFrame
    ) -> tuple[dict[str, TiedRanks], pl.DataFrame, Ledger, pl.DataFrame, ListCosts]:
        """Return each model's ranks, our lists (by index) with their ledger and costs, and the features of some users.

        The order is ranks, lists, ledger, features, costs.
        """
        ranks: dict[str, list[TiedRanks]] = {}
        ledgers: list[Ledger] = []
        lists: list[pl.DataFrame] = []
        features: list[pl.DataFrame] = []
        costs: list[pl.DataFrame] = []
        with progress_bar("Measuring", users.n_users) as progress:
            for first, shard in users.split(self.bundle.config.generation.shard_size):
                own = positives.filter(pl.col("user_index").is_between(first, first + shard.n_users - 1))
                own = own.with_columns(pl.col("user_index") - first)
                keep_features = sum(frame.height for frame in features) < _FEATURE_ROWS
                made = self._make_shard(shard, keep_features=keep_features)
                for name, ranked in self._rank_models(made, shard).items():
                    ranks.setdefault(name, []).append(rank_positives(ranked, own, shard.n_users, self._depth))
                if keep_features:
                    features.append(_shift(mark_positives(made.features.head(_FEATURE_ROWS), own), first))
                ledger = self._count(made, own)
                ledgers.append(replace(ledger, positives=_shift(ledger.positives, first)))
                lists.append(_shift(made.lists, first))
                costs.append(made.costs)
                progress(shard.n_users)
        joined = {name: TiedRanks.join(shards) for name, shards in ranks.items()}
        return joined, pl.concat(lists), reduce(add, ledgers), pl.concat(features), ListCosts.total(pl.concat(costs))

    @property
    def _depth(self) -> int:
        return max(self.bundle.config.evaluation.n_values)

    @property
    def _limited(self) -> bool:
        """Whether rules or block lists can keep items out of the lists."""
        return self._maker.rules.active or not self.bundle.block_lists.empty

    @cached_property
    def _maker(self) -> ListMaker:
        generation = self.bundle.config.generation
        return ListMaker(self.recommender, self.bundle.ranker, generation, self.histories.ages_until)

    @cached_property
    def _maker_without_rules(self) -> ListMaker:
        """The chain without rules and block lists."""
        generation = self.bundle.config.generation.model_copy(update={"rules": RulesConfig()})
        recommender = replace(self.recommender, recommendable=self.recommendable)
        return ListMaker(recommender, self.bundle.ranker, generation, self.histories.ages_until)

    def _make_shard(self, users: Histories, *, keep_features: bool) -> _BlockMeasure:
        length = max(self._depth, self.bundle.config.generation.n)
        pairs = self.bundle.block_lists.pairs
        limits, no_limits = UserLimits.of(users, pairs), UserLimits.of(users, pairs.clear())

        def make(first_user: int, block: Histories) -> _BlockMeasure:
            own = limits.select(first_user, block.n_users)
            started = time.perf_counter()
            lists = self._maker.make_lists(block, own, length, with_reasons=False)
            seconds = time.perf_counter() - started
            free = None
            if self._limited:
                own = no_limits.select(first_user, block.n_users)
                free = self._maker_without_rules.make_lists(block, own, length, with_reasons=False)
            return self._describe_block(lists, free, first_user, keep_features, seconds)

        blocks = map_blocks(make, users)
        return _BlockMeasure(
            *(pl.concat([getattr(block, name) for block in blocks]) for name in _BlockMeasure.__annotations__)
        )

    def _describe_block(
        self, lists: Lists, free: Lists | None, first_user: int, keep_features: bool, seconds: float
    ) -> _BlockMeasure:
        candidates, ranker = lists.candidates, self.bundle.ranker
        ranked = _rank_all(lists, first_user, by_score=not self._maker.rules.active)
        blend = ranker.blend.score(lists.features, candidates.starts)
        return _BlockMeasure(
            ranked=ranked,
            without_rules=ranked.clear() if free is None else _rank_all(free, first_user, by_score=True),
            blended=_rank(candidates, blend, first_user),
            proposed=lists.proposed.to_frame(self.recommender.source_names, first_user),
            features=feature_frame(candidates, lists.features, first_user) if keep_features else pl.DataFrame(),
            lists=_frame_lists(lists, first_user).filter(pl.col("rank") <= self._depth),
            costs=_count_costs(lists, self.bundle.config.generation.n, seconds),
        )

    def _rank_models(self, made: _BlockMeasure, users: Histories) -> dict[str, pl.DataFrame]:
        """Return what each model ranks, ours first."""
        config = self.bundle.config
        ranked = {OURS: made.ranked}
        if self._limited:
            ranked[WITHOUT_RULES] = made.without_rules
        if self.baselines:
            ranked[BLEND] = made.blended
        for source in self.alone:
            rows = propose_with_ties(
                source, self._depth, users, self.recommender.recommendable, repeats=config.dataset.repeats
            )
            ranked[source.name] = rank_candidates(rows.drop("score"), rows["score"], min(rows.height, _MAX_RANK))
        return ranked

    def _count(self, made: _BlockMeasure, positives: pl.DataFrame) -> Ledger:
        config = self.bundle.config
        # In the order of the sources: a loaded bundle has its depths in the order of names.
        depths = {name: config.candidates.depths[name] for name in self.recommender.source_names}
        return build_candidate_ledger(
            made.proposed,
            made.ranked,
            positives,
            pl.Series(self.recommendable),
            depths,
            config.evaluation.n,
            removed_by_rule=self._find_removed(made, positives),
        )

    def _find_removed(self, made: _BlockMeasure, positives: pl.DataFrame) -> NDArray[np.bool_] | None:
        """Return (n_positives) bool: a rule or a block list keeps it out of the list; None if none is set."""
        if not self._limited:
            return None
        n, pairs = self.bundle.config.evaluation.n, positives.select(_PAIR)
        listed, free = (_mark(pairs, rows.filter(pl.col("rank") <= n)) for rows in (made.ranked, made.without_rules))
        removed: NDArray[np.bool_] = (free & ~listed).to_numpy()
        return removed


def _count_costs(lists: Lists, n: int, seconds: float) -> pl.DataFrame:
    proposed = lists.proposed
    size = proposed.items.nbytes + proposed.ranks.nbytes + proposed.scores.nbytes
    size += sum(column.nbytes for column in lists.features.values())
    return pl.DataFrame(
        {
            "users": [len(lists.items)],
            "rows": [int((lists.items[:, :n] >= 0).sum())],
            "filled": [int((lists.filled_by[:, :n] >= 0).sum())],
            "bytes": [size],
            "seconds": [seconds],
        }
    )


def _mark(pairs: pl.DataFrame, rows: pl.DataFrame) -> pl.Series:
    """Return (n_pairs) Boolean: whether the pair is among the rows."""
    marked = rows.select(_PAIR).unique().with_columns(pl.lit(True).alias("marked"))
    return pairs.join(marked, on=_PAIR, how="left", maintain_order="left")["marked"].fill_null(False)


def _frame_lists(lists: Lists, first_user: int) -> pl.DataFrame:
    user, rank = np.nonzero(lists.items >= 0)
    return pl.DataFrame(
        {
            "user_index": (user + first_user).astype(np.uint32),
            "item_index": lists.items[user, rank].astype(np.uint32),
            "rank": (rank + 1).astype(np.uint16),
            "score": lists.item_scores[user, rank],
        }
    )


def _rank_all(lists: Lists, first_user: int, *, by_score: bool) -> pl.DataFrame:
    """Return everything that we rank: the list, then the other candidates by score, which may include positives.

    Args:
        lists: of a block of users.
        first_user: index of the block's first user.
        by_score: the lists are in the order of the scores, so equal scores tie; otherwise no two ranks tie.

    Returns:
        `user_index`, `item_index`, `score`, `rank` (UInt16), sorted by user, then rank.
    """
    listed = _frame_lists(lists, first_user)
    rest = _rank(lists.candidates, lists.scores, first_user).join(listed, on=_PAIR, how="anti", maintain_order="left")
    columns = ["user_index", "item_index", "rank", "score"]
    order = pl.concat([listed.select(columns, late=pl.lit(0)), rest.select(columns, late=pl.lit(1))])
    order = order.sort("user_index", "late", "rank").with_columns(
        rank=pl.int_range(1, pl.len() + 1).over("user_index").cast(pl.UInt16)
    )
    if not by_score:
        order = order.with_columns(score=-pl.col("rank").cast(pl.Float32))
    return order.select("user_index", "item_index", "score", "rank")


def _rank(candidates: CandidateRows, scores: NDArray[np.float32], first_user: int) -> pl.DataFrame:
    """Return all candidates that have a score, in order: a positive below the list has a rank too."""
    pairs = pl.DataFrame(
        {
            "user_index": (candidates.users + first_user).astype(np.uint32),
            "item_index": candidates.items.astype(np.uint32),
        }
    )
    return rank_candidates(pairs, scores, min(pairs.height, _MAX_RANK))


def _shift(rows: pl.DataFrame, first: int) -> pl.DataFrame:
    return rows.with_columns(pl.col("user_index") + first)
