"""Samples for the report: every model's lists of some users, and the neighbours of some items."""

from __future__ import annotations

import numpy as np
import polars as pl
from numpy.typing import NDArray

from recsys.evaluation.comparison import OURS
from recsys.evaluation.embedding_neighbors import find_nearest
from recsys.tables import ItemNeighbours, ModelLists, empty
from recsys.training.measurement import Measured

SAMPLED_USERS = 300
NEIGHBOURS = 5
_SAMPLED_ITEMS = 2_000
# Cosines that are computed and sorted: a few seconds, however large the catalogue is.
_CELLS = 20_000_000


def sample_lists(measured: Measured, item_ids: pl.Series, n: int) -> pl.DataFrame:
    """Return `ModelLists` of at most `SAMPLED_USERS` test users, chosen evenly in the order of their ids.

    Args:
        measured: the measurement.
        item_ids: of the catalogue, in the order of the item numbers.
        n: list length.
    """
    # The values of one metric are one row per user, in the order of the lists.
    first = measured.user_metrics.row(0, named=True)
    key = [pl.col(name) == first[name] for name in ("model", "metric", "n")]
    users = measured.user_metrics.filter(*key)["user_id"]
    picked = np.unique(np.linspace(0, len(users) - 1, min(SAMPLED_USERS, len(users))).round().astype(np.int64))
    frames = []
    for model, ranks in measured.ranks_by_model.items():
        lists = ranks.lists[picked, :n]
        user, rank = np.nonzero(lists >= 0)
        frames.append(
            pl.DataFrame(
                {
                    "model": pl.repeat(model, len(user), dtype=pl.String, eager=True),
                    "user_id": users.gather(picked[user]),
                    "rank": (rank + 1).astype(np.uint16),
                    "item_id": item_ids.gather(lists[user, rank]),
                }
            )
        )
    return pl.concat([empty(ModelLists), *frames])


def find_neighbours(item_ids: pl.Series, embeddings: NDArray[np.float32], lists: pl.DataFrame) -> pl.DataFrame:
    """Return `ItemNeighbours` of the items that the lists show most often; the larger the catalogue, the fewer.

    Items without text have no neighbours and are nobody's neighbour.

    Args:
        item_ids: of the catalogue.
        embeddings: `(n_items, embedding_size)` float32, rows of unit length, all zeros without text.
        lists: `ModelLists`; items of our lists come first.
    """
    with_text = np.flatnonzero(np.einsum("ij,ij->i", embeddings, embeddings) > 0)
    k = min(NEIGHBOURS, len(with_text) - 1)
    if k < 1:
        return empty(ItemNeighbours)
    known = pl.DataFrame({"item_id": item_ids.gather(with_text), "row": np.arange(len(with_text))})
    shown = (
        lists.group_by("item_id")
        .agg((pl.col("model") == OURS).sum().alias("ours"), pl.len().alias("all"))
        .join(known, on="item_id")
        .sort("ours", "all", "row", descending=[True, True, False])
    )
    queries = shown["row"].head(min(_SAMPLED_ITEMS, _CELLS // len(with_text))).to_numpy()
    vectors = embeddings[with_text]
    nearest = find_nearest(vectors, queries, k)
    cosines = np.einsum("ij,ikj->ik", vectors[queries], vectors[nearest])
    return pl.DataFrame(
        {
            "item_id": known["item_id"].gather(np.repeat(queries, k)),
            "rank": np.tile(np.arange(1, k + 1, dtype=np.uint16), len(queries)),
            "neighbour": known["item_id"].gather(nearest.ravel()),
            "cosine": cosines.ravel().astype(np.float32),
        }
    )
