"""Samples for the report: lists of some users by every model, and neighbours of the items in them."""

from types import SimpleNamespace
from typing import cast

import numpy as np
import polars as pl

from recsys.tables import ItemNeighbours, ModelLists, check
from recsys.training.measurement import Measured
from recsys.training.report_samples import SAMPLED_USERS, find_neighbours, sample_lists


def measured(n_users: int) -> Measured:
    users = [f"u{number:04}" for number in range(n_users)]
    ours = np.tile(np.array([3, 1, -1], dtype=np.int32), (n_users, 1))
    ours[:, 0] = np.arange(n_users) % 5
    metrics = pl.DataFrame({"model": ["ours"] * n_users + ["als"] * n_users, "user_id": users * 2}).with_columns(
        pl.lit("ndcg").alias("metric"), pl.lit(10).alias("n")
    )
    lists = {"ours": ours, "als": np.full((n_users, 3), -1, dtype=np.int32)}
    ranks = {name: SimpleNamespace(lists=own) for name, own in lists.items()}
    return cast(Measured, SimpleNamespace(user_metrics=metrics, ranks_by_model=ranks))


def test_a_user_keeps_the_list_that_was_measured() -> None:
    ids = pl.Series([f"i{number}" for number in range(5)])
    found = check(ModelLists, sample_lists(measured(1000), ids, 2), "lists", "")
    assert found["user_id"].n_unique() == SAMPLED_USERS
    assert found["user_id"].max() == "u0999"
    last = found.filter(pl.col("user_id") == "u0999").rows()
    assert last == [("ours", "u0999", 1, "i4"), ("ours", "u0999", 2, "i1")]
    assert sample_lists(measured(3), ids, 2)["user_id"].unique().sort().to_list() == ["u0000", "u0001", "u0002"]


def test_neighbours_are_the_nearest_items_with_text() -> None:
    angles = np.radians([0, 10, 30, 90, 0])
    embeddings = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    embeddings[4] = 0.0
    ids = pl.Series(["a", "b", "c", "d", "no text"])
    lists = pl.DataFrame({"model": ["ours", "als"], "user_id": ["u", "u"], "rank": [1, 1], "item_id": ["c", "no text"]})
    found = check(ItemNeighbours, find_neighbours(ids, embeddings, lists), "neighbours", "")
    assert found.select("item_id", "rank", "neighbour").rows() == [("c", 1, "b"), ("c", 2, "a"), ("c", 3, "d")]
    assert np.allclose(found["cosine"].to_numpy(), np.cos(np.radians([20, 30, 60])), atol=1e-6)
    # A single item with text has no neighbours.
    assert find_neighbours(ids[:1], embeddings[:1], lists).is_empty()
