"""Sources: each scores the whole catalogue for a run of users, in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.index import IndexedScores, ItemIndex
from recsys.candidates.models import CandidateModels
from recsys.candidates.scores import DenseScores, Scores, SharedScores, add_up
from recsys.candidates.statistics import ItemStatistics, SegmentStatistics, decay_by_age
from recsys.collab.als import AlsModel
from recsys.collab.bpr import BprModel
from recsys.collab.factor_cache import FactorCache
from recsys.collab.neighbours import NeighbourModel
from recsys.config import CandidatesConfig, InterestConfig
from recsys.dataset.histories import Histories
from recsys.text.interest import InterestModel

# Users in one matrix product, and looked at together.
BLOCK = 128
_READ_LATELY = "Its description fits what you read lately"


class Source(Protocol):
    """Something that knows which items a user may want.

    Attributes:
        name: one of `config.SOURCES`, or that of a baseline; its columns are `{name}_score` and `{name}_rank`.
        reason: the sentence shown to a user for an item that this source found first.
    """

    name: str
    reason: str

    def score(self, histories: Histories) -> Scores:
        """Return what the source says of each user and item."""


def multiply(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (n_users, n_items) float32 dot products, on the device that torch would use.

    Users go through in blocks of one size, the last one filled up: a product's last bits depend on how many rows it
    has, and a user's scores may not depend on who stands beside.
    """
    device = "cuda" if torch.cuda.is_available() else "cpu"
    product = np.empty((len(users), len(items)), dtype=np.float32)
    with torch.inference_mode():
        columns = torch.from_numpy(items).to(device).T
        for start in range(0, len(users), BLOCK):
            block = np.zeros((BLOCK, users.shape[1]), dtype=np.float32)
            some = users[start : start + BLOCK]
            block[: len(some)] = some
            product[start : start + BLOCK] = (torch.from_numpy(block).to(device) @ columns).cpu().numpy()[: len(some)]
    return product


def score_items(
    users: NDArray[np.float32], unscored: NDArray[np.bool_], items: ItemIndex, n_items: int, *, approximate: bool
) -> Scores:
    """Return the dot products of users and items; nothing is said to unscored users.

    Args:
        users: (n_users, size) float32.
        unscored: (n_users) bool.
        items: of a catalogue of n_items.
        n_items: how many the catalogue has.
        approximate: the best are looked for with the index instead of among all.
    """
    if approximate:
        return IndexedScores(users, unscored, items, n_items)
    scores = multiply(users, items.vectors)
    scores[unscored] = -np.inf
    return DenseScores(scores, n_items, items.items)


class AlsSource:
    """Dot products of folded-in user factors and item factors."""

    name = "als"
    reason = "People with your taste chose it"

    def __init__(self, model: AlsModel, approximate_from: int | None = None, cache: FactorCache | None = None) -> None:
        """Take the model, the number of known items from which search is approximate, and a cache of factors."""
        self._model = model
        self._cache = cache
        known = np.flatnonzero(~np.isnan(model.item_factors[:, 0])).astype(np.int32)
        self._index = ItemIndex(model.item_factors[known], known)
        self._approximate = approximate_from is not None and len(known) >= approximate_from

    def score(self, histories: Histories) -> Scores:
        """Score known items for users with a history of known items."""
        users = self._model.fold_in(histories, self._cache)
        return score_items(
            users, np.asarray(~users.any(axis=1)), self._index, histories.n_items, approximate=self._approximate
        )


class BprSource:
    """Dot products of histories' mean item factors and item factors, plus biases."""

    name = "bpr"
    reason = "People with your taste prefer it"

    def __init__(self, model: BprModel) -> None:
        self._model = model

    def score(self, histories: Histories) -> Scores:
        """Score known items for users with a history of known items."""
        # Users and items that the model does not know are NaN throughout, and so are their products.
        scores = multiply(self._model.user_factors(histories), self._model.item_factors)
        scores += self._model.item_biases
        return DenseScores.read(scores)


class NeighbourSource:
    """Sums over the history of an item-by-item matrix."""

    def __init__(self, name: str, reason: str, model: NeighbourModel) -> None:
        self.name = name
        self.reason = reason
        self._model = model

    def score(self, histories: Histories) -> Scores:
        """Score items that the history speaks for."""
        weights = histories.weigh_steps(self._model.history_decay)
        return add_up(histories.starts, histories.items, weights, self._model.similarity)


class InterestSource:
    """Interest scores: what the history asks for."""

    def __init__(
        self,
        name: str,
        reason: str,
        model: InterestModel,
        embeddings: NDArray[np.float32],
        approximate_from: int | None = None,
    ) -> None:
        """Take the model, the texts' embeddings, and the number of items from which on not all are looked at."""
        self.name = name
        self.reason = reason
        self._model = model
        self._approximate_from = approximate_from
        self._items = model.item_vectors(embeddings) if model.speaks else None
        self._index = self.index_some(np.arange(len(embeddings), dtype=np.int32))

    def index_some(self, items: NDArray[np.int32]) -> ItemIndex | None:
        """Return some items by number, rising, ready to be scored; None before training."""
        if self._items is None:
            return None
        return ItemIndex(self._items if len(items) == len(self._items) else self._items[items], items)

    def score(self, histories: Histories) -> Scores:
        """Score every item, touched by anyone or not, for users with a history; before training nothing is said."""
        return self.score_some(histories, self._index)

    def score_some(self, histories: Histories, index: ItemIndex | None) -> Scores:
        """Score only what `index_some` made ready."""
        if self._items is None or index is None:
            return DenseScores(np.zeros((histories.n_users, 0), dtype=np.float32), histories.n_items)
        approximate = self._approximate_from is not None and len(index.items) >= self._approximate_from
        users = self._model.user_vectors(histories, self._items)
        return score_items(users, histories.lengths == 0, index, histories.n_items, approximate=approximate)


class ProfileSource(InterestSource):
    """Plain cosines of a history's mean embedding, newest items most, with each item's: nothing is learned.

    A baseline: what the checkpoint knows as it came shows what fine-tuning and interest model add.
    """

    def __init__(self, name: str, embeddings: NDArray[np.float32], config: InterestConfig | None = None) -> None:
        # A plain interest model that has not been trained is just that; how far it looks back is the config's to say.
        given = {} if config is None else config.model_dump(include={"history_length", "history_decay"})
        model = InterestModel(embeddings.shape[1], InterestConfig(**given))
        super().__init__(name, _READ_LATELY, model, embeddings)


class NearestTextSource:
    """The largest cosine of an item's text with those of the user's newest items: nothing is learned.

    Where a mean of the history lies between its items, this stays close to one of them.
    """

    name = "nearest_text"
    reason = "Its description is close to one you had lately"

    def __init__(self, embeddings: NDArray[np.float32], length: int, decay: float) -> None:
        """Take (n_items, embedding_size) float32 unit rows, how many items to look back on, and each step's weight."""
        self._embeddings = embeddings
        self._length = length
        self._decay = decay

    def score(self, histories: Histories) -> Scores:
        """Score every item by the newest items other than itself, each cosine `decay` times less per step back.

        Without an order the items are an arbitrary few, and weigh the same.
        """
        best = np.full((histories.n_users, histories.n_items), np.nan, dtype=np.float32)
        for step, items in enumerate(histories.recent_items(self._length).T):
            weight = self._decay**step if histories.ordered else 1.0
            vectors = self._embeddings[items] * np.float32(weight)
            vectors[items < 0] = np.nan
            cosines = multiply(vectors, self._embeddings)
            # Of an item to itself; where there is no item the row is NaN already.
            cosines[np.arange(len(items)), items] = np.nan
            np.fmax(best, cosines, out=best)
        return DenseScores.read(best)


class NewItemsSource:
    """Interest scores of the items that hardly anyone has touched yet."""

    name = "new_items"
    reason = "New, and its description fits you"

    def __init__(self, text: InterestSource, statistics: ItemStatistics, at_most: int) -> None:
        self._text = text
        self._index = text.index_some(np.flatnonzero(statistics.users <= at_most).astype(np.int32))

    def score(self, histories: Histories) -> Scores:
        """Score items with at most `new_item_users` users."""
        return self._text.score_some(histories, self._index)


class PopularSource:
    """What everybody takes; the same for each user."""

    def __init__(self, name: str, reason: str, weights: NDArray[np.float32]) -> None:
        """Take (n_items) float32 weights: 0 where nobody touched the item."""
        self.name = name
        self.reason = reason
        self._row = np.where(weights > 0, weights, np.float32(np.nan))
        self._order = np.argsort(-weights, kind="stable")[: int((weights > 0).sum())].astype(np.int32)

    def score(self, histories: Histories) -> Scores:
        """Score every touched item by its weight."""
        return SharedScores(self._row, self._order, histories.n_users)


class SegmentPopularSource:
    """What the users of the same segment take lately."""

    name = "segment_popular"
    reason = "Popular right now with people of your interests"

    def __init__(self, segments: SegmentStatistics | None) -> None:
        """Take the segments; None says nothing."""
        self._segments = segments

    def score(self, histories: Histories) -> Scores:
        """Score the items that the user's segment touched."""
        if self._segments is None:
            return DenseScores(np.zeros((histories.n_users, 0), dtype=np.float32), histories.n_items)
        segments = self._segments.assign(histories)
        starts = np.concatenate([[0], np.cumsum(segments >= 0)])
        one = np.ones(starts[-1], dtype=np.float32)
        return add_up(starts, segments[segments >= 0].astype(np.int32), one, self._segments.weights)


class RepeatSource:
    """What the user has already had, more often and more lately first."""

    name = "repeat"
    reason = "You have had it before"

    def __init__(self, half_life_days: float | None) -> None:
        self._half_life_days = half_life_days

    def score(self, histories: Histories) -> Scores:
        """Score the items of each user's own history."""
        values = histories.counts * decay_by_age(histories.ages, self._half_life_days)
        return add_up(histories.starts, histories.items, values, _make_identity(histories.n_items))


def _make_identity(size: int) -> csr_array:
    numbers = np.arange(size + 1, dtype=np.int32)
    return csr_array((np.ones(size, dtype=np.float32), numbers[:-1], numbers), shape=(size, size))


def make_sources(
    names: Sequence[str],
    config: CandidatesConfig,
    models: CandidateModels,
    statistics: ItemStatistics,
    embeddings: NDArray[np.float32],
    factor_cache: FactorCache | None = None,
) -> list[Source]:
    """Return the sources with these names, of `config.SOURCES`, in their order.

    Args:
        names: which sources.
        config: what is new, near and lately; its depths play no part.
        models: over the catalogue.
        statistics: of all users' histories on it.
        embeddings: (n_items, embedding_size) float32, unit rows, of its texts.
        factor_cache: where the source `als` looks up and keeps users' factors; None solves for all of them.
    """
    # Made only when asked for: some map the whole catalogue first. `new_items` is `text` on fewer items.
    few = config.approximate_from
    text = cache(lambda: InterestSource("text", _READ_LATELY, models.interest, embeddings, few))
    makers: dict[str, Callable[[], Source]] = {
        "als": lambda: AlsSource(models.als, few, factor_cache),
        "bpr": lambda: BprSource(models.bpr),
        "item_to_item": lambda: NeighbourSource(
            "item_to_item", "Often chosen together with what you have", models.item_to_item
        ),
        "bm25": lambda: NeighbourSource(
            "bm25", "Chosen together with what you have by people of focused taste", models.bm25
        ),
        "transitions": lambda: NeighbourSource(
            "transitions", "Often chosen right after what you had last", models.transitions
        ),
        "ease": lambda: NeighbourSource("ease", "Goes with all that you have", models.ease),
        "sequence": lambda: InterestSource(
            "sequence", "Often the next step after what you had lately", models.sequence, embeddings, few
        ),
        "tfidf": lambda: NeighbourSource("tfidf", "Described in the words of what you had lately", models.tfidf),
        "text": text,
        "nearest_text": lambda: NearestTextSource(embeddings, config.nearest_items, config.nearest_decay),
        "popular": lambda: PopularSource("popular", "Popular right now", statistics.recent),
        "popular_all_time": lambda: PopularSource("popular_all_time", "Chosen by many", statistics.users),
        "segment_popular": lambda: SegmentPopularSource(statistics.segments),
        "new_items": lambda: NewItemsSource(text(), statistics, config.new_item_users),
        "repeat": lambda: RepeatSource(config.half_life_days),
    }
    return [makers[name]() for name in names]
