"""The largest cosine of an item's vector from elsewhere with those of the newest items."""

from __future__ import annotations

from functools import cache
from typing import ClassVar, Self

import numpy as np

from recsys.candidates.source import SourceInputs
from recsys.candidates.sources.nearest_text import NearestTextSource
from recsys.config.plugins import name_vector_source
from recsys.errors import ConfigError


class NearestVectorsSource(NearestTextSource):
    """The largest cosine of an item's vector with those of the user's newest items; no score without a vector."""

    # Nothing checks on the night's data that two vectors are near enough to speak of it.
    reason = "catalogue"
    vectors: ClassVar[str]

    @classmethod
    def make(cls, inputs: SourceInputs) -> Self:
        """Make the source over the vectors of the catalogue.

        Raises:
            ConfigError: the catalogue has no such vectors.
        """
        found = inputs.vectors.get(cls.vectors)
        if found is None:
            raise ConfigError(
                f"source '{cls.name}': the catalogue has no vectors '{cls.vectors}'; name them in "
                "dataset.items.vectors and ingest again"
            )
        rows = found.rows
        if not found.known.all():
            rows = np.where(found.known[:, None], rows, np.float32(np.nan))
        return cls(rows, inputs.config.nearest_items, inputs.config.nearest_decay)


@cache
def find_vector_source(vectors: str) -> type[NearestVectorsSource]:
    """Return the source of the vectors with a name, the same class each time."""
    name = name_vector_source(vectors)
    content = {"name": name, "reason": NearestVectorsSource.reason, "vectors": vectors, "__module__": __name__}
    return type(f"NearestVectorsSource_{vectors}", (NearestVectorsSource,), content)
