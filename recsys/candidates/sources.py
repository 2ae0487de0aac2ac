"""Sources: each scores the whole catalogue for a run of users, in its own way."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from recsys.candidates.stage_one import StageOne
from recsys.collab.als import AlsModel
from recsys.collab.neighbours import NeighbourModel
from recsys.config import CandidatesConfig, InterestConfig
from recsys.dataset.histories import Histories
from recsys.text.interest import InterestModel

_READ_LATELY = "Its description fits what you read lately"


class Source(Protocol):
    """Something that knows which items a user may want.

    Attributes:
        name: one of `config.SOURCES`, or that of a baseline; its columns are `{name}_score` and `{name}_rank`.
        reason: the sentence shown to a user for an item that this source found first.
    """

    name: str
    reason: str

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Return (n_users, n_items) float32, higher is better, NaN where the source says nothing."""


def multiply(users: NDArray[np.float32], items: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the (n_users, n_items) float32 dot products, on the device that torch would use."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    with torch.inference_mode():
        product = torch.from_numpy(users).to(device) @ torch.from_numpy(items).to(device).T
    return product.cpu().numpy()


class AlsSource:
    """Dot products of folded-in user factors and item factors."""

    name = "als"
    reason = "People with your taste chose it"

    def __init__(self, model: AlsModel) -> None:
        self._model = model
        self._unknown = np.isnan(model.item_factors[:, 0])
        self._factors = np.nan_to_num(model.item_factors)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score known items; users without a history of known items get NaN."""
        users = self._model.fold_in(histories)
        scores = multiply(users, self._factors)
        scores[:, self._unknown] = np.nan
        scores[~users.any(axis=1)] = np.nan
        return scores


class NeighbourSource:
    """Sums over the history of an item-by-item matrix."""

    def __init__(self, name: str, reason: str, model: NeighbourModel) -> None:
        self.name = name
        self.reason = reason
        self._model = model

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score items that the history speaks for.

        EASE can also speak against an item. Nobody should be shown such an item for EASE's sake, so at 0 and below it
        says nothing, like the others.
        """
        scores = self._model.score(histories)
        scores[scores <= 0] = np.nan
        return scores


class InterestSource:
    """Interest scores: what the history asks for."""

    def __init__(self, name: str, reason: str, model: InterestModel, embeddings: NDArray[np.float32]) -> None:
        self.name = name
        self.reason = reason
        self._model = model
        self._items = model.item_vectors(embeddings) if model.speaks else None

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every item, touched by anyone or not; users without a history, and all before training, get NaN."""
        if self._items is None:
            return np.full((histories.n_users, histories.n_items), np.nan, dtype=np.float32)
        scores = multiply(self._model.user_vectors(histories, self._items), self._items)
        scores[histories.lengths == 0] = np.nan
        return scores


class ProfileSource(InterestSource):
    """Plain cosines of a history's mean embedding, newest items most, with each item's: nothing is learned.

    A baseline: what the checkpoint knows as it came shows what fine-tuning and interest model add.
    """

    def __init__(self, name: str, embeddings: NDArray[np.float32], config: InterestConfig | None = None) -> None:
        # A plain interest model that has not been trained is just that; how far it looks back is the config's to say.
        given = {} if config is None else config.model_dump(include={"history_length", "history_decay"})
        model = InterestModel(embeddings.shape[1], InterestConfig(**given))
        super().__init__(name, _READ_LATELY, model, embeddings)


class NewItemsSource:
    """Interest scores of the items that hardly anyone has touched yet."""

    name = "new_items"
    reason = "New, and its description fits you"

    def __init__(self, text: InterestSource, statistics: ItemStatistics, at_most: int) -> None:
        self._text = text
        self._old = statistics.users > at_most

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score items with at most `new_item_users` users."""
        scores = self._text.score(histories)
        scores[:, self._old] = np.nan
        return scores


class PopularSource:
    """What everybody takes, lately if the statistics have a half-life; the same for each user."""

    reason = "Popular right now"

    def __init__(self, statistics: ItemStatistics, name: str = "popular") -> None:
        self.name = name
        self._row = np.where(statistics.recent > 0, statistics.recent, np.nan).astype(np.float32)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score every touched item by its recent weight."""
        return np.repeat(self._row[None, :], histories.n_users, axis=0)


class RepeatSource:
    """What the user has already had, more often and more lately first."""

    name = "repeat"
    reason = "You have had it before"

    def __init__(self, half_life_days: float | None) -> None:
        self._half_life_days = half_life_days

    def score(self, histories: Histories) -> NDArray[np.float32]:
        """Score the items of each user's own history."""
        values = histories.counts * decay_by_age(histories.ages, self._half_life_days)
        scores = np.full((histories.n_users, histories.n_items), np.nan, dtype=np.float32)
        scores[histories.users, histories.items] = values
        return scores


@dataclass(frozen=True)
class ItemStatistics:
    """What a catalogue's histories say about its items, as of their cut-off.

    Attributes:
        users: (n_items) float32, how many users touched the item.
        recent: (n_items) float32, the same with each user's touch halved every half-life.
        first_age: (n_items) float32, days since the first touch; NaN if none or without times.
        last_age: (n_items) float32, days since the last touch; NaN if none or without times.
        mean_weight: (n_items) float32, mean weight of the events; NaN if none.
    """

    users: NDArray[np.float32]
    recent: NDArray[np.float32]
    first_age: NDArray[np.float32]
    last_age: NDArray[np.float32]
    mean_weight: NDArray[np.float32]

    @classmethod
    def count(cls, histories: Histories, half_life_days: float | None) -> ItemStatistics:
        """Count over all users of the histories."""
        size = histories.n_items
        weights = decay_by_age(histories.ages, half_life_days)
        first = np.full(size, -np.inf, dtype=np.float32)
        np.maximum.at(first, histories.items, np.nan_to_num(histories.first_ages, nan=-np.inf))
        last = np.full(size, np.inf, dtype=np.float32)
        np.minimum.at(last, histories.items, np.nan_to_num(histories.ages, nan=np.inf))
        weight, events = (
            np.bincount(histories.items, weights=values, minlength=size)
            for values in (histories.weights, histories.counts)
        )
        return cls(
            users=np.bincount(histories.items, minlength=size).astype(np.float32),
            recent=np.bincount(histories.items, weights=weights, minlength=size).astype(np.float32),
            first_age=np.where(np.isneginf(first), np.nan, first).astype(np.float32),
            last_age=np.where(np.isposinf(last), np.nan, last).astype(np.float32),
            mean_weight=np.where(events > 0, weight / np.maximum(events, 1), np.nan).astype(np.float32),
        )


def decay_by_age(ages: NDArray[np.float32], half_life_days: float | None) -> NDArray[np.float32]:
    """Return 0.5 ** (age / half-life) float32; 1 for all without a half-life or without times."""
    if half_life_days is None:
        return np.ones(len(ages), dtype=np.float32)
    return (0.5 ** (np.nan_to_num(ages) / half_life_days)).astype(np.float32)


def make_sources(
    names: Sequence[str],
    config: CandidatesConfig,
    models: StageOne,
    statistics: ItemStatistics,
    embeddings: NDArray[np.float32],
) -> list[Source]:
    """Return the sources with these names, of `config.SOURCES`, in their order.

    Args:
        names: which sources.
        config: what is new, and how long popularity lasts; its depths play no part.
        models: over the catalogue.
        statistics: of all users' histories on it.
        embeddings: (n_items, embedding_size) float32, unit rows, of its texts.
    """
    # Made only when asked for: some map the whole catalogue first. `new_items` is `text` on fewer items.
    text = cache(lambda: InterestSource("text", _READ_LATELY, models.interest, embeddings))
    makers: dict[str, Callable[[], Source]] = {
        "als": lambda: AlsSource(models.als),
        "item_to_item": lambda: NeighbourSource(
            "item_to_item", "Often chosen together with what you have", models.item_to_item
        ),
        "transitions": lambda: NeighbourSource(
            "transitions", "Often chosen right after what you had last", models.transitions
        ),
        "ease": lambda: NeighbourSource("ease", "Goes with all that you have", models.ease),
        "sequence": lambda: InterestSource(
            "sequence", "Often the next step after what you had lately", models.sequence, embeddings
        ),
        "tfidf": lambda: NeighbourSource("tfidf", "Described in the words of what you had lately", models.tfidf),
        "text": text,
        "popular": lambda: PopularSource(statistics),
        "new_items": lambda: NewItemsSource(text(), statistics, config.new_item_users),
        "repeat": lambda: RepeatSource(config.popularity_half_life_days),
    }
    return [makers[name]() for name in names]
