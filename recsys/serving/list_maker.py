"""The one chain that makes lists: measuring, the nightly batch and the served model all go through it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.config import AUTO, GenerationConfig
from recsys.dataset.histories import Histories
from recsys.dataset.user_items import UserItems
from recsys.dataset.values import mark_values
from recsys.ranking.evidence import Evidence, Nearness
from recsys.ranking.ranker import Ranker
from recsys.ranking.rules import Rules, penalise_shown
from recsys.serving.fallback import FallbackChain
from recsys.serving.reasons import ReasonFinder, Reasons
from recsys.serving.recommender import Recommender


@dataclass(frozen=True)
class UserLimits:
    """What limits the list of each user in addition to consumed items.

    Attributes:
        blocked: items that a user must not get.
        shown: how much is subtracted from the score of an item that the user was shown lately.
    """

    blocked: UserItems
    shown: UserItems

    @classmethod
    def of(cls, users: Histories, blocked: pl.DataFrame, shown: pl.DataFrame | None = None) -> UserLimits:
        """Index the limits by the users and items of histories; unknown users and items are left out.

        Args:
            users: histories of any number of users.
            blocked: `user_id`, `item_id`.
            shown: `user_id`, `item_id`, `value`; None: nothing was shown.
        """
        pairs = blocked.with_columns(value=pl.lit(0.0))
        return cls(UserItems.number(pairs, users), UserItems.number(pairs.clear() if shown is None else shown, users))

    def select(self, first: int, count: int) -> UserLimits:
        """Return the limits of a block of users, whose indexes start at 0."""
        return UserLimits(self.blocked.select(first, count), self.shown.select(first, count))


@dataclass(frozen=True)
class Lists:
    """The lists of a block of users as arrays, with everything that they were made from.

    Attributes:
        proposed: candidates before the union was cut.
        candidates: candidates that were ranked.
        features: of the candidates, (n_rows) float32 by name.
        scores: (n_rows) float32 that the candidates are ordered by.
        items: (n_users, length) int32, best first, -1 where there is nothing to recommend.
        item_scores: (n_users, length) float32, not increasing within a list.
        rows: (n_users, length) int64, row among the candidates; -1 where the fallback chain filled in, or nothing.
        relaxed: (n_users, length) int8, number of `rules.RELAXED_IN_ORDER` that were dropped for the rank.
        filled_by: (n_users, length) int8, step of the fallback chain that filled the rank, -1 for none.
        reasons: of each rank; empty unless requested.
    """

    proposed: CandidateRows
    candidates: CandidateRows
    features: dict[str, NDArray[np.float32]]
    scores: NDArray[np.float32]
    items: NDArray[np.int32]
    item_scores: NDArray[np.float32]
    rows: NDArray[np.int64]
    relaxed: NDArray[np.int8]
    filled_by: NDArray[np.int8]
    reasons: Reasons


@dataclass(frozen=True)
class ListMaker:
    """Makes lists over one catalogue as of one instant.

    Attributes:
        recommender: proposes and describes candidates.
        ranker: scores them.
        generation: list length and rules.
        ages_until: the instant that the age of items is counted to; None without times.
        evidence: counts over all users that reasons are checked against; None: reasons do not speak of other users.
    """

    recommender: Recommender
    ranker: Ranker
    generation: GenerationConfig
    ages_until: datetime | None
    evidence: Evidence | None = None

    def make_lists(self, users: Histories, limits: UserLimits, length: int, *, with_reasons: bool) -> Lists:
        """Make the lists of a block of users; a user's list does not depend on the other users of the block.

        Args:
            users: histories of the block.
            limits: of the same users.
            length: ranks to fill. Rules about a share of the list count its first `generation.n` ranks, so a longer
                list begins with the list that is served.
            with_reasons: False skips the reasons, which take time.
        """
        exclusions = self.recommender.exclusions(users).add(limits.blocked.starts, limits.blocked.items)
        proposed = self.recommender.propose(users, exclusions)
        candidates = self.recommender.cut(proposed)
        features = self.recommender.describe(candidates, users)
        scores = penalise_shown(candidates, self.ranker.score(features, candidates.starts), limits.shown)
        rows, relaxed = self.rules.choose(candidates, scores, self.generation.n, length)
        items, item_scores = _take_ranked(candidates, scores, rows)
        filled_by = self.fallback.fill(items, item_scores, users, exclusions)
        reasons = Reasons.none()
        if with_reasons:
            reasons = self.reason_finder.find(candidates, features, rows, items, users)
        return Lists(
            proposed,
            candidates,
            features,
            scores,
            items,
            item_scores,
            rows,
            relaxed,
            filled_by,
            reasons,
        )

    @cached_property
    def rules(self) -> Rules:
        """The rules of the generation section over the catalogue."""
        config, recommender = self.generation.rules, self.recommender
        if config.min_new_share == AUTO:
            # A night's own config may leave to the data what the training has measured.
            config = config.model_copy(update={"min_new_share": recommender.config.generation.rules.new_share})
        return Rules(
            config=config,
            values={column: mark_values(recommender.items[column])[0] for column in config.max_per_value},
            new=recommender.statistics.users <= recommender.config.candidates.new_item_users,
            ages=recommender.facts.find_ages(self.ages_until),
            embeddings=recommender.embeddings,
        )

    @cached_property
    def fallback(self) -> FallbackChain:
        """The sources that fill short lists."""
        return FallbackChain.of(self.recommender)

    @cached_property
    def reason_finder(self) -> ReasonFinder:
        """Finds the reason of each row."""
        evidence = self.evidence or Evidence.blank(self.recommender.items.height, Nearness(1.0, 1.0))
        return ReasonFinder(self.recommender, self.ranker, evidence, self.ages_until)


def _take_ranked(
    candidates: CandidateRows, scores: NDArray[np.float32], rows: NDArray[np.int64]
) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Return (n_users, length) items and scores of the chosen rows, -1 and 0 behind a short list."""
    ranked = rows >= 0
    items = np.full(rows.shape, -1, dtype=np.int32)
    items[ranked] = candidates.items[rows[ranked]]
    values = np.zeros(rows.shape, dtype=np.float32)
    values[ranked] = scores[rows[ranked]]
    # A rule may put a lower score above a higher one; the scores that are shown must not increase.
    values = np.minimum.accumulate(np.where(ranked, values, np.float32(np.inf)), axis=1, dtype=np.float32)
    values[~ranked] = 0.0
    return items, values
