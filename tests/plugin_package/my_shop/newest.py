"""A baseline: the newest items of the catalogue first."""

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.candidates.scores import Scores, SharedScores
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.dataset.histories import Histories


class NewestBaseline(CandidateSource):
    """Days since 1970 when the item joined the catalogue; items without a date are not scored."""

    name = "newest"

    def __init__(self, days: NDArray[np.float32]) -> None:
        known = np.flatnonzero(~np.isnan(days))
        self._days, self._order = days, known[np.argsort(-days[known], kind="stable")].astype(np.int32)

    @classmethod
    def make(cls, inputs: SourceInputs) -> "NewestBaseline":
        days = inputs.items["created_at"].dt.epoch("d").cast(pl.Float32).fill_null(float("nan"))
        return cls(days.to_numpy())

    def score(self, histories: Histories) -> Scores:
        return SharedScores(self._days, self._order, histories.n_users)
