"""What each feature adds to the scores of candidates, to explain single lists."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from recsys.candidates.group_stats import fill_lowest
from recsys.ranking.ranker import Ranker

BLEND = "blend"


@dataclass(frozen=True)
class Contributions:
    """What each feature adds to the scores of candidates.

    Attributes:
        features: names.
        values: (n_rows) float32 by feature, NaN where missing.
        amounts: (n_rows, n_features) float64.
    """

    features: tuple[str, ...]
    values: tuple[NDArray[np.float32], ...]
    amounts: NDArray[np.float64]


def find_contributions(
    ranker: Ranker, columns: Mapping[str, NDArray[np.float32]], starts: NDArray[np.int64]
) -> Contributions:
    """Return what each feature adds to the scores.

    With trees, the amounts are Shapley values (Lundberg et al. 2018, arXiv:1802.03888): with the mean over the training
    rows they sum to the score of the trees. Where the blend ranks alone, they are its terms.

    Args:
        ranker: scores the candidates.
        columns: (n_rows) float32 features by name, NaN where missing.
        starts: (n_users + 1) int64; user u's rows are `starts[u]:starts[u + 1]`.
    """
    if ranker.blend_share is None:
        names = tuple(f"{source}_z" for source in ranker.blend.weights)
        values = tuple(columns[name] for name in names)
        weights = np.array(list(ranker.blend.weights.values()))
        # As in the blend, an item that a source does not score counts as that source's worst.
        filled = np.column_stack([fill_lowest(column, starts) for column in values])
        return Contributions(names, values, filled.astype(np.float64) * weights)
    names = (BLEND, *ranker.features)
    values = (ranker.blend.score(columns, starts), *(columns[name] for name in ranker.features))
    matrix = np.column_stack(values)
    # The last column is the mean over the training rows.
    amounts = np.asarray(ranker.booster.predict(matrix, pred_contrib=True), dtype=np.float64)[:, :-1]
    return Contributions(names, values, amounts)
