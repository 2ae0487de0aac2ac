"""Facts about each item that the features need: gathered once per catalogue, read for every block of users."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

import numpy as np
import polars as pl
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.models import CandidateModels
from recsys.candidates.statistics import ItemStatistics
from recsys.dataset.histories import SECONDS_PER_DAY, find_known
from recsys.dataset.item_vectors import Vectors, name_vectors, read_vectors
from recsys.dataset.values import mark_values, read_numbers
from recsys.features.feature import CandidateFeature

# Characters of a text that its script is detected from.
_CHARACTERS = 200
# Japanese mixes kana and Han, so kana decide.
_SCRIPTS = {
    "Latin": r"\p{Latin}",
    "Cyrillic": r"\p{Cyrillic}",
    "Greek": r"\p{Greek}",
    "Arabic": r"\p{Arabic}",
    "Hebrew": r"\p{Hebrew}",
    "Devanagari": r"\p{Devanagari}",
    "Bengali": r"\p{Bengali}",
    "Tamil": r"\p{Tamil}",
    "Thai": r"\p{Thai}",
    "Hangul": r"\p{Hangul}",
    "Japanese": r"[\p{Hiragana}\p{Katakana}]",
    "Han": r"\p{Han}",
}


@dataclass(frozen=True)
class Neighbours:
    """Which items point at which.

    Attributes:
        similarity: (n_items, n_items) float32 sparse; row = item in the history, column = candidate.
        known: (n_items) bool, the item has neighbours or is a neighbour.
    """

    similarity: csr_array
    known: NDArray[np.bool_]

    @classmethod
    def from_similarity(cls, similarity: csr_array) -> Neighbours:
        """Take a neighbour model's matrix."""
        named = np.bincount(similarity.indices, minlength=similarity.shape[1]) > 0
        return cls(similarity, named | (np.diff(similarity.indptr) > 0))


@dataclass(frozen=True)
class ItemFacts:
    """The catalogue as the features see it, as of one cutoff.

    Attributes:
        statistics: of all users' histories.
        joined: (n_items) float64, seconds from 1970 to when the item joined the catalogue; NaN: it was always there.
        text_lengths: (n_items) float32, characters of title and description.
        scripts: (n_items, n_scripts) float32 sparse: 1 for the script of most letters of title and description.
        vectors: `text`, of the sources that offer some (`als`), and `vector_NAME` of the items' vectors from elsewhere.
        neighbours: of the sources that offer some (`item_to_item` and `transitions`).
        values: of `tags` and of each attribute, (n_items, n_values) float32 sparse: 1 where the item has the value.
        numbers: of each attribute, (n_items) float64: its value; NaN where that is not a number.
        spreads: of each attribute, the standard deviation of its numbers over the items known at the cutoff.
        items: `Items`, the catalogue.
        extra_features: of plug-ins, described after the built-in ones.
    """

    statistics: ItemStatistics
    joined: NDArray[np.float64]
    text_lengths: NDArray[np.float32]
    scripts: csr_array
    vectors: dict[str, Vectors]
    neighbours: dict[str, Neighbours]
    values: dict[str, csr_array]
    numbers: dict[str, NDArray[np.float64]]
    spreads: dict[str, float]
    items: pl.DataFrame
    extra_features: Sequence[CandidateFeature] = ()

    @classmethod
    def gather(
        cls,
        items: pl.DataFrame,
        attributes: Sequence[str],
        statistics: ItemStatistics,
        embeddings: NDArray[np.float32],
        candidate_models: CandidateModels,
        cutoff: datetime | None,
        extra_features: Sequence[CandidateFeature] = (),
    ) -> ItemFacts:
        """Gather what the features need from the catalogue and the models over it.

        Args:
            items: `Items` with a column for each attribute.
            attributes: names of those columns.
            statistics: of all users' histories on the catalogue.
            embeddings: (n_items, embedding_size) float32, unit rows.
            candidate_models: models over the catalogue.
            cutoff: the instant all of this is as of; None: every item counts as known.
            extra_features: of plug-ins.
        """
        attributes = sorted(attributes)
        joined = items["created_at"].to_physical().cast(pl.Float64) / 1e6
        numbers = {name: read_numbers(items[name]) for name in attributes}
        known = find_known(items, cutoff).to_numpy()
        texts = pl.col("title") + " " + pl.col("description")
        return cls(
            statistics=statistics,
            joined=joined.fill_null(float("nan")).to_numpy(),
            text_lengths=items.select(texts.str.len_chars().cast(pl.Float32) - 1).to_series().to_numpy(),
            scripts=mark_values(_find_scripts(items.select(texts.str.head(_CHARACTERS)).to_series()))[0],
            vectors={
                "text": Vectors(embeddings, np.any(embeddings, axis=1)),
                **{name: Vectors.normalise(rows) for name, rows in candidate_models.item_vectors.items()},
                **{f"vector_{name}": vectors for name, vectors in read_vectors(items).items()},
            },
            neighbours={
                name: Neighbours.from_similarity(matrix) for name, matrix in candidate_models.item_neighbours.items()
            },
            values={name: mark_values(items[name])[0] for name in ("tags", *attributes)},
            numbers=numbers,
            spreads={name: _find_spread(values[known]) for name, values in numbers.items()},
            items=items,
            extra_features=extra_features,
        )

    @property
    def attributes(self) -> list[str]:
        """Names of the attributes, sorted."""
        return list(self.numbers)

    @cached_property
    def modalities(self) -> list[str]:
        """Names of the items' vectors from elsewhere."""
        return list(name_vectors(self.items))

    @cached_property
    def percentiles(self) -> NDArray[np.float32]:
        """(n_items) float32, share of the items with users that have fewer users."""
        users = self.statistics.users
        with_users = np.sort(users[users > 0])
        return (np.searchsorted(with_users, users, side="left") / max(1, len(with_users))).astype(np.float32)

    @cached_property
    def lately(self) -> dict[str, NDArray[np.float64]]:
        """Of each attribute, (n_items) its number minus the mean weighted by recent users, in spreads; else NaN.

        So a number that grows with time, such as a year, means the same tonight as in the windows of the training.
        """
        recent = self.statistics.recent
        return {name: _compare(numbers, recent, self.spreads[name]) for name, numbers in self.numbers.items()}

    @cached_property
    def users(self) -> NDArray[np.float32]:
        """(n_items) float32, log of one plus the item's users."""
        return np.log1p(self.statistics.users)

    @cached_property
    def recent(self) -> NDArray[np.float32]:
        """(n_items) float32, the same with each user's last interaction halved every half-life."""
        return np.log1p(self.statistics.recent)

    @cached_property
    def recent_share(self) -> NDArray[np.float32]:
        """(n_items) float32, share of the item's users that remains after halving; NaN without users."""
        users = self.statistics.users
        return np.where(users > 0, self.statistics.recent / np.maximum(users, 1), np.float32(np.nan))

    def find_ages(self, reference: datetime | None) -> NDArray[np.float32]:
        """Return (n_items) float32 days since the item joined the catalogue, else since its first event, else NaN."""
        if reference is None:
            return self.statistics.first_age
        # All users of a night have the same reference.
        if reference not in self._ages:
            listed = ((reference.timestamp() - self.joined) / SECONDS_PER_DAY).astype(np.float32)
            self._ages[reference] = np.where(np.isnan(listed), self.statistics.first_age, listed)
        return self._ages[reference]

    @cached_property
    def _ages(self) -> dict[datetime, NDArray[np.float32]]:
        return {}


def _find_scripts(texts: pl.Series) -> pl.Series:
    """Return the script of most letters of each text; empty where no letter is of a known one."""
    counts = {name: texts.str.count_matches(pattern).to_numpy().astype(np.int64) for name, pattern in _SCRIPTS.items()}
    counts["Japanese"] += np.where(counts["Japanese"] > 0, counts["Han"], 0)
    table = np.column_stack(list(counts.values()))
    return pl.Series(np.where(table.any(axis=1), np.array(list(counts))[table.argmax(axis=1)], ""))


def _compare(numbers: NDArray[np.float64], recent: NDArray[np.float32], spread: float) -> NDArray[np.float64]:
    weights = np.where(np.isnan(numbers), 0.0, recent)
    total = weights.sum()
    if not total or not spread:
        return np.full(len(numbers), np.nan)
    lately: NDArray[np.float64] = (numbers - (weights * np.nan_to_num(numbers)).sum() / total) / spread
    return lately


def _find_spread(numbers: NDArray[np.float64]) -> float:
    numbers = numbers[~np.isnan(numbers)]
    return float(numbers.std()) if len(numbers) else 0.0
