"""Nearness and company agree with plain loops, to the last bit whatever else is a candidate."""

from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import pytest
from scipy.sparse import csr_array

from recsys.candidates.merge import CandidateRows
from recsys.dataset.histories import Histories
from recsys.dataset.item_vectors import Vectors
from recsys.features.item_facts import Neighbours
from recsys.features.similarity_features import (
    NEIGHBOUR_FEATURES,
    VECTOR_FEATURES,
    describe_company,
    describe_nearness,
)

ITEMS = 40
LENGTHS = [0, 1, 3, 7, 70, 4]
# Candidates of each user: none, fewer than four, and no multiple of four.
CANDIDATES = [5, 0, 1, 10, 23, 39]


def draw(seed: int, *, ordered: bool) -> tuple[CandidateRows, Histories, np.random.Generator]:
    rng = np.random.default_rng(seed)
    starts, firsts = (np.concatenate([[0], np.cumsum(sizes)]) for sizes in (LENGTHS, CANDIDATES))
    past = rng.integers(0, ITEMS, starts[-1]).astype(np.int32)
    items = np.concatenate([np.sort(rng.permutation(ITEMS)[:count]) for count in CANDIDATES]).astype(np.int32)
    nothing = np.zeros((1, len(items)))
    histories = SimpleNamespace(starts=starts, items=past, ordered=ordered)
    return CandidateRows(firsts, items, nothing.astype(np.uint16), nothing), cast(Histories, histories), rng


def each_row(rows: CandidateRows, histories: Histories) -> list[tuple[int, np.ndarray]]:
    """Each candidate with its user's history, newest first."""
    past = [
        histories.items[start:end][::-1] for start, end in zip(histories.starts, histories.starts[1:], strict=False)
    ]
    return [(item, past[user]) for item, user in zip(rows.items, rows.users, strict=True)]


def describe_one(item: int, past: np.ndarray, vectors: Vectors, ordered: bool) -> list[float]:
    own = [step for step, other in enumerate(past) if vectors.known[other]]
    if not own:
        return [np.nan] * 8
    rows = vectors.rows[past[own]].astype(np.float64)
    heft = (0.9 if ordered else 1.0) ** np.array(own)
    mean = rows.mean(axis=0)
    breadth = 1 - np.linalg.norm(mean)
    if not vectors.known[item]:
        return [np.nan] * 7 + [breadth]
    cosines = rows @ vectors.rows[item]
    recent = [cosine for step, cosine in zip(own, cosines, strict=True) if step < 5 and ordered]
    near = [cosine for step, cosine in zip(own, cosines, strict=True) if step < 50]
    return [
        cosines[0] if ordered and own[0] == 0 else np.nan,
        max(recent, default=np.nan),
        np.mean(recent) if recent else np.nan,
        max(near, default=np.nan),
        cosines.mean(),
        (heft * cosines).sum() / heft.sum(),
        np.linalg.norm(vectors.rows[item] - mean),
        breadth,
    ]


def stack(columns: dict[str, Any]) -> np.ndarray:
    return np.array(list(columns.values()))


@pytest.mark.parametrize("ordered", [True, False])
@pytest.mark.parametrize("size", [5, 64])
def test_nearness_agrees_with_a_loop(ordered, size):
    rows, histories, rng = draw(size, ordered=ordered)
    units = rng.normal(size=(ITEMS, size)).astype(np.float32)
    units /= np.linalg.norm(units, axis=1, keepdims=True)
    vectors = Vectors(units, rng.random(ITEMS) < 0.8)
    found = describe_nearness("text", rows, histories, vectors)
    assert list(found) == [f"text_{kind}" for kind in VECTOR_FEATURES]
    expected = [describe_one(item, past, vectors, ordered) for item, past in each_row(rows, histories)]
    np.testing.assert_allclose(stack(found).T, expected, rtol=1e-4, atol=1e-5)
    some = rng.random(len(rows.items)) < 0.6
    fewer = describe_nearness("text", rows.take(some), histories, vectors)
    assert stack(fewer).tobytes() == np.ascontiguousarray(stack(found)[:, some]).tobytes()


@pytest.mark.parametrize("ordered", [True, False])
def test_company_agrees_with_a_loop(ordered):
    rows, histories, rng = draw(2, ordered=ordered)
    links = rng.random((ITEMS, ITEMS)).astype(np.float32) * (rng.random((ITEMS, ITEMS)) < 0.1)
    links[:8], links[:, :8] = 0, 0
    neighbours = Neighbours.from_similarity(csr_array(links))
    assert not neighbours.known[:8].any()
    found = describe_company("transitions", rows, histories, neighbours)
    assert list(found) == [f"transitions_{kind}" for kind in NEIGHBOUR_FEATURES]
    expected = []
    for item, past in each_row(rows, histories):
        strengths = links[past[:50], item]
        near = np.arange(len(strengths))
        parts = [(near < 1) & ordered, (near < 5) & ordered, near < 50]
        heard = [neighbours.known[item] and neighbours.known[past[:50][part]].any() for part in parts]
        sums = [strengths[parts[0]].sum(), strengths[parts[1]].sum(), (strengths > 0).sum()]
        expected.append([value if known else np.nan for value, known in zip(sums, heard, strict=True)])
    np.testing.assert_allclose(stack(found).T, expected, rtol=1e-6)
