"""What is popular now."""

from __future__ import annotations

from typing import Self

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.scores import Scores, SharedScores
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories


@register_source
class PopularSource(CandidateSource):
    """Users of each item, each halved every half-life; the same scores for every user."""

    name = "popular"

    def __init__(self, name: str, reason: str, weights: NDArray[np.float32]) -> None:
        """Take (n_items) float32 weights; an item with weight 0 is not scored."""
        self.name = name
        self.reason = reason
        self._row = np.where(weights > 0, weights, np.float32(np.nan))
        self._order = np.argsort(-weights, kind="stable")[: int((weights > 0).sum())].astype(np.int32)

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(cls.name, cls.reason, inputs.statistics.recent)

    def score(self, histories: Histories) -> Scores:
        """Score every item that has users by its weight."""
        return SharedScores(self._row, self._order, histories.n_users)
