"""Why an item is in a list: the reason keys of sources and columns, and the key of each row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.merge import CandidateRows
from recsys.candidates.source import Source
from recsys.dataset.histories import Histories
from recsys.ranking.ranker import Ranker
from recsys.ranking.reasons import find_nearest, group_features
from recsys.serving.recommender import Recommender

# Sources that compare texts: their reason names an item of the history if its text is near enough.
_TEXT_SOURCES = ("text", "new_items", "nearest_text", "tfidf")
_SMALLEST_COSINE = 0.3
_MATCH = "match "


@dataclass(frozen=True)
class ReasonFinder:
    """Finds the reason of each row of the lists over one catalogue.

    Attributes:
        recommender: its sources and columns may be reasons.
        ranker: the reason is what adds most to its scores.
        steps: the sources of the fallback chain.
    """

    recommender: Recommender
    ranker: Ranker
    steps: Sequence[Source]

    @cached_property
    def keys(self) -> list[str]:
        """Reason keys: of the sources, of the fallback steps, and `match COLUMN` of columns that may match."""
        sources = [source.reason for source in (*self.recommender.sources, *self.steps)]
        return list(dict.fromkeys([*sources, *(_MATCH + column for column in self._columns)]))

    def find(
        self,
        candidates: CandidateRows,
        features: Mapping[str, NDArray[np.float32]],
        rows: NDArray[np.int64],
        items: NDArray[np.int32],
        filled_by: NDArray[np.int8],
        users: Histories,
    ) -> tuple[NDArray[np.int16], NDArray[np.int32]]:
        """Return the reasons of a block's lists, and the item of the history that each reason names.

        Args:
            candidates: of the block.
            features: (n_rows) float32 by name.
            rows: (n_users, length) int64, row among the candidates, -1 for none.
            items: (n_users, length) int32, -1 for none.
            filled_by: (n_users, length) int8, fallback step that filled the rank, -1 for none.
            users: histories of the block.

        Returns:
            (n_users, length) int16, index into `keys`; (n_users, length) int32, item index, -1 for none.
        """
        ranked = rows >= 0
        reasons, named_items = np.zeros(rows.shape, dtype=np.int16), np.full(rows.shape, -1, dtype=np.int32)
        reasons[ranked] = self._select(candidates, features, rows[ranked], np.nonzero(ranked)[0])
        for step, source in enumerate(self.steps):
            reasons[filled_by == step] = self._index[source.reason]
        listed = items >= 0
        user, rank = np.nonzero(listed)
        by_text = np.isin(reasons[listed], self._by_text)
        nearest = find_nearest(
            user[by_text], items[listed][by_text], users, self.recommender.embeddings, _SMALLEST_COSINE
        )
        named_items[user[by_text], rank[by_text]] = nearest
        return reasons, named_items

    def _select(
        self,
        candidates: CandidateRows,
        features: Mapping[str, NDArray[np.float32]],
        chosen: NDArray[np.int64],
        users: NDArray[np.int64],
    ) -> NDArray[np.int16]:
        """Return the reason that adds most to each chosen row, compared with the user's other rows.

        Contributions that all items of a list share, such as their popularity, explain none of them. If nothing adds
        more than the user's average, the reason is the source that ranks the item highest.
        """
        ranker, ranks = self.ranker, candidates.ranks[:, chosen]
        highest = np.where(ranks > 0, ranks, np.iinfo(np.uint16).max).argmin(axis=0)
        first: NDArray[np.int16] = self._of_source[highest].astype(np.int16)
        if ranker.blend_share is None:
            return first
        picked = {name: column[chosen] for name, column in features.items()}
        blend = ranker.blend.score(features, candidates.starts)[chosen]
        columns = [blend, *(picked[name] for name in ranker.features)]
        added = ranker.forest.explain(columns, self._groups, len(self.keys) + 1)
        # The contribution of the blend counts for the source with the largest weighted z-score.
        weighted = np.stack([picked[f"{name}_z"] * weight for name, weight in ranker.blend.weights.items()])
        blended = np.array([self._by_name[name] for name in ranker.blend.weights])
        largest = blended[np.nan_to_num(weighted, nan=-np.inf).argmax(axis=0)]
        added[np.arange(len(chosen)), largest] += added[:, -1]
        added = added[:, :-1]
        counts = np.bincount(users, minlength=1)
        for column in added.T:
            column -= (np.bincount(users, weights=column) / np.maximum(counts, 1))[users]
        # A source that does not score the item, or a column that does not match, cannot be the reason.
        for reason in np.unique(self._of_source):
            unscored = np.isnan(candidates.scores[self._of_source == reason][:, chosen]).all(axis=0)
            added[unscored, reason] = 0.0
        for name in self._columns:
            added[~(picked[f"match_{name}"] > 0), self._index[_MATCH + name]] = 0.0
        best: NDArray[np.int16] = np.where(added.max(axis=1, initial=0.0) > 0, added.argmax(axis=1), first).astype(
            np.int16
        )
        return best

    @cached_property
    def _index(self) -> dict[str, int]:
        return {key: index for index, key in enumerate(self.keys)}

    @cached_property
    def _by_name(self) -> dict[str, int]:
        """Index of the reason of each source, by the source's name."""
        return {source.name: self._index[source.reason] for source in self.recommender.sources}

    @cached_property
    def _of_source(self) -> NDArray[np.int64]:
        """(n_sources) int64, index of each source's reason; several sources may share one."""
        return np.array([self._index[source.reason] for source in self.recommender.sources], dtype=np.int64)

    @cached_property
    def _columns(self) -> list[str]:
        """Item columns that a feature compares with those of the history."""
        return [name.removeprefix("match_") for name in self.ranker.features if name.startswith("match_")]

    @cached_property
    def _groups(self) -> NDArray[np.int32]:
        """Index of the reason of the blend and of each feature of the trees; -1 for none."""
        names = group_features(self.ranker.features, self.recommender.source_names)
        indexes = self._by_name | {_MATCH + name: self._index[_MATCH + name] for name in self._columns}
        return np.array([len(self.keys), *(indexes.get(name, -1) for name in names)], dtype=np.int32)

    @cached_property
    def _by_text(self) -> list[int]:
        sources = (*self.recommender.sources, *self.steps)
        return sorted({self._index[source.reason] for source in sources if source.name in _TEXT_SOURCES})
