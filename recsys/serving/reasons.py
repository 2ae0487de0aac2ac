"""Why an item is in a list: what may be said about the rows of lists over one catalogue, and what is said of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cached_property
from typing import NamedTuple, TypeVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array, hstack

from recsys.candidates.merge import CandidateRows
from recsys.config.plugins import SOURCES
from recsys.dataset.histories import SECONDS_PER_DAY, Histories
from recsys.dataset.values import list_named_columns, mark_values
from recsys.ranking.evidence import Evidence
from recsys.ranking.ranker import Ranker
from recsys.ranking.reasons import KINDS, SIZES, Company, Past, Texts, Values, choose_reasons, group_features
from recsys.ranking.trees import Forest
from recsys.serving.recommender import Recommender
from recsys.serving.sentences import SHIPPED, name_role

# Days that an item of the catalogue is new.
_NEW_DAYS = 30
# Fewer users make an item little known; an item above this share of the others is among the most popular.
_RARE, _MOST_POPULAR = 5, 0.95
# Places at the top of a value, users that they take, and items that a value needs to have such places.
_TOP, _TOP_USERS, _TOP_ITEMS = 10, 3, 30
_MATCH = "match "
_Number = TypeVar("_Number", np.int16, np.int32)
_EXPLAINED_TREES = 25
# What sources and features are about: a reason about the same is preferred where these add most to the score.
_SUBJECTS = {
    "texts": ("text", "tfidf", "nearest_text"),
    "people": ("als", "bpr", "item_to_item", "bm25", "ease"),
    "order": ("transitions", "sequence"),
    "popularity": ("popular", "popular_all_time", "segment_popular"),
    "new": ("new_items",),
    "repeat": ("repeat",),
}
# Subject of each reason, and how much it is preferred where nothing adds to the score; what adds most counts 1. Reasons
# that name or count nothing of the user's are for rows that have no better one, so they have no subject.
_KINDS = {
    "near": ("texts", 0.25),
    "near_two": ("texts", 0.26),
    "near_last": ("texts", 0.2),
    "pair": ("people", 0.25),
    "pair_any": ("", 0.05),
    "after": ("order", 0.25),
    "repeat": ("repeat", 0.4),
    "popular_in": ("popularity", 0.1),
    "popular": ("popularity", 0.1),
    "rising": ("popularity", 0.15),
    "popular_all_time": ("popularity", 0.05),
    "new": ("new", 0.2),
    "rare": ("", 0.0),
    "catalogue": ("", 0.0),
}
_SIZES, _OF_PLUGINS = {"one": 0.2, "many": 0.22, "any": 0.05}, 0.3


class Reasons(NamedTuple):
    """The reasons of a block's lists, arrays of shape (n_users, length).

    Attributes:
        keys: int16, index into `ReasonFinder.keys`.
        named: int32, item of the history that the reason names, -1 for none.
        others: int32, a second one, likewise.
        events: int16, the user's strongest event with the named item, index of its kind; -1 for none.
        values: int32, index into `ReasonFinder.values`, -1 for none.
        counts: int32, how many people or items the reason counts, -1 for none.
    """

    keys: NDArray[np.int16]
    named: NDArray[np.int32]
    others: NDArray[np.int32]
    events: NDArray[np.int16]
    values: NDArray[np.int32]
    counts: NDArray[np.int32]

    @classmethod
    def none(cls) -> Reasons:
        """Return the reasons of no rows."""
        return cls(*(np.zeros((0, 0), dtype=kind) for kind in (np.int16, *(np.int32,) * 2, np.int16, *(np.int32,) * 2)))


@dataclass(frozen=True)
class ReasonFinder:
    """Finds the reason of each row of the lists over one catalogue.

    Attributes:
        recommender: its sources and columns may be reasons.
        ranker: of the true reasons, one about what adds most to its scores is preferred.
        evidence: counts over all users that reasons are checked against.
        ages_until: the instant that the age of items is counted to; None without times.
    """

    recommender: Recommender
    ranker: Ranker
    evidence: Evidence
    ages_until: datetime | None

    @cached_property
    def keys(self) -> list[str]:
        """Reason keys: of every catalogue, some of each column (`tag_one tags` and so on), and of plug-ins."""
        columns = [f"{name_role(column)}_{size} {column}" for column in self._columns for size in SIZES]
        return [*KINDS, *columns, *self._of_plugins]

    @cached_property
    def values(self) -> pl.Series:
        """Values of all columns, column by column, sorted."""
        names = [mark_values(self.recommender.items[column])[1] for column in self._columns]
        return pl.concat([pl.Series([], dtype=pl.String), *names])

    @cached_property
    def value_columns(self) -> pl.Series:
        """Name of each value's column."""
        return pl.Series(self._columns, dtype=pl.String).gather(self._values.columns)

    def find(
        self,
        candidates: CandidateRows,
        features: Mapping[str, NDArray[np.float32]],
        rows: NDArray[np.int64],
        items: NDArray[np.int32],
        users: Histories,
    ) -> Reasons:
        """Return the reasons of a block's lists.

        Args:
            candidates: of the block.
            features: (n_rows) float32 by name.
            rows: (n_users, length) int64, row among the candidates, -1 for none.
            items: (n_users, length) int32, -1 for none.
            users: histories of the block.
        """
        past = Past(users.starts, users.items, users.ordered)
        strengths = self._weigh(candidates, features, rows)
        found = choose_reasons(past, items, strengths, self._texts, self._company, self._values, self._of_items)
        return Reasons(
            np.maximum(found.kinds, 0),
            _take(users.items, found.entries),
            _take(users.items, found.others),
            _take(users.strongest, found.entries),
            found.values,
            found.counts,
        )

    def _weigh(
        self, candidates: CandidateRows, features: Mapping[str, NDArray[np.float32]], rows: NDArray[np.int64]
    ) -> NDArray[np.float32]:
        """Return (n_users, length, n_keys) float32: how much each reason is preferred; NaN: not true of the row.

        Contributions are compared with the user's other rows: what all items of a list share explains none of them.
        """
        ranked = rows >= 0
        chosen, user = rows[ranked], np.nonzero(ranked)[0]
        added = self._explain(candidates, features, chosen)
        counts = np.bincount(user, minlength=1)
        for column in added.T:
            column -= (np.bincount(user, weights=column) / np.maximum(counts, 1))[user]
        np.maximum(added, 0.0, out=added)
        added /= np.maximum(added.max(axis=1, initial=0.0), 1e-12)[:, None]
        strengths = np.broadcast_to(self._preferences, (*rows.shape, len(self.keys))).copy()
        about = np.flatnonzero(self._subject_of_key >= 0)
        own = strengths[ranked]
        own[:, about] += added[:, self._subject_of_key[about]].astype(np.float32)
        for key, sources in self._of_plugins.items():
            unscored = np.isnan(candidates.scores[sources][:, chosen]).all(axis=0)
            own[unscored, self.keys.index(key)] = np.nan
            # The fallback chain has no score of a plug-in.
            strengths[~ranked, self.keys.index(key)] = np.nan
        strengths[ranked] = own
        return strengths

    def _explain(
        self, candidates: CandidateRows, features: Mapping[str, NDArray[np.float32]], chosen: NDArray[np.int64]
    ) -> NDArray[np.float64]:
        """Return (n_chosen, n_subjects) float64: what each subject adds to the score of the chosen candidates."""
        ranker, size = self.ranker, len(self._subjects)
        weighted = np.stack([features[f"{name}_z"][chosen] * weight for name, weight in ranker.blend.weights.items()])
        weighted = np.nan_to_num(weighted, nan=-np.inf)
        subjects = np.array([self._subject_of_source[name] for name in ranker.blend.weights])
        if ranker.blend_share is None:
            added = np.zeros((len(chosen), size))
            for subject, values in zip(subjects, weighted, strict=True):
                if subject >= 0:
                    added[:, subject] += np.where(np.isinf(values), 0.0, values)
            return added
        blend = ranker.blend.score(features, candidates.starts)[chosen]
        added = self._first_trees.explain(
            [blend, *(features[name][chosen] for name in ranker.features)], self._groups, size + 1
        )
        # The contribution of the blend counts for the source with the largest weighted z-score.
        largest = subjects[weighted.argmax(axis=0)]
        known = np.flatnonzero(largest >= 0)
        added[known, largest[known]] += added[known, -1]
        return added[:, :-1]

    @cached_property
    def _first_trees(self) -> Forest:
        """The first trees, which add most to the scores: explaining all of them would take too much of a night."""
        forest = self.ranker.forest
        return replace(forest, roots=forest.roots[:_EXPLAINED_TREES])

    @cached_property
    def _columns(self) -> list[str]:
        """Item columns whose values reasons name."""
        named = set(list_named_columns(self.recommender.items))
        return [name for name in self.recommender.facts.values if name in named]

    @cached_property
    def _of_plugins(self) -> dict[str, list[int]]:
        """Reason key of plug-ins -> indexes of the sources that declare it."""
        found: dict[str, list[int]] = {}
        for index, source in enumerate(self.recommender.sources):
            if source.name not in SOURCES and source.reason not in SHIPPED:
                found.setdefault(source.reason, []).append(index)
        return found

    @cached_property
    def _subjects(self) -> list[str]:
        return [*_SUBJECTS, *(_MATCH + column for column in self._columns), *self._of_plugins]

    @cached_property
    def _subject_of_key(self) -> NDArray[np.int64]:
        """(n_keys) int64, index of the subject, -1 for none."""
        names = [subject for subject, _ in _KINDS.values()]
        names += [_MATCH + column if size != "any" else "" for column in self._columns for size in SIZES]
        indexes = {subject: index for index, subject in enumerate(self._subjects)}
        return np.array([indexes.get(name, -1) for name in (*names, *self._of_plugins)], dtype=np.int64)

    @cached_property
    def _preferences(self) -> NDArray[np.float32]:
        """(n_keys) float32, preference of each reason by itself."""
        own = [weight for _, weight in _KINDS.values()]
        others = [*_SIZES.values()] * len(self._columns) + [_OF_PLUGINS] * len(self._of_plugins)
        return np.array([*own, *others], dtype=np.float32)

    @cached_property
    def _subject_of_source(self) -> dict[str, int]:
        """Index of the subject of each source, -1 for none."""
        own = {name: subject for subject, names in _SUBJECTS.items() for name in names}
        found = {source.name: own.get(source.name, source.reason) for source in self.recommender.sources}
        indexes = {subject: index for index, subject in enumerate(self._subjects)}
        return {name: indexes.get(subject, -1) for name, subject in found.items()}

    @cached_property
    def _groups(self) -> NDArray[np.int32]:
        """Index of the subject of the blend and of each feature of the trees; -1 for none."""
        indexes = self._subject_of_source | {
            subject: index for index, subject in enumerate(self._subjects) if subject.startswith(_MATCH)
        }
        names = group_features(self.ranker.features, self.recommender.source_names)
        return np.array([len(self._subjects), *(indexes.get(name, -1) for name in names)], dtype=np.int32)

    @cached_property
    def _texts(self) -> Texts:
        recommender, nearness = self.recommender, self.evidence.nearness
        terms = recommender.candidate_models.neighbours.get("tfidf")
        similarity = csr_array((1, 1), dtype=np.float32) if terms is None else terms.similarity.sorted_indices()
        title = pl.col("title").str.strip_chars()
        titles = recommender.items.select(
            pl.when(title != "").then(title.str.to_lowercase().rank("dense").cast(pl.Int32)).otherwise(-1)
        )
        return Texts(
            titles.to_series().to_numpy().astype(np.int32),
            recommender.embeddings,
            np.float32(nearness.embeddings),
            terms is not None,
            similarity.indptr,
            similarity.indices,
            similarity.data,
            np.float32(nearness.terms),
        )

    @cached_property
    def _company(self) -> Company:
        pairs = self.evidence.pairs
        users = self.recommender.statistics.users
        return Company(pairs.indptr, pairs.indices, pairs.data, self.evidence.after, users, self.evidence.people)

    @cached_property
    def _values(self) -> Values:
        facts, size = self.recommender.facts, self.recommender.items.height
        # An empty matrix, for catalogues without columns.
        parts = [facts.values[column] for column in self._columns] or [csr_array((size, 0), dtype=np.float32)]
        matrix = csr_array(hstack(parts, format="csr")).sorted_indices()
        columns = np.repeat(np.arange(len(parts), dtype=np.int32), [part.shape[1] for part in parts])
        counts = np.bincount(matrix.indices, minlength=matrix.shape[1])
        shares = (counts / max(size, 1)).astype(np.float32)
        top = _mark_top(matrix, counts, self.recommender.statistics.users)
        return Values(matrix.indptr, matrix.indices, top, columns, shares, len(self._columns))

    @cached_property
    def _of_items(self) -> NDArray[np.int32]:
        """(n_item_kinds, n_items) int32: what the reasons of `ITEM_KINDS` count, 0 for nothing; -1: not true."""
        facts, evidence, users = self.recommender.facts, self.evidence, self.recommender.statistics.users
        age = np.full(len(users), np.nan)
        if self.ages_until is not None:
            age = (self.ages_until.timestamp() - facts.joined) / SECONDS_PER_DAY
        popular, rising = evidence.popular, evidence.rising
        return np.stack(
            [
                np.where(popular[1] > 0, popular[0], -1),
                np.where(rising[2] > 0, rising[0], -1),
                np.where((users > 0) & (facts.percentiles >= _MOST_POPULAR), 0, -1),
                np.where((age >= 0) & (age <= _NEW_DAYS), 0, -1),
                np.where(users < _RARE, 0, -1),
            ]
        ).astype(np.int32)


def _take(values: NDArray[_Number], entries: NDArray[np.int64]) -> NDArray[_Number]:
    """Return the values of entries, -1 where there is none."""
    if not len(values):
        return np.full(entries.shape, -1, dtype=values.dtype)
    taken = values[np.maximum(entries, 0)]
    taken[entries < 0] = -1
    return taken


def _mark_top(matrix: csr_array, counts: NDArray[np.int64], users: NDArray[np.float32]) -> NDArray[np.bool_]:
    """Return for each entry whether its item is among the most popular ones with its value, whoever wins a tie."""
    items = np.repeat(np.arange(matrix.shape[0]), np.diff(matrix.indptr))
    values, popularity = matrix.indices, users[items]
    order = np.lexsort((-popularity, values))
    starts = np.concatenate([[0], np.cumsum(counts)])
    # Of equally popular items the last place counts for all.
    ends = np.flatnonzero(
        np.append((np.diff(values[order]) != 0) | (np.diff(popularity[order]) != 0), np.ones(min(len(order), 1), bool))
    )
    last = ends[np.searchsorted(ends, np.arange(len(order)))] if len(order) else ends
    top: NDArray[np.bool_] = np.zeros(len(order), dtype=np.bool_)
    top[order] = last - starts[values[order]] < _TOP
    top &= (popularity >= _TOP_USERS) & (counts[values] >= _TOP_ITEMS)
    return top
