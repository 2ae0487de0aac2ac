"""Candidates, facts and features of small worlds."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
from candidate_frames import describe_frame
from numpy.typing import NDArray
from scipy.sparse import csr_array

from recsys.candidates.models import CandidateModels
from recsys.candidates.statistics import ItemStatistics
from recsys.dataset.histories import Histories
from recsys.features.item_facts import ItemFacts
from recsys.tables import Items

HALF_LIFE = 10.0


def make_candidates(
    sources: dict[str, list[tuple[float | None, int | None]]], pairs: list[tuple[int, int]]
) -> pl.DataFrame:
    """`Candidates` of (user, item) number pairs; each source gives (score, rank) per pair."""
    columns = {
        "user_index": pl.Series([user for user, _ in pairs], dtype=pl.UInt32),
        "item_index": pl.Series([item for _, item in pairs], dtype=pl.UInt32),
    }
    for source, values in sources.items():
        columns[f"{source}_score"] = pl.Series([score for score, _ in values], dtype=pl.Float32)
        columns[f"{source}_rank"] = pl.Series([rank for _, rank in values], dtype=pl.UInt16)
    return pl.DataFrame(columns)


def gather_facts(
    histories: Histories,
    items: pl.DataFrame,
    embeddings: NDArray[np.float32] | None = None,
    *,
    factors: NDArray[np.float32] | None = None,
    item_to_item: dict[str, float] | None = None,
    transitions: dict[str, float] | None = None,
) -> ItemFacts:
    """`ItemFacts` of one-letter items; what is not given is random, but the same for equal catalogues.

    Neighbours are given as `ab` -> strength of b as a neighbour of a.
    """
    size = len(items)
    fake = SimpleNamespace(
        item_vectors={"als": random_units(size, 8) * 3 if factors is None else factors},
        item_neighbours={
            "item_to_item": make_neighbours(items, item_to_item),
            "transitions": make_neighbours(items, transitions),
        },
    )
    vectors = random_units(size) if embeddings is None else embeddings
    attributes = [name for name in items.columns if name not in Items.column_names()]
    statistics = ItemStatistics.count(histories, HALF_LIFE)
    return ItemFacts.gather(items, attributes, statistics, vectors, cast(CandidateModels, fake), histories.cutoff)


def make_neighbours(items: pl.DataFrame, given: dict[str, float] | None) -> csr_array:
    size = len(items)
    if given is None:
        rng = np.random.default_rng(size)
        return csr_array(np.where(rng.random((size, size)) < 0.2, rng.random((size, size)), 0.0).astype(np.float32))
    numbers = {name: number for number, name in enumerate(items["item_id"])}
    matrix = np.zeros((size, size), dtype=np.float32)
    for names, strength in given.items():
        matrix[numbers[names[0]], numbers[names[1]]] = strength
    return csr_array(matrix)


def describe(
    candidates: pl.DataFrame, histories: Histories, items: pl.DataFrame, facts: ItemFacts | None = None, **given: Any
) -> pl.DataFrame:
    facts = facts or gather_facts(histories, items, **given)
    return describe_frame(candidates, histories, facts, sources_of(candidates))


def sources_of(candidates: pl.DataFrame) -> list[str]:
    return [name.removesuffix("_score") for name in candidates.columns if name.endswith("_score")]


def random_units(count: int, size: int = 24) -> NDArray[np.float32]:
    vectors = np.random.default_rng(count).normal(size=(count, size)).astype(np.float32)
    units: NDArray[np.float32] = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    return units


def random_candidates(histories: Histories, sources: tuple[str, ...] = ("als", "text"), seed: int = 0) -> pl.DataFrame:
    """About half of all pairs, some scores missing; a user's rows depend on the user alone."""
    rng = np.random.default_rng(seed)
    chosen = rng.random((histories.n_users, histories.n_items)) < 0.5
    pairs = [(int(user), int(item)) for user, item in np.argwhere(chosen)]
    values: dict[str, list[tuple[float | None, int | None]]] = {
        source: [
            (float(score), 1 + int(9 * score)) if score > 0.2 else (None, None) for score in rng.random(len(pairs))
        ]
        for source in sources
    }
    return make_candidates(values, pairs)
