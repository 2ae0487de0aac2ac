"""What the user has interacted with before."""

from __future__ import annotations

from typing import Self

import numpy as np
from scipy.sparse import csr_array

from recsys.candidates.scores import Scores, add_up
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.candidates.statistics import decay_by_age
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories


@register_source
class RepeatSource(CandidateSource):
    """The user's items, with more and more recent events first.

    Recency is in days where windows have a common clock, otherwise in steps of the history.
    """

    name = "repeat"

    def __init__(self, half_life_days: float | None, decay: float = 1.0) -> None:
        """Take the half-life of an event, and the weight of an item relative to the next newer one."""
        self._half_life_days = half_life_days
        self._decay = decay

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.config.half_life_days, inputs.config.decay_of_repeats)

    def score(self, histories: Histories) -> Scores:
        """Score the items of each user's history."""
        values = histories.counts * decay_by_age(histories.ages, self._half_life_days)
        values *= histories.weigh_steps(self._decay)
        return add_up(histories.starts, histories.items, values, _make_identity(histories.n_items))


def _make_identity(size: int) -> csr_array:
    numbers = np.arange(size + 1, dtype=np.int32)
    return csr_array((np.ones(size, dtype=np.float32), numbers[:-1], numbers), shape=(size, size))
