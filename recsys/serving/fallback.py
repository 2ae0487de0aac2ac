"""The fallback chain: sources that fill lists with too few candidates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.exclusions import Exclusions
from recsys.candidates.source import Source
from recsys.candidates.sources.popular import PopularSource
from recsys.dataset.histories import Histories
from recsys.ranking.lists import fill_up
from recsys.serving.recommender import Recommender

# In this order: items that fit the texts of the history, items popular in the user's segment, popular items.
_STEPS = ("text", "segment_popular", "popular")
# The last step: any recommendable item, by item index.
CATALOGUE_FALLBACK = "catalogue"


@dataclass(frozen=True)
class FallbackChain:
    """Sources that fill short lists, one after the other until every list is full.

    Attributes:
        steps: the sources, in order; the last one scores every item.
    """

    steps: Sequence[Source]

    @classmethod
    def of(cls, recommender: Recommender) -> FallbackChain:
        """Return the chain over a recommender's catalogue; sources that propose candidates are reused."""
        segmented = recommender.statistics.segments is not None
        names = [name for name in _STEPS if name != "segment_popular" or segmented]
        # Making a source may compute vectors of the whole catalogue.
        proposing = {source.name: source for source in recommender.sources}
        steps = [proposing.get(name) or recommender.make_sources([name])[0] for name in names]
        weights = np.ones(len(recommender.recommendable), dtype=np.float32)
        return cls([*steps, PopularSource(CATALOGUE_FALLBACK, CATALOGUE_FALLBACK, weights)])

    def fill(
        self, items: NDArray[np.int32], scores: NDArray[np.float32], users: Histories, exclusions: Exclusions
    ) -> NDArray[np.int8]:
        """Fill short lists in place and return (n_users, length) int8: the step that filled a rank, -1 for none.

        Args:
            items: (n_users, length) int32, best first, -1 behind a short list.
            scores: (n_users, length) float32; a filled rank scores one less than the rank above it.
            users: histories of the block.
            exclusions: of the same users.
        """
        filled_by = np.full(items.shape, -1, dtype=np.int8)
        for step, source in enumerate(self.steps):
            filled_by[fill_up(items, scores, source, users, exclusions)] = step
        return filled_by
