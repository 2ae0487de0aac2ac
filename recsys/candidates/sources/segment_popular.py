"""What is popular in the user's segment."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from recsys.candidates.scores import DenseScores, Scores, add_up
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.candidates.statistics import SegmentStatistics
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories


@register_source
class SegmentPopularSource(CandidateSource):
    """Users of the same segment who interacted with the item, each halved every half-life."""

    name = "segment_popular"
    needs_segments: ClassVar[bool] = True

    def __init__(self, segments: SegmentStatistics | None) -> None:
        """Take the segments; with None no item is scored."""
        self._segments = segments

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.statistics.segments)

    def score(self, histories: Histories) -> Scores:
        """Score the items that the user's segment interacted with."""
        if self._segments is None:
            return DenseScores(np.zeros((histories.n_users, 0), dtype=np.float32), histories.n_items)
        segments = self._segments.assign(histories)
        starts = np.concatenate([[0], np.cumsum(segments >= 0)])
        ones = np.ones(starts[-1], dtype=np.float32)
        return add_up(starts, segments[segments >= 0].astype(np.int32), ones, self._segments.weights)
