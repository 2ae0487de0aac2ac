"""The final list by score and by rules: limits per value, a share of new items, item age, diversity."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys.candidates.group_stats import find_best
from recsys.candidates.merge import CandidateRows
from recsys.config import RulesConfig
from recsys.dataset.user_items import UserItems
from recsys.storage.compilation import compiled

# Dropped in this order where they would leave a list short.
RELAXED_IN_ORDER = ("min_new_share", "max_per_value", "max_item_age_days")


@dataclass(frozen=True)
class Rules:
    """Rules that lists must meet whatever the scores.

    Attributes:
        config: the rules that are set.
        values: of each column that `max_per_value` names, (n_items, n_values) sparse, 1 where the item has the value.
        new: (n_items) bool, few users have interacted with the item.
        ages: (n_items) float32, days since the item joined; NaN counts as young.
        embeddings: (n_items, embedding_size) float32, unit rows.
    """

    config: RulesConfig
    values: Mapping[str, csr_array]
    new: NDArray[np.bool_]
    ages: NDArray[np.float32]
    embeddings: NDArray[np.float32]

    def choose(
        self, rows: CandidateRows, scores: NDArray[np.float32], n: int, length: int | None = None
    ) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
        """Choose each user's list, best first.

        Where all rules together leave a list short, they are dropped in the order of `RELAXED_IN_ORDER`, each with
        those before it, and only for the ranks that are still empty. With diversity the next item is the one with the
        largest (1 - diversity) * score - diversity * largest cosine with the items above it (Carbonell and Goldstein
        1998, SIGIR), the scores of the user's best `diversity_pool` scaled to 0 … 1.

        Args:
            rows: candidates of a block of users.
            scores: (n_rows) float32, higher is better; NaN is never chosen.
            n: length of the list that is served: `min_new_share` is a share of its ranks.
            length: ranks to fill; None: n. A longer list begins with the list of n ranks.

        Returns:
            (n_users, length) int64 row indexes, -1 where no candidate is left; (n_users, length) int8, how many of
            `RELAXED_IN_ORDER` were dropped for the row.
        """
        length = n if length is None else length
        shape = (len(rows.starts) - 1, length)
        if not self.active:
            return find_best(scores, rows.starts, length), np.zeros(shape, dtype=np.int8)
        config = self.config
        order = find_best(scores, rows.starts, int(np.diff(rows.starts).max(initial=0)))
        best, relaxed = np.full(shape, -1, dtype=np.int64), np.zeros(shape, dtype=np.int8)
        _choose(
            order,
            rows.items,
            scores,
            (self._values.indptr, self._values.indices, self._limits),
            # Without the tolerance, 7 % of 100 would be 8.
            (n, int(np.ceil(config.new_share * n - 1e-9))),
            self.new,
            self._stale,
            np.float32(config.diversity),
            config.diversity_pool,
            self.embeddings,
            best,
            relaxed,
        )
        return best, relaxed

    @property
    def active(self) -> bool:
        """Whether any rule is set."""
        config = self.config
        return bool(config.max_per_value or config.new_share or config.max_item_age_days or config.diversity)

    @cached_property
    def _values(self) -> csr_array:
        """Values of all columns, as columns of one matrix."""
        if not self.config.max_per_value:
            return csr_array((len(self.new), 1), dtype=np.float32)
        return csr_array(hstack([self.values[column] for column in self.config.max_per_value]))

    @cached_property
    def _limits(self) -> NDArray[np.int32]:
        limits = [np.full(self.values[column].shape[1], most) for column, most in self.config.max_per_value.items()]
        return np.concatenate([*limits, np.zeros(1)]).astype(np.int32)

    @cached_property
    def _stale(self) -> NDArray[np.bool_]:
        most = self.config.max_item_age_days
        return np.zeros(len(self.ages), dtype=bool) if most is None else self.ages > most

    def describe(self, dropped: int) -> str:
        """Return the `variant` of a row for which the first `dropped` of `RELAXED_IN_ORDER` were dropped."""
        names = [name for name in RELAXED_IN_ORDER[:dropped] if getattr(self.config, name)]
        return "ranker" + (f" without {', '.join(names)}" if names else "")


def penalise_shown(rows: CandidateRows, scores: NDArray[np.float32], shown: UserItems) -> NDArray[np.float32]:
    """Return (n_rows) float32 scores, each lowered by the value of its user and item among those shown lately."""
    lowered = scores.copy()
    highest = int(rows.items.max(initial=0))
    _penalise(rows.starts, rows.items, shown.starts, shown.items, shown.values, highest, lowered)
    return lowered


@compiled()
def _penalise(starts, items, shown_starts, shown_items, values, highest, scores):  # type: ignore[no-untyped-def]
    less, mark = np.zeros(highest + 1, dtype=np.float32), np.zeros(highest + 1, dtype=np.int32)
    for user in range(len(starts) - 1):
        for entry in range(shown_starts[user], shown_starts[user + 1]):
            item = shown_items[entry]
            if item <= highest:
                mark[item], less[item] = user + 1, values[entry]
        for row in range(starts[user], starts[user + 1]):
            if mark[items[row]] == user + 1:
                scores[row] -= less[items[row]]


@compiled()
def _choose(  # type: ignore[no-untyped-def]
    order, items, scores, limited, newness, new, stale, diversity, pool, embeddings, best, relaxed
):
    pointers, values, limits = limited
    served, need_new = newness
    counts, mark = np.zeros(len(limits), dtype=np.int32), np.zeros(len(limits), dtype=np.int32)
    n_users, n_ranks = best.shape
    chosen = np.zeros(order.shape[1], dtype=np.bool_)
    worth, alike = np.zeros(order.shape[1], dtype=np.float32), np.zeros(order.shape[1], dtype=np.float32)
    for user in range(n_users):
        size = 0
        while size < order.shape[1] and order[user, size] >= 0:
            size += 1
        chosen[:size] = False
        close = min(pool, size) if diversity > 0 else 0
        _scale_worth(order[user], scores, close, worth, alike)
        length, n_new = 0, 0
        for level in range(4):
            while length < n_ranks:
                # Counts in the served ranks only; later ranks are not limited.
                only_new = level < 1 and length < served and need_new - n_new >= served - length
                rules = (level, only_new, close, diversity, user + 1)
                pick = _pick(order[user, :size], items, chosen, rules, new, stale, limited, counts, mark, worth, alike)
                if pick < 0:
                    break
                chosen[pick] = True
                item = items[order[user, pick]]
                best[user, length], relaxed[user, length] = order[user, pick], level
                length += 1
                n_new += new[item]
                for entry in range(pointers[item], pointers[item + 1]):
                    value = values[entry]
                    if mark[value] != user + 1:
                        mark[value], counts[value] = user + 1, 0
                    counts[value] += 1
                _compare_with(item, order[user], items, chosen, close, embeddings, alike)


@compiled()
def _scale_worth(order, scores, close, worth, alike):  # type: ignore[no-untyped-def]
    # From 1 for the best to 0 for the last of the candidates that diversity may exchange.
    if close:
        high, low = scores[order[0]], scores[order[close - 1]]
        for rank in range(close):
            worth[rank] = (scores[order[rank]] - low) / (high - low) if high > low else 1.0
            alike[rank] = 0.0


@compiled()
def _pick(order, items, chosen, rules, new, stale, limited, counts, mark, worth, alike):  # type: ignore[no-untyped-def]
    # The index of the next candidate that the rules of this level allow, -1 if there is none.
    pointers, values, limits = limited
    level, only_new, close, diversity, owner = rules
    pick, most = -1, np.float32(-np.inf)
    for rank in range(len(order)):
        if chosen[rank]:
            continue
        item = items[order[rank]]
        if (only_new and not new[item]) or (level < 3 and stale[item]):
            continue
        full = False
        if level < 2:
            for entry in range(pointers[item], pointers[item + 1]):
                value = values[entry]
                full |= mark[value] == owner and counts[value] >= limits[value]
        if full:
            continue
        if rank >= close:
            return rank if pick < 0 else pick
        value_of = (np.float32(1.0) - diversity) * worth[rank] - diversity * alike[rank]
        if value_of > most:
            pick, most = rank, value_of
    return pick


@compiled()
def _compare_with(item, order, items, chosen, close, embeddings, alike):  # type: ignore[no-untyped-def]
    # Similarity of the remaining candidates to the chosen items: the largest cosine with any of them.
    for rank in range(close):
        if not chosen[rank]:
            other, cosine = items[order[rank]], np.float32(0.0)
            for cell in range(embeddings.shape[1]):
                cosine += embeddings[item, cell] * embeddings[other, cell]
            alike[rank] = max(alike[rank], cosine)
