"""The largest cosine of an item's text with those of the newest items."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.block_products import multiply
from recsys.candidates.scores import DenseScores, Scores
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories


@register_source
class NearestTextSource(CandidateSource):
    """The largest cosine of an item's text with those of the user's newest items: nothing is learned.

    Where the mean of a history falls between its items, this stays close to a single item.
    """

    name = "nearest_text"

    def __init__(self, embeddings: NDArray[np.float32], length: int, decay: float) -> None:
        """Take (n_items, embedding_size) float32 unit rows, the number of newest items, and the weight of a step."""
        self._embeddings = embeddings
        self._length = length
        self._decay = decay

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.embeddings, inputs.config.nearest_items, inputs.config.nearest_decay)

    def score(self, histories: Histories) -> Scores:
        """Score every item by the newest items other than itself, each step back weighing `decay` times less.

        Without an order the items are an arbitrary few, with equal weights.
        """
        best = np.full((histories.n_users, histories.n_items), np.nan, dtype=np.float32)
        for step, items in enumerate(histories.recent_items(self._length).T):
            weight = self._decay**step if histories.ordered else 1.0
            vectors = self._embeddings[items] * np.float32(weight)
            vectors[items < 0] = np.nan
            cosines = multiply(vectors, self._embeddings)
            # An item is not compared with itself; where there is no item, the row is NaN already.
            cosines[np.arange(len(items)), items] = np.nan
            np.fmax(best, cosines, out=best)
        return DenseScores.from_array(best)
