"""Candidates and features as frames, the form in which tests write them by hand."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from recsys.candidates.merge import CandidateRows, map_blocks
from recsys.dataset.histories import Histories
from recsys.features.features import describe_rows
from recsys.features.item_facts import ItemFacts


def to_rows(candidates: pl.DataFrame, sources: Sequence[str], n_users: int) -> CandidateRows:
    """Return `Candidates` of users that are counted from 0 as the arrays that the package works with."""
    starts = np.searchsorted(candidates["user_index"].to_numpy(), np.arange(n_users + 1)).astype(np.int64)
    shape = (len(sources), candidates.height)
    ranks, scores = np.zeros(shape, dtype=np.uint16), np.empty(shape, dtype=np.float32)
    for row, name in enumerate(sources):
        ranks[row] = candidates[f"{name}_rank"].fill_null(0).to_numpy()
        scores[row] = candidates[f"{name}_score"].cast(pl.Float32).to_numpy()
    return CandidateRows(starts, candidates["item_index"].cast(pl.Int32).to_numpy(), ranks, scores)


def describe_frame(
    candidates: pl.DataFrame, histories: Histories, facts: ItemFacts, sources: Sequence[str]
) -> pl.DataFrame:
    """Return the keys of `Candidates` and the columns of `describe_rows`, null where a value is missing."""
    numbers = candidates["user_index"].to_numpy()

    def describe(first: int, users: Histories) -> pl.DataFrame:
        start, end = np.searchsorted(numbers, [first, first + users.n_users]).tolist()
        block = candidates[start:end].with_columns(pl.col("user_index") - first)
        columns = describe_rows(to_rows(block, sources, users.n_users), users, facts, sources)
        return pl.DataFrame({name: pl.Series(values).fill_nan(None) for name, values in columns.items()})

    features = pl.concat(map_blocks(describe, histories))
    return candidates.select("user_index", "item_index").hstack(features)
