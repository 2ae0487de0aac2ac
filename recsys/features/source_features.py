"""Features from the sources' scores and ranks of a candidate."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.group_stats import standardise
from recsys.candidates.merge import CandidateRows

SOURCE_FEATURES = {
    "rank": "Rank of the item among the proposals of {source}, 1 the best.",
    "z": "Score by {source} in standard deviations above the mean of the user's candidates.",
    "gap": "Score by {source} below the best of the user's candidates, in standard deviations.",
}
AGREEMENT_FEATURES = {
    "n_sources": "Number of sources that propose the item.",
    "best_rank": "Best rank in any source's proposals.",
    "mean_reciprocal_rank": "Mean over the sources of the reciprocal rank, 0 where a source does not propose the item.",
}


def describe_sources(rows: CandidateRows, sources: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    """Return the columns of `SOURCE_FEATURES` for each source, and of `AGREEMENT_FEATURES`.

    The scores themselves are not features: they shift from window to window, and rankers that learned from them were
    worse.
    """
    columns: dict[str, NDArray[np.float32]] = {}
    for name, scores, ranks in zip(sources, rows.scores, rows.ranks, strict=True):
        above, below = standardise(scores, rows.starts, 1)
        rank = np.where(ranks > 0, ranks, np.float32(np.nan)).astype(np.float32)
        columns |= {f"{name}_rank": rank, f"{name}_z": above, f"{name}_gap": below}
    proposed = rows.ranks > 0
    reciprocal = np.where(proposed, 1.0 / np.maximum(rows.ranks, 1), 0.0)
    best = np.where(proposed, rows.ranks, np.iinfo(np.uint16).max).min(axis=0)
    return columns | {
        "n_sources": proposed.sum(axis=0).astype(np.float32),
        "best_rank": np.where(proposed.any(axis=0), best, np.nan).astype(np.float32),
        "mean_reciprocal_rank": (reciprocal.sum(axis=0) / len(sources)).astype(np.float32),
    }
