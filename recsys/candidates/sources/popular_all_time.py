"""What has been popular over all times."""

from __future__ import annotations

from typing import Self

from recsys.candidates.source import SourceInputs
from recsys.candidates.sources.popular import PopularSource
from recsys.config.plugins import register_source


@register_source
class PopularAllTimeSource(PopularSource):
    """Users of each item."""

    name = "popular_all_time"

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """See `CandidateSource`."""
        return cls(cls.name, cls.reason, inputs.statistics.users)
