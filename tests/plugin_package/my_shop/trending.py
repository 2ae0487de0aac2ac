"""A source that is fitted: items whose share of recent events is high."""

from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl
from numpy.typing import NDArray
from pydantic import PositiveFloat

from recsys.candidates.scores import Scores, SharedScores
from recsys.candidates.source import CandidateSource, FitInputs, SourceInputs
from recsys.config import Section
from recsys.dataset.histories import Histories
from recsys.dataset.id_map import IdMap


class TrendingConfig(Section):
    """Settings of `TrendingSource`."""

    half_life_days: PositiveFloat = 3.0


class TrendModel:
    """The trend of each item, (n_items) float32; NaN for an item without events."""

    def __init__(self, trends: NDArray[np.float32]) -> None:
        self.trends = trends

    def align(self, trained_ids: pl.Series, item_ids: pl.Series) -> "TrendModel":
        return TrendModel(IdMap(trained_ids).align_rows(self.trends[:, None], item_ids)[:, 0])


class TrendingSource(CandidateSource):
    """Events halved every half-life, divided by all events: the same for every user."""

    name = "trending"
    sentences: ClassVar[dict[str, str]] = {"en": "Trending this week", "zh": "本周热门"}
    section = TrendingConfig
    model = "trending"

    def __init__(self, model: TrendModel) -> None:
        self._row = model.trends
        known = np.flatnonzero(~np.isnan(self._row))
        self._order = known[np.argsort(-self._row[known], kind="stable")].astype(np.int32)

    @classmethod
    def make(cls, inputs: SourceInputs) -> "TrendingSource":
        return cls(inputs.model(cls))

    def score(self, histories: Histories) -> Scores:
        return SharedScores(self._row, self._order, histories.n_users)

    @classmethod
    def fit(cls, inputs: FitInputs, settings: TrendingConfig) -> TrendModel:
        histories, size = inputs.histories, inputs.histories.n_items
        recent = histories.counts * 0.5 ** (np.nan_to_num(histories.ages) / settings.half_life_days)
        counts, decayed = (
            np.bincount(histories.items, weights=values, minlength=size) for values in (histories.counts, recent)
        )
        return TrendModel(np.where(counts > 0, decayed / np.maximum(counts, 1), np.nan).astype(np.float32))

    @classmethod
    def save(cls, model: TrendModel, folder: Path) -> None:
        np.save(folder / "trends.npy", model.trends, allow_pickle=False)

    @classmethod
    def load(cls, folder: Path, item_ids: pl.Series, settings: TrendingConfig) -> TrendModel:
        return TrendModel(np.load(folder / "trends.npy", allow_pickle=False))
