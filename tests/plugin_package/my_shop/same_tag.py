"""A source that is not fitted: popular items with the first tag of the user's newest item."""

from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.dataset.histories import Histories


class SameTagSource(CandidateSource):
    """Recent popularity among the items with the same first tag; returns a plain array."""

    name = "same_tag"
    sentences: ClassVar[dict[str, str]] = {"en": "More of the same kind"}

    def __init__(self, tags: NDArray[np.int64], popularity: NDArray[np.float32]) -> None:
        self._tags, self._popularity = tags, popularity

    @classmethod
    def make(cls, inputs: SourceInputs) -> "SameTagSource":
        tags = inputs.items["tags"].list.first().fill_null("")
        return cls(np.unique(tags.to_numpy(), return_inverse=True)[1], inputs.statistics.recent)

    def score(self, histories: Histories) -> NDArray[np.float32]:
        newest = histories.recent_items(1)[:, 0]
        alike = (newest >= 0)[:, None] & (self._tags[newest][:, None] == self._tags[None, :])
        return np.where(alike & (self._popularity > 0), self._popularity, np.nan).astype(np.float32)
