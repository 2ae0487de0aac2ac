"""Interest scores from the texts of the history."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.index import ItemIndex
from recsys.candidates.products import score_items
from recsys.candidates.scores import DenseScores, Scores
from recsys.candidates.source import CandidateSource, FitInputs, SourceInputs
from recsys.config import InterestConfig
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories
from recsys.dataset.item_vectors import Vectors, read_vectors
from recsys.text.interest import InterestModel


class InterestSource(CandidateSource):
    """Dot products of the history's interest vector and item vectors. A subclass names the model."""

    def __init__(
        self,
        name: str,
        reason: str,
        model: InterestModel,
        embeddings: NDArray[np.float32],
        approximate_from: int | None = None,
        vectors: Mapping[str, Vectors] | None = None,
    ) -> None:
        """Take the model, the texts' embeddings, the number of items from which the index is searched, and vectors."""
        self.name = name
        self.reason = reason
        self._model = model
        self._approximate_from = approximate_from
        self._items = model.item_vectors(embeddings, vectors) if model.is_informative else None
        self._index = self.index_items(np.arange(len(embeddings), dtype=np.int32))

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        model, approximate_from = inputs.model(cls), inputs.config.approximate_from
        return cls(cls.name, cls.reason, model, inputs.embeddings, approximate_from, inputs.vectors)

    def index_items(self, items: NDArray[np.int32]) -> ItemIndex | None:
        """Return the vectors of items (by number, rising) ready to be scored; None if the model is untrained."""
        if self._items is None:
            return None
        return ItemIndex(self._items if len(items) == len(self._items) else self._items[items], items)

    def score(self, histories: Histories) -> Scores:
        """Score every item, new ones too, for users with a history; an untrained model scores none."""
        return self.score_indexed(histories, self._index)

    def score_indexed(self, histories: Histories, index: ItemIndex | None) -> Scores:
        """Score only the items of an index from `index_items`."""
        if self._items is None or index is None:
            return DenseScores(np.zeros((histories.n_users, 0), dtype=np.float32), histories.n_items)
        approximate = self._approximate_from is not None and len(index.items) >= self._approximate_from
        users = self._model.user_vectors(histories, self._items)
        return score_items(users, histories.lengths == 0, index, histories.n_items, approximate=approximate)

    @classmethod
    def fit(cls, inputs: FitInputs, settings: InterestConfig) -> InterestModel:
        """See `CandidateSource`."""
        model = InterestModel(inputs.embeddings.shape[1], settings)
        vectors = read_vectors(inputs.items)
        model.fit(inputs.histories, inputs.embeddings, inputs.config.seed, texts=inputs.texts, vectors=vectors)
        return model

    @classmethod
    def save(cls, model: InterestModel, folder: Path) -> None:
        """See `CandidateSource`."""
        model.save(folder / f"{cls.model}.safetensors")

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: InterestConfig) -> InterestModel:
        """See `CandidateSource`."""
        return InterestModel.load(folder / f"{cls.model}.safetensors", item_ids, settings)

    @classmethod
    def align(cls, model: InterestModel, trained_ids: pl.Series, item_ids: pl.Series) -> InterestModel:
        """See `CandidateSource`."""
        return model.align(item_ids)

    @classmethod
    def with_texts(cls, model: InterestModel, texts: pl.Series) -> InterestModel:
        """Return the model with the hashed terms of the texts, if it scores by them."""
        return model.with_term_vectors(texts)


@register_source
class TextSource(InterestSource):
    """Interest scores of every item."""

    name = "text"
    section_path: ClassVar[str] = "text.interest"
    model: ClassVar[str] = "interest"


class ProfileSource(InterestSource):
    """Cosines of a history's mean embedding, newest items weighted most, with each item: nothing is learned.

    A baseline: the pretrained checkpoint's embeddings show what fine-tuning and the interest model add.
    """

    def __init__(self, name: str, embeddings: NDArray[np.float32], config: InterestConfig | None = None) -> None:
        # An untrained interest model without a size gives these cosines; the config sets how far it looks back.
        given = {} if config is None else config.model_dump(include={"history_length", "history_decay"})
        model = InterestModel(embeddings.shape[1], InterestConfig(**given))
        super().__init__(name, "text", model, embeddings)
