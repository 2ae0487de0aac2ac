"""Interest scores of new items."""

from __future__ import annotations

from typing import ClassVar, Self

import numpy as np

from recsys.candidates.scores import Scores
from recsys.candidates.source import CandidateSource, SourceInputs
from recsys.candidates.sources.text import InterestSource, TextSource
from recsys.candidates.statistics import ItemStatistics
from recsys.config.plugins import register_source
from recsys.dataset.histories import Histories


@register_source
class NewItemsSource(CandidateSource):
    """Interest scores of the items that hardly any user has interacted with."""

    name = "new_items"
    uses: ClassVar[tuple[type[CandidateSource], ...]] = (TextSource,)

    def __init__(self, text: InterestSource, statistics: ItemStatistics, max_users: int) -> None:
        """Take the text source, and the largest number of users that an item may have to be new."""
        self._text = text
        self._index = text.index_items(np.flatnonzero(statistics.users <= max_users).astype(np.int32))

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(inputs.make(TextSource), inputs.statistics, inputs.config.new_item_users)

    def score(self, histories: Histories) -> Scores:
        """Score items with at most `new_item_users` users."""
        return self._text.score_indexed(histories, self._index)
